from __future__ import annotations

from contracts.pqrs import TicketState
from contracts.states import COUNTING_STATES, FIRST_STATE, STATES, TERMINAL_STATES, TRANSITIONS


def test_the_machine_has_ten_states_and_eleven_transitions() -> None:
    assert set(STATES) == set(TicketState)
    assert (len(STATES), len(TRANSITIONS)) == (10, 11)


def test_every_state_is_reached_from_the_first() -> None:
    reached = {FIRST_STATE}
    while more := {after for before, after in TRANSITIONS if before in reached} - reached:
        reached |= more
    assert reached == set(TicketState)


def test_only_what_is_closed_can_be_left_again() -> None:
    assert {before for before, _ in TRANSITIONS} & TERMINAL_STATES == {TicketState.CLOSED}


def test_the_clock_runs_from_radication_to_closing_and_not_on_hold() -> None:
    still = {TicketState.RECEIVED, TicketState.ON_HOLD, TicketState.CLOSED, TicketState.ARCHIVED}
    assert set(TicketState) - COUNTING_STATES == still
