"""Which bundle is to be judged: one by its name, or the champion with another model for a task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.bundles import (
    Changes,
    bundle_like,
    bundle_of_aliases,
    check_fit,
    with_changes,
)
from pipelines.promotion import champion_of
from registry.bundle_log import BundleLog
from registry.bundles import Bundle
from registry.refs import ModelRef, Registry, resolve_uri

_NUMBER = re.compile(r"(?:([\w.-]+)/)?(\d+)")
_ALIAS = re.compile(r"([\w.-]+)?(@[\w.-]+)")


@dataclass(frozen=True, slots=True)
class Corner:
    """Where a tenant's bundles are found."""

    tenant: TenantContext
    tasks: Sequence[Task]
    registry: Registry
    bundles: BundleLog

    def champion(self) -> Bundle:
        """Return the bundle runs are planned against; before the first, what the aliases mean."""
        found = champion_of(self.tenant, self.bundles)
        return bundle_of_aliases(self.tasks, self.registry) if found is None else found

    def challenger(self, asked: str, task: Task) -> Bundle:
        """Return a bundle by its name, or the champion with a version in the task's place.

        A version is `7`, `@alias`, `NAME/7`, `NAME@alias`, or an address of the registry. Raises
        where there is none, or where it does not fit beside the bundle's other parts.
        """
        if asked.startswith("bundle"):
            found = self.bundles.find(self.tenant, asked)
        else:
            ref = resolve_uri(address(asked, task), self.registry)
            changes = (
                Changes(models={task.name: ref})
                if isinstance(ref, ModelRef)
                else Changes(prompts={f"{task.name}.prompt": ref})
            )
            like = bundle_like(self.champion(), self.tasks, self.registry)
            found = with_changes(like, changes, self.registry)
        check_fit(found, self.tasks, self.registry)
        return found


def address(asked: str, task: Task) -> str:
    """Write a version as the registry's address; without a name, the task's model is meant.

    Raises `InputError` that shows the ways to write one.
    """
    if asked.startswith(("models:/", "prompts:/")):
        return asked
    if found := _NUMBER.fullmatch(asked):
        return f"models:/{found[1] or task.model}/{found[2]}"
    if found := _ALIAS.fullmatch(asked):
        return f"models:/{found[1] or task.model}{found[2]}"
    msg = (
        f"'{asked}' names no model and no bundle; write 7, @baseline, {task.model}/7, "
        f"{task.model}@baseline, models:/{task.model}/7 or bundle-1a2b3c4d5e6f"
    )
    raise InputError(msg)
