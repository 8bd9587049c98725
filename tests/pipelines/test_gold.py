from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.contract import Contract
from contracts.pqrs import TicketState
from contracts.states import FIRST_STATE, TRANSITIONS
from contracts.tables import (
    CLASSIFICATIONS,
    GOLD,
    KPI_ACCURACY_DAILY,
    KPI_BACKLOG_DAILY,
    KPI_CLOSE_TIME_DAILY,
    KPI_FIRST_RESPONSE_DAILY,
    KPI_MLOPS_DAILY,
    KPI_REVIEW_DAILY,
    KPI_SLA_DAILY,
    KPI_TYPE_DAILY,
    KPI_VOLUME_DAILY,
    LABELS,
    MESSAGES,
    STATUS_EVENTS,
    STATUS_FLOW,
    TICKETS,
    TICKETS_SNAPSHOT,
)
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.errors import RunFailedError
from pipelines.gold import KPIS, count_gold
from pipelines.gold_checks import check_gold
from pipelines.gold_view import Counting, SilverView, end_of_data
from pipelines.quality import require
from pipelines.sla_terms import DEFAULT_TERMS, SlaTerms

AT = datetime(2026, 1, 10, tzinfo=UTC)
RUN = RunContext.begin(TenantContext.parse("norte"), kind="run", at=AT)
MONDAY, TUESDAY, WEDNESDAY = date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)


