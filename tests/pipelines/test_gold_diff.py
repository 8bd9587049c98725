from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from contracts.tables import CLASSIFICATIONS, LABELS, MESSAGES, STATUS_EVENTS, TICKETS
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.gold_diff import TableMove, gold_moves
from pipelines.gold_view import SILVER_COLUMNS, SilverView
from pipelines.sla_terms import DEFAULT_TERMS

NORTE = TenantContext.parse("norte")
AT = datetime(2026, 1, 9, tzinfo=UTC)
RUN = RunContext.begin(NORTE, kind="diff", at=AT)


def silver(tickets: int, labels: list[dict[str, object]] | None = None) -> SilverView:
    """Build Silver with tickets t0, t1 … of one day, each of which a model called `queja`."""
    empty = {
        contract: pl.DataFrame(contract.empty().select(columns))
        for contract, columns in SILVER_COLUMNS.items()
    }
    rows = [
        {
            "ticket_id": f"t{n}",
            "day": date(2026, 1, 5),
            "created_at": datetime(2026, 1, 5, 10, tzinfo=UTC),
            "source_channel": "email",
        }
        for n in range(tickets)
    ]
    answered = [
        {
            "ticket_id": f"t{n}",
            "day": date(2026, 1, 5),
            "task": "tipo",
            "tier": "champion",
            "predicted_label": "queja",
            "score": 0.9,
            "decision": "accept",
            "model_name": "norte.tipo",
            "model_version": "1",
            "inference_timestamp": datetime(2026, 1, 6, tzinfo=UTC),
            "run_id": "run-1",
        }
        for n in range(tickets)
    ]
    return SilverView(
        tickets=pl.DataFrame(rows, schema=dict(empty[TICKETS].schema)),
        messages=empty[MESSAGES],
        status_events=empty[STATUS_EVENTS],
        classifications=pl.DataFrame(answered, schema=dict(empty[CLASSIFICATIONS].schema)),
        labels=pl.DataFrame(labels or [], schema=dict(empty[LABELS].schema)),
        terms=DEFAULT_TERMS,
        read_at=AT,
    )


def said(*labels: str, decision: str = "accept") -> pl.DataFrame:
    """Build the answers of t0, t1 … in their order."""
    return pl.DataFrame(
        [
            {
                "ticket_id": f"t{n}",
                "task": "tipo",
                "predicted_label": label,
                "score": 0.9,
                "decision": decision,
            }
            for n, label in enumerate(labels)
        ]
    )


def moves(view: SilverView, old: pl.DataFrame, new: pl.DataFrame) -> dict[str, TableMove]:
    return {move.table: move for move in gold_moves(view, old, new, RUN)}


def test_the_same_answers_move_nothing() -> None:
    assert (
        moves(silver(3), said("queja", "queja", "reclamo"), said("queja", "queja", "reclamo")) == {}
    )


def test_a_flip_takes_from_one_number_and_gives_to_another() -> None:
    found = moves(silver(3), said("queja", "queja", "queja"), said("queja", "queja", "reclamo"))
    volume = found["gold.kpi_volume_daily"]
    assert (volume.rows, volume.rows_moved) == (2, 2)
    sides = {move.key["pqrs_type"]: (move.old, move.new, move.change) for move in volume.moves}
    assert sides == {"queja": (3.0, 2.0, -1.0), "reclamo": (None, 1.0, 1.0)}
    assert [(day.more, day.less) for day in volume.by_day] == [(1.0, 1.0)]
    assert found["gold.kpi_backlog_daily"].rows_moved > 0
    assert found["gold.tickets_snapshot"].measures["pqrs_type"] == 1


def test_a_change_of_decision_alone_moves_the_machines_share_and_no_request() -> None:
    found = moves(silver(2), said("queja", "queja"), said("queja", "queja", decision="review"))
    assert set(found) == {"gold.kpi_mlops_daily", "gold.kpi_review_daily"}
    rate = [m for m in found["gold.kpi_mlops_daily"].moves if m.measure == "automation_rate"]
    assert [(move.old, move.new) for move in rate] == [(1.0, 0.0)]


def test_what_a_person_said_stands_on_both_sides() -> None:
    label = {
        "label_id": "l",
        "ticket_id": "t0",
        "task": "tipo",
        "label": "peticion",
        "responded_at": datetime(2026, 1, 7, tzinfo=UTC),
    }
    found = moves(silver(1, [label]), said("queja"), said("reclamo"))
    assert "gold.kpi_volume_daily" not in found
    assert "gold.kpi_type_daily" not in found


def test_tickets_that_were_not_compared_keep_the_answer_that_stands() -> None:
    found = moves(silver(3), said("queja"), said("reclamo"))
    sides = {m.key["pqrs_type"]: (m.old, m.new) for m in found["gold.kpi_volume_daily"].moves}
    assert sides == {"queja": (3.0, 2.0), "reclamo": (None, 1.0)}
