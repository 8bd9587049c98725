from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.pqrs import TicketState
from contracts.states import FIRST_STATE, TRANSITIONS
from pipelines.sequences import in_sequence, judge

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
SCHEMA: dict[str, pl.DataType] = {
    "ticket_id": pl.String(),
    "event_id": pl.String(),
    "ts": pl.Datetime("us", "UTC"),
    "status_from": pl.String(),
    "status_to": pl.String(),
    "accepted": pl.Boolean(),
}
SHORT = {
    "REC": "RECEIVED",
    "RAD": "RADICATED",
    "CLA": "CLASSIFIED",
    "ASS": "ASSIGNED",
    "PRO": "IN_PROGRESS",
    "HOL": "ON_HOLD",
    "RES": "RESPONDED",
    "CLO": "CLOSED",
    "ARC": "ARCHIVED",
    "REO": "REOPENED",
}


def change(step: str, hour: float, *, accepted: bool = False, ticket: str = "t") -> dict[str, Any]:
    """A change such as `REC>RAD`, so many hours after the start."""
    before, after = (SHORT[name] for name in step.split(">"))
    ts = START + timedelta(hours=hour)
    name = f"{ticket}/{step}/{hour}"
    values = (ticket, name, ts, before, after, accepted)
    return dict(zip(SCHEMA, values, strict=True))


def changes(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA)


