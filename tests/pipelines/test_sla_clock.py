from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from contracts.states import COUNTING_STATES
from pipelines.business_time import DAY
from pipelines.sla_clock import read_clocks
from pipelines.sla_terms import DEFAULT_TERMS, SlaTerms

BOGOTA = ZoneInfo("America/Bogota")
UNTIL = datetime(2026, 3, 1, tzinfo=UTC)
PATH = ("RADICATED", "CLASSIFIED", "ASSIGNED", "IN_PROGRESS")


def bogota(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BOGOTA).astimezone(UTC)


def sequence(*moves: tuple[str, datetime], ticket: str = "t") -> pl.DataFrame:
    rows = [{"ticket_id": ticket, "status_to": state, "ts": ts} for state, ts in moves]
    schema: dict[str, pl.DataType] = {
        "ticket_id": pl.String(),
        "status_to": pl.String(),
        "ts": pl.Datetime("us", "UTC"),
    }
    return pl.DataFrame(rows, schema=schema)


def clock(
    *moves: tuple[str, datetime],
    kind: str = "reclamo",
    until: datetime = UNTIL,
    terms: SlaTerms = DEFAULT_TERMS,
) -> dict[str, Any]:
    types = pl.DataFrame({"ticket_id": ["t"], "pqrs_type": [kind]})
    (row,) = read_clocks(sequence(*moves), types, terms, until).to_dicts()
    return row


def begun(at: str) -> list[tuple[str, datetime]]:
    """Radicated, and in progress within the same minute."""
    return [(state, bogota(at) + timedelta(seconds=n)) for n, state in enumerate(PATH)]


def test_a_pause_does_not_count_and_closing_stops_the_clock() -> None:
    row = clock(
        *begun("2026-01-05 08:00"),  # a Monday
        ("ON_HOLD", bogota("2026-01-06 08:00")),
        ("IN_PROGRESS", bogota("2026-01-08 08:00")),
        ("RESPONDED", bogota("2026-01-09 08:00")),
        ("CLOSED", bogota("2026-01-13 20:00")),  # over a weekend and Epiphany
    )
    assert row["elapsed"] == 3.5 * DAY
    assert row["passed_at"] is None
    assert row["closed_at"] == bogota("2026-01-13 20:00")
    assert row["due_at"] == bogota("2026-01-20 08:00")


def test_a_reopened_ticket_goes_on_from_where_its_clock_stopped() -> None:
    row = clock(
        *begun("2026-01-05 08:00"),
        ("RESPONDED", bogota("2026-01-06 08:00")),
        ("CLOSED", bogota("2026-01-06 08:00")),
        ("REOPENED", bogota("2026-01-20 08:00")),
        ("IN_PROGRESS", bogota("2026-01-21 08:00")),
        until=bogota("2026-01-22 08:00"),
    )
    assert row["elapsed"] == 3 * DAY
    assert (row["state"], row["closed_at"], row["reopened"]) == ("IN_PROGRESS", None, 1)


def test_a_term_is_passed_at_the_moment_its_last_day_is_used_up() -> None:
    row = clock(*begun("2026-01-05 08:00"), until=bogota("2026-01-30 00:00"))
    assert row["passed_at"] == row["due_at"] == bogota("2026-01-16 08:00")
    assert row["elapsed"] > row["term"] == 8 * DAY


def test_an_open_ticket_is_due_when_its_clock_would_pass_without_another_pause() -> None:
    moves = [*begun("2026-01-05 08:00"), ("ON_HOLD", bogota("2026-01-06 08:00"))]
    row = clock(*moves, until=bogota("2026-01-08 08:00"))
    assert (row["passed_at"], row["elapsed"]) == (None, DAY)
    assert row["due_at"] == bogota("2026-01-20 08:00")


def test_a_ticket_closed_exactly_at_the_end_of_its_term_is_within_it() -> None:
    row = clock(*begun("2026-01-05 08:00"), ("CLOSED", bogota("2026-01-16 08:00")))
    assert (row["elapsed"], row["passed_at"]) == (8 * DAY, None)


def test_terms_are_the_tenants_and_a_type_without_one_is_never_due() -> None:
    strict = SlaTerms({"reclamo": 1}, version=3)
    assert clock(*begun("2026-01-05 08:00"), terms=strict)["passed_at"] == bogota(
        "2026-01-06 08:00"
    )
    loose = clock(*begun("2026-01-05 08:00"), kind="sin_tipo")
    assert (loose["term"], loose["due_at"], loose["passed_at"]) == (None, None, None)


def test_no_changes_are_no_clocks() -> None:
    types = pl.DataFrame({"ticket_id": ["t"], "pqrs_type": ["queja"]})
    assert len(read_clocks(sequence(), types, DEFAULT_TERMS, UNTIL)) == 0


def slowly(moves: list[tuple[str, datetime]], until: datetime) -> timedelta:
    """Add up the clock stay by stay and day by day."""
    free = holidays.country_holidays("CO", years=range(2025, 2028))
    total = timedelta()
    ends = [ts for _, ts in moves[1:]] + [until]
    for (state, start), end in zip(moves, ends, strict=True):
        day: date = start.astimezone(BOGOTA).date()
        while state in COUNTING_STATES and day <= end.astimezone(BOGOTA).date():
            begin = datetime(day.year, day.month, day.day, tzinfo=BOGOTA)
            if day.weekday() < 5 and day not in free:
                shared = min(end, begin + timedelta(days=1)) - max(start, begin)
                total += max(shared, timedelta())
            day += timedelta(days=1)
    return total


@given(
    st.lists(st.timedeltas(timedelta(), timedelta(days=12)), min_size=1, max_size=8),
    st.timedeltas(timedelta(), timedelta(days=9)),
)
def test_the_clock_agrees_with_counting_stay_by_stay_and_day_by_day(
    gaps: list[timedelta], more: timedelta
) -> None:
    walk = [*PATH, "ON_HOLD", "IN_PROGRESS", "RESPONDED", "CLOSED"]
    moment, moves = bogota("2025-12-01 09:30"), []
    for state, gap in zip(walk, gaps, strict=False):
        moment += gap
        moves.append((state, moment))
    row = clock(*moves, until=moment + more, kind="peticion")
    elapsed = slowly(moves, moment + more)
    assert timedelta(microseconds=row["elapsed"]) == elapsed
    assert (row["passed_at"] is not None) == (elapsed > timedelta(days=15))
    if row["passed_at"] is not None:
        cut = [(state, min(ts, row["passed_at"])) for state, ts in moves]
        assert slowly(cut, row["passed_at"]) == timedelta(days=15)
