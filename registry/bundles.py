"""Bundles: the exact versions, thresholds and seed that decide what an enriched row says.

A bundle is a value, and its name is the digest of what it holds: two bundles of one name are one.
A run is planned against exactly one, and every row it enriches carries the name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from registry.refs import CHAMPION, ModelRef, PromptRef, bundle_id, text_digest

_PLAIN_TEXT = "text"
_ID = r"bundle-[0-9a-f]{12}"
_REFERENCE = re.compile(
    rf"bundle:/(?P<name>[\w.-]+)(@(?P<alias>[\w.-]+)|/(?P<exact>{_ID}))|(?P<bare>{_ID})"
)

Pin = ModelRef | PromptRef | str


@dataclass(frozen=True, slots=True)
class TaskPins:
    """One task with the exact versions that answer it. `accept_at` and `audit_share` route.

    `champion_prompt` is there where the champion is read through a prompt. `baseline` and
    `zero_shot` only run beside it.
    """

    task: str
    labels: tuple[str, ...]
    text_field: str
    champion: ModelRef
    baseline: ModelRef
    zero_shot: PromptRef
    accept_at: float
    audit_share: float
    champion_prompt: PromptRef | None = None

    def parts(self) -> Iterable[tuple[str, Pin]]:
        """Yield what decides the answers by name; what most tasks leave as it is only where set.

        The labels are not among them: a model knows its own, and one of other labels is refused.
        """
        yield f"{self.task}.champion", self.champion
        yield f"{self.task}.baseline", self.baseline
        yield f"{self.task}.zero_shot", self.zero_shot
        yield f"{self.task}.routing", f"accept_at={self.accept_at} audit={self.audit_share}"
        if self.champion_prompt is not None:
            yield f"{self.task}.champion.prompt", self.champion_prompt
        if self.text_field != _PLAIN_TEXT:
            yield f"{self.task}.text_field", self.text_field


@dataclass(frozen=True, slots=True)
class EntityPins:
    """One extraction of entities with the exact version that does it."""

    task: str
    kinds: tuple[str, ...]
    model: ModelRef

    def parts(self) -> Iterable[tuple[str, Pin]]:
        """Yield what decides what is found, by name."""
        yield f"{self.task}.champion", self.model
        yield f"{self.task}.kinds", ", ".join(self.kinds)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that decides what an enriched row says; immutable, named by its content."""

    embedding: ModelRef
    embedding_prompt: PromptRef
    tasks: tuple[TaskPins, ...]
    seed: int
    entities: tuple[EntityPins, ...] = ()

    @property
    def bundle_id(self) -> str:
        """The name of the whole set, by content: versions, digests, routing and seed."""
        return bundle_id(
            {
                name: pin if isinstance(pin, str) else f"{pin.uri}#{pin.digest}"
                for name, pin in self.parts()
            }
        )

    def pins(self) -> dict[str, str]:
        """Return what was asked for and the exact version it meant, for people to read."""
        return {name: pin if isinstance(pin, str) else pin.uri for name, pin in self.parts()}

    def digests(self) -> dict[str, str]:
        """Return the digests of the models and prompts of `pins`."""
        return {name: pin.digest for name, pin in self.parts() if not isinstance(pin, str)}

    def parts(self) -> Iterable[tuple[str, Pin]]:
        """Yield every pin with its name."""
        yield "embedding", self.embedding
        yield "embedding.prompt", self.embedding_prompt
        yield "seed", str(self.seed)
        for task in self.tasks:
            yield from task.parts()
        for extraction in self.entities:
            yield from extraction.parts()

    def answers_id(self, task: str) -> str:
        """Name, by content, all that decides the champion's answers to a task.

        Routing, and what only runs beside, are not among it: two bundles that differ in those give
        the same answers, and what was found out about the one holds for the other.
        """
        pins = next(pins for pins in self.tasks if pins.task == task)
        deciding = (self.embedding, self.embedding_prompt, pins.champion, pins.champion_prompt)
        digests = [None if pin is None else f"{pin.uri}#{pin.digest}" for pin in deciding]
        text = json.dumps([task, sorted(pins.labels), pins.text_field, *digests])
        return f"answers-{text_digest(text)[:12]}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Bundle:
        """Read what `as_dict` wrote, also before a champion could have a prompt."""
        return msgspec.convert(values, cls)


@dataclass(frozen=True, slots=True)
class BundleRef:
    """What a bundle is asked for as: by the alias of a name, or exactly.

    >>> str(BundleRef.parse("bundle:/norte@champion"))
    'bundle:/norte@champion'
    >>> BundleRef.parse("bundle-528af0c91323").bundle_id
    'bundle-528af0c91323'
    """

    name: str | None = None
    alias: str | None = None
    bundle_id: str | None = None

    @classmethod
    def champion(cls, tenant: TenantContext) -> BundleRef:
        """Ask for what a tenant's runs are planned against: its own name's champion."""
        return cls(tenant.tenant_id, CHAMPION)

    @classmethod
    def parse(cls, text: str) -> BundleRef:
        """Read a reference. Raises `InputError` that shows the three ways to write one."""
        found = _REFERENCE.fullmatch(text.strip())
        if found is None:
            msg = (
                f"'{text}' names no bundle; write bundle:/alcaldia-norte@champion, "
                "bundle:/alcaldia-norte/bundle-528af0c91323 or bundle-528af0c91323"
            )
            raise InputError(msg)
        return cls(found["name"], found["alias"], found["exact"] or found["bare"])

    def __str__(self) -> str:
        """Write it as it was read."""
        if self.alias is not None:
            return f"bundle:/{self.name}@{self.alias}"
        return f"bundle:/{self.name}/{self.bundle_id}" if self.name else str(self.bundle_id)
