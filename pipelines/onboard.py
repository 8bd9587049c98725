"""Make a tenant ready to run: its row, its baselines, its first bundle, its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakehouse.control.tenants import TenantDirectory
from lakehouse.tenancy import TenantContext
from models.task import EntityTask, Task
from pipelines.bundles import bundle_of_aliases, check_fit, configured
from pipelines.entity_models import register_entities, with_entities
from pipelines.errors import BundleMismatchError, SpaceMismatchError
from pipelines.promotion import Decision, PromotionPorts, champion_of, promote_bundle
from pipelines.tenant_config import entity_tasks_of, tasks_of
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.bundles import Bundle
from registry.errors import UnknownAliasError
from registry.refs import ModelRef, PromptRef


@dataclass(frozen=True, slots=True)
class Onboarded:
    """What a tenant has now. `created` is False where it was there before.

    `champion` is the bundle its runs are planned against. Where the configuration's own bundle
    cannot be made yet, `waiting` says why, and the champion stays as it was.
    """

    tenant: TenantContext
    created: bool
    config_version: int
    baselines: tuple[ModelRef, ...]
    prompts: tuple[PromptRef, ...]
    champion: Bundle | None
    waiting: str | None


def onboard(
    tenant: TenantContext,
    *,
    name: str,
    values: Mapping[str, Any],
    tenants: TenantDirectory,
    promotion: PromotionPorts,
    by: str,
) -> Onboarded:
    """Register a tenant with its baselines, prompts and bundle; twice changes nothing.

    A configuration that routes, embeds or asks otherwise than the last moves the champion, and is
    written down after it: what was killed in between is done by configuring again.
    """
    tasks, registry = tasks_of(values, tenant), promotion.registry
    before = tenants.config(tenant)
    created = tenants.create(tenant, name=name)
    baselines = tuple(register_baseline(registry, tenant, task) for task in tasks)
    prompts = tuple(register_zero_shot_prompt(registry, tenant, task) for task in tasks)
    known = () if before is None else tasks_of(before.values, tenant)
    finders = entity_tasks_of(values, tenant)
    for finder in finders:
        register_entities(registry, tenant, finder)
    waiting = _promote(tenant, known, (tasks, finders), promotion, by)
    config = tenants.configure(tenant, values)
    champion = champion_of(tenant, promotion.bundles)
    return Onboarded(tenant, created, config.version, baselines, prompts, champion, waiting)


def _promote(
    tenant: TenantContext,
    before: Sequence[Task],
    wanting: tuple[Sequence[Task], Sequence[EntityTask]],
    ports: PromotionPorts,
    by: str,
) -> str | None:
    """Promote the bundle a configuration asks for; return why not, where it cannot be."""
    (tasks, finders), champion = wanting, champion_of(tenant, ports.bundles)
    try:
        if champion is None:
            wanted = bundle_of_aliases(tasks, ports.registry)
        else:
            wanted = configured(champion, before, tasks, ports.registry)
        wanted = with_entities(wanted, finders, ports.registry)
        check_fit(wanted, tasks, ports.registry)
    except (UnknownAliasError, BundleMismatchError, SpaceMismatchError) as error:
        return str(error)
    reason = "the tenant's first configuration" if champion is None else "a new configuration"
    promote_bundle(tenant, wanted, Decision(by, reason), ports)
    return None