def frame(contract: Contract, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a table of Silver; columns not given are null."""
    empty = pl.from_arrow(contract.empty())
    assert isinstance(empty, pl.DataFrame)
    return pl.DataFrame(rows, schema=empty.schema)


def ticket(name: str, day: date = MONDAY, **values: Any) -> dict[str, Any]:
    created = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    given = {"created_at": created, "source_channel": "email"}
    return {"ticket_id": name, "day": day, **given, **values}


def answer(name: str, label: str, **values: Any) -> dict[str, Any]:
    given = {"day": MONDAY, "task": "tipo", "tier": "champion", "score": 0.5, "decision": "accept"}
    model = {"model_name": "norte.tipo", "model_version": "2", "run_id": "run-1"}
    row = {"ticket_id": name, "predicted_label": label, "inference_timestamp": AT}
    return {**given, **model, **row, **values}


def label(name: str, value: str) -> dict[str, Any]:
    return {"label_id": name, "ticket_id": name, "task": "tipo", "label": value, "responded_at": AT}


def moved(name: str, *stops: tuple[str, date]) -> list[dict[str, Any]]:
    """The changes of a ticket that reached each state on a day, and on the same day all between."""
    state, changes = FIRST_STATE, list[dict[str, Any]]()
    moment = AT - timedelta(days=100)
    for stop, day in stops:
        moment = max(moment, datetime(day.year, day.month, day.day, 13, tzinfo=UTC))
        for before, after in itertools.pairwise(_way(state, TicketState(stop))):
            moment += timedelta(seconds=1)
            changes.append(
                {
                    "ticket_id": name,
                    "event_id": f"{name}/{len(changes)}",
                    "ts": moment,
                    "day": day,
                    "status_from": before.value,
                    "status_to": after.value,
                }
            )
        state = TicketState(stop)
    return changes


def _way(start: TicketState, end: TicketState) -> list[TicketState]:
    """The shortest way between two states."""
    ways = [[start]]
    while ways[0][-1] is not end or len(ways[0]) == 1:
        way = ways.pop(0)
        ways += [[*way, after] for before, after in sorted(TRANSITIONS) if before is way[-1]]
    return ways[0]


def view(
    tickets: list[dict[str, Any]],
    answers: list[dict[str, Any]] | None = None,
    labels: list[dict[str, Any]] | None = None,
    moves: list[dict[str, Any]] | None = None,
    messages: list[dict[str, Any]] | None = None,
    terms: SlaTerms = DEFAULT_TERMS,
) -> SilverView:
    happened = (
        frame(TICKETS, tickets),
        frame(MESSAGES, messages or []),
        frame(STATUS_EVENTS, moves or []),
    )
    return SilverView(
        *happened,
        frame(CLASSIFICATIONS, answers or []),
        frame(LABELS, labels or []),
        terms,
        end_of_data(*happened),
    )


def counted(silver: SilverView, contract: Contract, *columns: str) -> list[tuple[Any, ...]]:
    rows = count_gold(silver, RUN)[contract]
    return list(zip(*(rows[name].to_pylist() for name in columns), strict=True))


def test_a_type_is_a_persons_word_then_the_champions_then_the_channels() -> None:
    silver = view(
        [ticket("a"), ticket("b"), ticket("c", pqrs_type="queja"), ticket("d")],
        answers=[answer("a", "reclamo"), answer("b", "reclamo")],
        labels=[label("a", "peticion")],
    )
    assert counted(silver, KPI_VOLUME_DAILY, "pqrs_type", "tickets") == [
        ("peticion", 1),
        ("queja", 1),
        ("reclamo", 1),
        ("sin_tipo", 1),
    ]


def test_a_label_that_is_taken_back_gives_the_machines_answer_again() -> None:
    given = label("a", "peticion")
    taken = {**given, "label_id": "a/withdrawn", "fact": "withdrawn"}
    told = [([given], "peticion"), ([given, taken], "reclamo")]
    for labels, pqrs_type in told:
        silver = view([ticket("a")], answers=[answer("a", "reclamo")], labels=labels)
        assert counted(silver, KPI_VOLUME_DAILY, "pqrs_type", "tickets") == [(pqrs_type, 1)]


def test_only_the_newest_answer_of_the_champion_counts() -> None:
    later = AT.replace(day=11)
    silver = view(
        [ticket("a")],
        answers=[
            answer("a", "queja"),
            answer("a", "reclamo", inference_timestamp=later, run_id="run-2"),
            answer("a", "peticion", inference_timestamp=later, tier="comparison"),
        ],
    )
    found = counted(silver, KPI_TYPE_DAILY, "day", "task", "label", "tickets")
    assert found == [(MONDAY, "tipo", "reclamo", 1)]


def test_the_backlog_follows_closing_and_reopening_day_by_day() -> None:
    silver = view(
        [ticket("a", pqrs_type="queja"), ticket("b", TUESDAY, pqrs_type="queja")],
        moves=moved("a", ("RADICATED", MONDAY), ("CLOSED", TUESDAY), ("REOPENED", WEDNESDAY)),
    )
    found = counted(silver, KPI_BACKLOG_DAILY, "day", "geo_region", "open_tickets")
    assert found == [
        (MONDAY, "sin_region", 1),
        (TUESDAY, "sin_region", 1),
        (WEDNESDAY, "sin_region", 2),
    ]


def test_a_ticket_archived_after_it_was_closed_is_closed_once() -> None:
    silver = view(
        [ticket("a"), ticket("b", WEDNESDAY)],
        moves=moved("a", ("CLOSED", TUESDAY), ("ARCHIVED", WEDNESDAY)),
    )
    found = counted(silver, KPI_BACKLOG_DAILY, "day", "open_tickets")
    assert found == [(MONDAY, 1), (WEDNESDAY, 1)]


def test_mlops_figures_count_decisions_and_agreement_by_model() -> None:
    silver = view(
        [ticket(name) for name in "abc"],
        answers=[
            answer("a", "queja", score=0.9),
            answer("b", "queja", score=0.8, decision="audit"),
            answer("c", "queja", score=0.1, decision="review"),
        ],
        labels=[label("b", "queja"), label("c", "reclamo")],
    )
    columns = ["model", "classified", "accepted", "review", "labelled", "agreed"]
    assert counted(silver, KPI_MLOPS_DAILY, *columns) == [("norte.tipo/2", 3, 2, 1, 2, 1)]
    rates = counted(silver, KPI_MLOPS_DAILY, "automation_rate", "mean_score")
    assert rates == [(pytest.approx(2 / 3), pytest.approx(0.6))]


def test_a_tenant_without_tickets_has_empty_figures_of_the_right_shape() -> None:
    for contract, rows in count_gold(view([]), RUN).items():
        assert rows.schema == contract.schema
        assert len(rows) == 0


def test_figures_that_agree_with_silver_pass_every_check() -> None:
    silver = view([ticket("a")], answers=[answer("a", "queja")])
    require(check_gold(count_gold(silver, RUN), silver))


def test_a_sum_that_does_not_agree_with_silver_fails_the_run_and_says_by_how_much() -> None:
    silver = view([ticket("a")])
    figures = count_gold(view([ticket("a"), ticket("b")]), RUN)
    with pytest.raises(RunFailedError, match=r"found 2, expected 1"):
        require(check_gold(figures, silver))


NAMES = st.sampled_from("abcde")
DAYS = st.sampled_from([MONDAY, TUESDAY, WEDNESDAY])
KINDS = st.sampled_from(["peticion", "queja", "reclamo"])


@st.composite
def silvers(draw: st.DrawFn) -> SilverView:
    """Draw a small Silver: tickets, answers of several runs, moves, and labels, also of others."""
    tickets = draw(st.dictionaries(NAMES, st.tuples(DAYS, KINDS | st.none()), min_size=1))
    answers = [
        answer(name, kind, day=tickets[name][0], inference_timestamp=AT.replace(day=number + 1))
        for number, (name, kind) in enumerate(
            draw(st.lists(st.tuples(st.sampled_from(sorted(tickets)), KINDS), max_size=8))
        )
    ]
    labels = [
        label(name, kind)
        for name, kind in draw(st.dictionaries(NAMES, KINDS)).items()
        if name in tickets
    ]
    stops = st.sampled_from(["RADICATED", "ON_HOLD", "RESPONDED", "CLOSED"])
    ends = draw(st.dictionaries(st.sampled_from(sorted(tickets)), st.tuples(stops, DAYS)))
    moves = [
        change
        for name, (stop, day) in ends.items()
        for change in moved(name, (stop, day), *([("REOPENED", day)] if stop == "CLOSED" else []))
    ]
    rows = [ticket(name, day, pqrs_type=kind) for name, (day, kind) in tickets.items()]
    return view(rows, answers, labels, moves)


@settings(max_examples=60, deadline=None)
@given(silvers())
def test_every_number_is_the_number_of_its_tickets(silver: SilverView) -> None:
    figures = count_gold(silver, RUN)
    counting = Counting.of(silver)
    for contract, kpi in KPIS.items():
        for row in figures[contract].to_pylist():
            behind = kpi.members(counting, row["day"])
            mine = behind.filter(**{name: row[name] for name in contract.key})
            assert mine.height == row[kpi.measure], (contract, row)
            parts = [name for name, kind in mine.schema.items() if kind == pl.Boolean]
            assert {name: mine[name].sum() for name in parts} == {name: row[name] for name in parts}


def said_by_agent(name: str, day: date) -> dict[str, Any]:
    ts = datetime(day.year, day.month, day.day, 18, tzinfo=UTC)
    return {"ticket_id": name, "day": day, "ts": ts, "role": "agent"}


ONE_DAY = SlaTerms({"queja": 1})


def test_a_ticket_is_settled_when_it_is_closed_in_time_or_on_the_day_it_is_late() -> None:
    silver = view(
        [ticket(name, pqrs_type="queja") for name in "abcd"],
        moves=[
            *moved("a", ("RADICATED", MONDAY), ("CLOSED", MONDAY)),
            *moved("b", ("RADICATED", MONDAY), ("CLOSED", WEDNESDAY)),
            *moved("c", ("RADICATED", MONDAY)),
            *moved("d", ("RADICATED", WEDNESDAY)),
        ],
        terms=ONE_DAY,
    )
    found = counted(silver, KPI_SLA_DAILY, "day", "settled", "within", "overdue", "within_share")
    assert found == [(MONDAY, 1, 1, 0, 1.0), (TUESDAY, 2, 0, 2, 0.0)]
    (_, late) = counted(silver, KPI_SLA_DAILY, "mean_overdue_days")
    # b was closed a day late and some seconds; c has run until the end of Wednesday in UTC.
    assert late[0] == pytest.approx((1 + 1 + 11 / 24) / 2, abs=1e-4)


def test_a_type_without_a_term_is_in_no_figure_of_the_sla() -> None:
    silver = view([ticket("a")], moves=moved("a", ("CLOSED", WEDNESDAY)))
    assert counted(silver, KPI_SLA_DAILY, "settled") == []
    assert counted(silver, TICKETS_SNAPSHOT, "sla_due_at", "is_overdue") == [(None, False)]


def test_the_first_answer_is_a_message_or_the_response_whichever_came_first() -> None:
    silver = view(
        [ticket(name, pqrs_type="queja") for name in "abc"],
        moves=[*moved("a", ("RESPONDED", WEDNESDAY)), *moved("b", ("RESPONDED", TUESDAY))],
        messages=[
            said_by_agent("a", TUESDAY),
            {**said_by_agent("c", MONDAY), "role": "citizen"},
        ],
    )
    found = counted(silver, KPI_FIRST_RESPONSE_DAILY, "day", "responses", "p90_days")
    assert [row[:2] for row in found] == [(TUESDAY, 2)]
    (days,) = counted(silver, KPI_FIRST_RESPONSE_DAILY, "mean_days")
    assert days[0] == pytest.approx((1.25 + 1 + 1 / 24) / 2, abs=1e-3)


def test_time_to_close_is_in_business_days_and_the_clock_leaves_out_the_pause() -> None:
    friday, next_tuesday = date(2026, 1, 9), date(2026, 1, 13)
    silver = view(
        [ticket("a", friday, pqrs_type="queja")],
        moves=moved("a", ("ON_HOLD", friday), ("CLOSED", next_tuesday)),
    )
    ((days, clock),) = counted(silver, KPI_CLOSE_TIME_DAILY, "mean_days", "mean_clock_days")
    assert days == pytest.approx(1 + 1 / 24, abs=1e-3)  # a weekend, and Epiphany on the Monday
    assert clock == pytest.approx(0, abs=1e-3)


def test_the_snapshot_has_every_ticket_as_it_stands() -> None:
    silver = view(
        [ticket("a", pqrs_type="queja", priority="alta"), ticket("b", TUESDAY)],
        answers=[answer("b", "baja", task="prioridad")],
        moves=moved("a", ("CLOSED", TUESDAY), ("REOPENED", WEDNESDAY)),
    )
    columns = ["ticket_id", "state", "is_open", "priority", "reopened", "sla_term_days"]
    assert counted(silver, TICKETS_SNAPSHOT, *columns) == [
        ("a", "REOPENED", True, "alta", 1, 10),
        ("b", "RECEIVED", True, "baja", 0, None),
    ]
    assert counted(silver, TICKETS_SNAPSHOT, "closed_at") == [(None,), (None,)]


def test_a_change_of_state_that_is_in_silver_and_not_in_the_flow_fails_the_run() -> None:
    moves = moved("a", ("RADICATED", MONDAY), ("CLASSIFIED", TUESDAY))
    whole = view([ticket("a")], moves=moves)
    found = counted(whole, STATUS_FLOW, "day", "status_from", "status_to", "transitions")
    assert found == [
        (MONDAY, "RECEIVED", "RADICATED", 1),
        (TUESDAY, "RADICATED", "CLASSIFIED", 1),
    ]
    require(check_gold(count_gold(whole, RUN), whole))
    broken = {**moves[0], "event_id": "x", "status_from": "CLOSED", "status_to": "ARCHIVED"}
    silver = view([ticket("a")], moves=[*moves, broken])
    flow = r"status_flow: sum of transitions agrees with Silver \(found 2, expected 3\)"
    with pytest.raises(RunFailedError, match=flow):
        require(check_gold(count_gold(silver, RUN), silver))


def test_review_waits_until_a_label_comes() -> None:
    later = AT + timedelta(days=2)
    silver = view(
        [ticket(name) for name in "abc"],
        answers=[
            answer("a", "queja", decision="review"),
            answer("b", "queja", decision="audit", inference_timestamp=later),
            answer("c", "queja"),
        ],
        labels=[{**label("b", "queja"), "responded_at": later}],
    )
    columns = ["sent", "answered", "waiting", "mean_wait_days", "oldest_wait_days"]
    assert counted(silver, KPI_REVIEW_DAILY, *columns) == [(2, 1, 1, 2.0, 2.0)]


def test_accuracy_is_estimated_from_the_audit_alone_and_says_how_sure_it_is() -> None:
    audit = {"decision": "audit"}
    silver = view(
        [ticket("a"), ticket("b"), ticket("c", TUESDAY), ticket("d")],
        answers=[
            answer("a", "queja", **audit),
            answer("b", "queja", **audit),
            answer("c", "queja", **audit, day=TUESDAY),
            answer("d", "queja", decision="review"),
        ],
        labels=[label("a", "queja"), label("b", "reclamo"), label("c", "queja"), label("d", "x")],
    )
    columns = ["day", "audited", "agreed", "accuracy"]
    found = counted(silver, KPI_ACCURACY_DAILY, *columns)
    assert found == [(MONDAY, 2, 1, 0.5), (TUESDAY, 3, 2, pytest.approx(2 / 3))]
    for low, share, high in counted(
        silver, KPI_ACCURACY_DAILY, "accuracy_low", "accuracy", "accuracy_high"
    ):
        assert 0 < low < share < high < 1


@settings(max_examples=60, deadline=None)
@given(silvers())
def test_every_table_agrees_with_silver_and_comes_out_the_same_again(silver: SilverView) -> None:
    figures = count_gold(silver, RUN)
    assert [r for r in check_gold(figures, silver) if not r.passed] == []
    shuffled = {
        name: getattr(silver, name).sample(fraction=1, shuffle=True, seed=7)
        for name in ("tickets", "status_events", "classifications", "labels", "messages")
    }
    again = count_gold(replace(silver, **shuffled), RUN)
    assert all(again[contract].equals(rows) for contract, rows in figures.items())


@pytest.mark.parametrize("contract", GOLD, ids=str)
def test_a_number_that_was_tampered_with_does_not_pass(contract: Contract) -> None:
    silver = view(
        [ticket(name, pqrs_type="queja") for name in "abc"],
        answers=[answer("a", "queja", decision="audit"), answer("b", "queja", decision="review")],
        labels=[label("a", "queja")],
        moves=[*moved("a", ("CLOSED", TUESDAY)), *moved("b", ("RADICATED", MONDAY))],
    )
    figures = dict(count_gold(silver, RUN))
    rows = figures[contract]
    figures[contract] = pa.concat_tables([rows, rows])
    if contract is KPI_ACCURACY_DAILY:
        figures[contract] = rows.set_column(
            rows.schema.get_field_index("agreed"), "agreed", pa.array([9] * len(rows), pa.int64())
        )
    assert any(not r.passed for r in check_gold(figures, silver))
