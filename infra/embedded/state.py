"""How each process fares: what the supervisor writes down and others read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from infra.embedded.files import is_locked, known_fields, read_json
from infra.embedded.layout import Layout


class Phase(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class UnitState:
    """One process. `message` says what it waits for or what went wrong."""

    phase: Phase = Phase.WAITING
    pid: int | None = None
    message: str = ""
    restarts: int = 0
    ready_after: float | None = None
    """Seconds from the order to run it until it first answered."""


@dataclass(frozen=True, slots=True)
class SupervisorState:
    """The supervisor and all its processes."""

    pid: int
    units: Mapping[str, UnitState]
    order: str = ""
    """The plan it follows; states are about an earlier one until this is the order given."""

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        units = {name: asdict(unit) for name, unit in self.units.items()}
        return {"pid": self.pid, "units": units, "order": self.order}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SupervisorState:
        """Read what `to_json` returned, of this version of the code or of another.

        Services outlive an update of the code that looks at them.
        """
        units = {name: _unit(unit) for name, unit in value.get("units", {}).items()}
        return cls(value.get("pid", 0), units, value.get("order", ""))


def _unit(value: Mapping[str, Any]) -> UnitState:
    word = value.get("phase")
    phase = Phase(word) if word in set(Phase) else Phase.WAITING
    return UnitState(**{**known_fields(UnitState, value), "phase": phase})


def read_state(layout: Layout) -> SupervisorState | None:
    """Return the living supervisor's state; None when there is no such process."""
    if not is_locked(layout.lock):
        return None
    stored = read_json(layout.state)
    return SupervisorState.from_json(stored) if stored else SupervisorState(0, {})


def last_lines(layout: Layout, service: str, count: int) -> list[str]:
    """Return the end of a log, without reading all of it; empty when there is none."""
    path = layout.log(service)
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 400 * max(count, 20)), os.SEEK_SET)
        lines = file.read().decode(errors="replace").splitlines()
    return lines[-count:]
