"""The state machine of a request, version 1: ten states, eleven transitions, a clock in each state.

Data only. Who broke which rule is decided in `pipelines.sequences`, how long the clock ran in
`pipelines.sla_clock`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from contracts.pqrs import TicketState


class Clock(StrEnum):
    """What a state does to the clock of the legal term."""

    NONE = "none"
    START = "start"
    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"

    @property
    def counts(self) -> bool:
        """Whether time in such a state is time used up."""
        return self in (Clock.START, Clock.RUN)


@dataclass(frozen=True, slots=True)
class StateRule:
    """What holds of one state. `title` is what an operator reads."""

    title: str
    clock: Clock
    terminal: bool = False


STATES: Mapping[TicketState, StateRule] = {
    TicketState.RECEIVED: StateRule("Recibido", Clock.NONE),
    TicketState.RADICATED: StateRule("Radicado", Clock.START),
    TicketState.CLASSIFIED: StateRule("Clasificado", Clock.RUN),
    TicketState.ASSIGNED: StateRule("Asignado", Clock.RUN),
    TicketState.IN_PROGRESS: StateRule("En gestión", Clock.RUN),
    TicketState.ON_HOLD: StateRule("En espera", Clock.PAUSE),
    TicketState.RESPONDED: StateRule("Respondido", Clock.RUN),
    TicketState.CLOSED: StateRule("Cerrado", Clock.STOP, terminal=True),
    TicketState.ARCHIVED: StateRule("Archivado", Clock.NONE, terminal=True),
    TicketState.REOPENED: StateRule("Reabierto", Clock.RUN),
}

FIRST_STATE = TicketState.RECEIVED
"""Where a ticket is from its creation until its first change."""

TRANSITIONS: frozenset[tuple[TicketState, TicketState]] = frozenset(
    {
        (TicketState.RECEIVED, TicketState.RADICATED),
        (TicketState.RADICATED, TicketState.CLASSIFIED),
        (TicketState.CLASSIFIED, TicketState.ASSIGNED),
        (TicketState.ASSIGNED, TicketState.IN_PROGRESS),
        (TicketState.IN_PROGRESS, TicketState.RESPONDED),
        (TicketState.RESPONDED, TicketState.CLOSED),
        (TicketState.CLOSED, TicketState.ARCHIVED),
        (TicketState.IN_PROGRESS, TicketState.ON_HOLD),
        (TicketState.ON_HOLD, TicketState.IN_PROGRESS),
        (TicketState.CLOSED, TicketState.REOPENED),
        (TicketState.REOPENED, TicketState.IN_PROGRESS),
    }
)
"""Every change that is allowed; all others are not."""

TERMINAL_STATES = frozenset(state for state, rule in STATES.items() if rule.terminal)
COUNTING_STATES = frozenset(state for state, rule in STATES.items() if rule.clock.counts)


class BrokenRule(StrEnum):
    """Why a change of state is in quarantine."""

    UNKNOWN_TRANSITION = "unknown_transition"
    FIRST_STATE = "first_state"
    STATE_MISMATCH = "state_mismatch"
    DISORDER_IN_TIME = "disorder_in_time"
