"""The whole comparison of two bundles over one point in time, as a value to print, save or draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pipelines.answer_diff import TaskDiff
from pipelines.gold_diff import TableMove
from registry.bundles import Bundle


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two bundles: what it was asked for as, and its exact name."""

    asked: str
    bundle_id: str


@dataclass(frozen=True, slots=True)
class PinChange:
    """A part in which the bundles differ; None where one does not have it."""

    part: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class DiffReport:
    """Everything `plata diff` says. `as_of` is as it was asked, `versions` what it meant."""

    tenant: str
    as_of: str
    versions: str
    where: str | None
    old: Side
    new: Side
    pins: tuple[PinChange, ...]
    tickets: int
    tasks: tuple[TaskDiff, ...]
    gold: tuple[TableMove, ...]
    made_at: str

    @property
    def flips(self) -> int:
        """How many answers flipped, over all tasks."""
        return sum(task.flips for task in self.tasks)

    @property
    def gold_rows_moved(self) -> int:
        """How many rows of Gold would say something else."""
        return sum(move.rows_moved for move in self.gold)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the sums first."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {"flips": self.flips, "gold_rows_moved": self.gold_rows_moved, **values}


def pin_changes(old: Bundle, new: Bundle) -> tuple[PinChange, ...]:
    """Say in which parts two bundles differ, in the order of their names."""
    before, after = _parts(old), _parts(new)
    names = sorted(before.keys() | after.keys())
    changes = (PinChange(name, before.get(name), after.get(name)) for name in names)
    return tuple(change for change in changes if change.old != change.new)


def _parts(bundle: Bundle) -> Mapping[str, str]:
    return bundle.pins()