def verdicts(*rows: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    judged = judge(changes(*rows)).sort("ts", "event_id")
    rules = zip(judged["event_id"], judged["rule"], judged["stood_at"], strict=True)
    return [(name.split("/")[1], rule, stood if rule else None) for name, rule, stood in rules]


PATH = ("REC>RAD", "RAD>CLA", "CLA>ASS", "ASS>PRO", "PRO>RES", "RES>CLO", "CLO>ARC")


def test_the_whole_path_with_a_pause_and_a_reopening_counts() -> None:
    steps = (*PATH[:4], "PRO>HOL", "HOL>PRO", *PATH[4:6], "CLO>REO", "REO>PRO", *PATH[4:])
    judged = judge(changes(*(change(step, hour) for hour, step in enumerate(steps))))
    assert judged["rule"].to_list() == [None] * len(steps)
    assert judged["step"].to_list() == list(range(1, len(steps) + 1))


def test_a_transition_that_does_not_exist_is_skipped_and_the_rest_goes_on() -> None:
    found = verdicts(change("REC>RAD", 1), change("RAD>CLO", 2), change("RAD>CLA", 3))
    assert found == [
        ("REC>RAD", None, None),
        ("RAD>CLO", "unknown_transition", "RADICATED"),
        ("RAD>CLA", None, None),
    ]


def test_a_ticket_begins_in_received() -> None:
    found = verdicts(change("RAD>CLA", 1), change("CLA>ASS", 2))
    assert found == [("RAD>CLA", "first_state", "RECEIVED"), ("CLA>ASS", "first_state", "RECEIVED")]


def test_a_change_that_leaves_another_state_than_the_tickets_is_a_mismatch() -> None:
    found = verdicts(change("REC>RAD", 1), change("CLA>ASS", 2))
    assert found[1] == ("CLA>ASS", "state_mismatch", "RADICATED")


def test_a_change_dated_before_the_one_it_follows_is_a_disorder() -> None:
    found = verdicts(change("REC>RAD", 1), change("CLA>ASS", 2), change("RAD>CLA", 3))
    assert [rule for _, rule, _ in found] == [None, "disorder_in_time", None]


def test_changes_of_one_moment_are_taken_as_they_fit() -> None:
    paused = [*(change(step, hour) for hour, step in enumerate(PATH[:4])), change("PRO>HOL", 5)]
    found = verdicts(*paused, change("PRO>RES", 6), change("HOL>PRO", 6))
    assert [rule for _, rule, _ in found] == [None] * 7


def test_a_late_change_that_closes_a_gap_lets_in_what_waited_for_it() -> None:
    known = change("REC>RAD", 1, accepted=True)
    found = verdicts(known, change("CLA>ASS", 3), change("RAD>CLA", 2))
    assert [rule for _, rule, _ in found] == [None, None, None]


def test_a_pause_that_comes_late_is_put_where_it_happened() -> None:
    known = [change(step, hour, accepted=True) for hour, step in enumerate(PATH[:4])]
    answered = change("PRO>RES", 9, accepted=True)
    found = verdicts(*known, answered, change("PRO>HOL", 5), change("HOL>PRO", 6))
    assert [rule for _, rule, _ in found] == [None] * 7


def test_a_late_change_that_contradicts_what_was_accepted_is_a_disorder() -> None:
    known = [change(step, hour, accepted=True) for hour, step in enumerate(PATH[:4])]
    answered = change("PRO>RES", 9, accepted=True)
    found = verdicts(*known, answered, change("PRO>HOL", 5))
    assert ("PRO>HOL", "disorder_in_time", "IN_PROGRESS") in found


def test_no_changes_are_no_verdicts() -> None:
    assert judge(changes()).columns == [*SCHEMA, "step", "rule", "stood_at"]
    assert len(in_sequence(changes().drop("accepted"))) == 0


_ALL = [(before, after) for before in TicketState for after in TicketState]


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A history that keeps every rule."""
    state, rows = FIRST_STATE, []
    for hour in range(draw(st.integers(1, 14))):
        onward = sorted(after for before, after in TRANSITIONS if before is state)
        if not onward:
            break
        after = draw(st.sampled_from(onward))
        rows.append(_row("t", hour, state, after))
        state = after
    return rows


def _row(ticket: str, hour: float, before: TicketState, after: TicketState) -> dict[str, Any]:
    ts = START + timedelta(hours=hour)
    name = f"{ticket}/{before}/{after}/{hour}"
    return dict(zip(SCHEMA, (ticket, name, ts, before.value, after.value, False), strict=True))


@given(histories(), st.data())
def test_a_true_history_is_let_in_whole_however_it_is_delivered(
    history: list[dict[str, Any]], data: st.DataObject
) -> None:
    arriving = data.draw(st.permutations(history))
    size = data.draw(st.integers(1, len(history)))
    known: dict[str, dict[str, Any]] = {}
    for first in range(0, len(arriving), size):
        known |= {row["event_id"]: row for row in arriving[first : first + size]}
        judged = judge(changes(*known.values()))
        let_in = judged.filter(pl.col("rule").is_null())["event_id"].to_list()
        was = {name for name, row in known.items() if row["accepted"]}
        assert was <= set(let_in)
        known |= {name: {**known[name], "accepted": True} for name in let_in}
    assert all(row["accepted"] for row in known.values())


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(_ALL), st.integers(0, 6)), max_size=25
    )
)
def test_whatever_comes_what_counts_is_a_walk_through_the_machine(
    found: list[tuple[str, tuple[TicketState, TicketState], int]],
) -> None:
    rows = [_row(ticket, hour, *pair) for ticket, pair, hour in dict.fromkeys(found)]
    judged = judge(changes(*rows))
    assert len(judged) == len(rows)
    assert (judged["rule"].is_null() == judged["step"].is_not_null()).all()
    again = in_sequence(changes(*rows).drop("accepted"))
    for ticket in set(again["ticket_id"]):
        mine = again.filter(ticket_id=ticket)
        assert mine["ts"].is_sorted()
        state: str = FIRST_STATE.value
        for before, after in zip(mine["status_from"], mine["status_to"], strict=True):
            assert before == state
            assert (TicketState(before), TicketState(after)) in TRANSITIONS
            state = after


@pytest.mark.parametrize("tickets", [400])
def test_the_quick_way_and_the_walk_agree(tickets: int) -> None:
    """One broken ticket among many sends only itself through the walk."""
    rows = [
        change(step, hour, ticket=f"t{number:03d}")
        for number in range(tickets)
        for hour, step in enumerate(PATH)
    ]
    judged = judge(changes(*rows, change("RES>CLO", 2.5, ticket="t007")))
    refused = judged.filter(pl.col("rule").is_not_null())
    assert refused["ticket_id"].to_list() == ["t007"]
    assert judged.filter(ticket_id="t007")["step"].drop_nulls().to_list() == list(range(1, 8))
