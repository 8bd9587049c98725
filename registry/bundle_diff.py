"""What sets two bundles apart, task by task, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.bundles import Bundle, TaskPins
from registry.refs import ModelRef, PromptRef

WHOLE = "all tasks"


@dataclass(frozen=True, slots=True)
class Change:
    """One part that differs. None where there is no such part; digests only of versions."""

    task: str
    part: str
    before: str | None
    after: str | None
    digest_before: str | None = None
    digest_after: str | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.task}: {self.part}: {self.before or 'none'} → {self.after or 'none'}"


def bundle_changes(before: Bundle, after: Bundle) -> tuple[Change, ...]:
    """Return what differs, what concerns every task first; nothing where the bundles are one."""
    changes = list(_changes(WHOLE, _of_all(before), _of_all(after)))
    known, wanted = (_by_task(bundle) for bundle in (before, after))
    for name in dict.fromkeys((*known, *wanted)):
        changes += _changes(name, known.get(name, {}), wanted.get(name, {}))
    return tuple(changes)


_Part = ModelRef | PromptRef | str | None


def _of_all(bundle: Bundle) -> Mapping[str, _Part]:
    return {
        "embedding model": bundle.embedding,
        "embedding prompt": bundle.embedding_prompt,
        "seed": str(bundle.seed),
    }


def _by_task(bundle: Bundle) -> Mapping[str, Mapping[str, _Part]]:
    finders: dict[str, Mapping[str, _Part]] = {
        pins.task: {"model": pins.model, "kinds": ", ".join(pins.kinds)} for pins in bundle.entities
    }
    return {**{pins.task: _of_task(pins) for pins in bundle.tasks}, **finders}


def _of_task(pins: TaskPins) -> Mapping[str, _Part]:
    return {
        "model": pins.champion,
        "prompt of the model": pins.champion_prompt,
        "baseline": pins.baseline,
        "zero-shot prompt": pins.zero_shot,
        "routing": f"accepts from {pins.accept_at:g}",
        "audit": f"{pins.audit_share:.4g} of what is accepted",
        "reads": pins.text_field,
        "labels": ", ".join(sorted(pins.labels)),
    }


def _changes(task: str, old: Mapping[str, _Part], new: Mapping[str, _Part]) -> Iterator[Change]:
    for part in dict.fromkeys((*old, *new)):
        before, after = old.get(part), new.get(part)
        if before != after:
            yield Change(task, part, _said(before), _said(after), _digest(before), _digest(after))


def _said(part: _Part) -> str | None:
    return part.uri if isinstance(part, ModelRef | PromptRef) else part


def _digest(part: _Part) -> str | None:
    return part.digest if isinstance(part, ModelRef | PromptRef) else None
