from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.contract import Contract
from contracts.tables import (
    CLASSIFICATIONS,
    KPI_BACKLOG_DAILY,
    KPI_MLOPS_DAILY,
    KPI_TYPE_DAILY,
    KPI_VOLUME_DAILY,
    LABELS,
    STATUS_EVENTS,
    TICKETS,
)
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.errors import RunFailedError
from pipelines.gold import KPIS, count_gold
from pipelines.gold_checks import check_gold
from pipelines.gold_view import Counting, SilverView
from pipelines.quality import require

AT = datetime(2026, 1, 10, tzinfo=UTC)
RUN = RunContext.begin(TenantContext.parse("norte"), kind="run", at=AT)
MONDAY, TUESDAY, WEDNESDAY = date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)


def frame(contract: Contract, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a table of Silver; columns not given are null."""
    empty = pl.from_arrow(contract.empty())
    assert isinstance(empty, pl.DataFrame)
    return pl.DataFrame(rows, schema=empty.schema)


def ticket(name: str, day: date = MONDAY, **values: Any) -> dict[str, Any]:
    return {"ticket_id": name, "day": day, "source_channel": "email", **values}


def answer(name: str, label: str, **values: Any) -> dict[str, Any]:
    given = {"day": MONDAY, "task": "tipo", "tier": "champion", "score": 0.5, "decision": "accept"}
    model = {"model_name": "norte.tipo", "model_version": "2", "run_id": "run-1"}
    row = {"ticket_id": name, "predicted_label": label, "inference_timestamp": AT}
    return {**given, **model, **row, **values}


def label(name: str, value: str) -> dict[str, Any]:
    return {"label_id": name, "ticket_id": name, "task": "tipo", "label": value, "responded_at": AT}


def moved(name: str, to: str, day: date) -> dict[str, Any]:
    ts = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return {
        "ticket_id": name,
        "event_id": f"{name}{to}{day}",
        "ts": ts,
        "day": day,
        "status_to": to,
    }


def view(
    tickets: list[dict[str, Any]],
    answers: list[dict[str, Any]] | None = None,
    labels: list[dict[str, Any]] | None = None,
    moves: list[dict[str, Any]] | None = None,
) -> SilverView:
    return SilverView(
        frame(TICKETS, tickets),
        frame(STATUS_EVENTS, moves or []),
        frame(CLASSIFICATIONS, answers or []),
        frame(LABELS, labels or []),
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
        moves=[
            moved("a", "RADICATED", MONDAY),
            moved("a", "CLOSED", TUESDAY),
            moved("a", "REOPENED", WEDNESDAY),
        ],
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
        moves=[moved("a", "CLOSED", TUESDAY), moved("a", "ARCHIVED", WEDNESDAY)],
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
    states = st.sampled_from(["RADICATED", "CLOSED", "REOPENED", "ARCHIVED"])
    moves = [
        moved(*move)
        for move in draw(st.sets(st.tuples(st.sampled_from(sorted(tickets)), states, DAYS)))
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
