"""Compare Gold with the Silver it was counted from, before anything of it is published."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.states import TERMINAL_STATES
from contracts.tables import (
    KPI_ACCURACY_DAILY,
    KPI_BACKLOG_DAILY,
    KPI_CLOSE_TIME_DAILY,
    KPI_FIRST_RESPONSE_DAILY,
    KPI_MLOPS_DAILY,
    KPI_REVIEW_DAILY,
    KPI_SLA_DAILY,
    KPI_TYPE_DAILY,
    KPI_VOLUME_DAILY,
    STATUS_FLOW,
    TICKETS_SNAPSHOT,
)
from labeling.ledger import standing
from lakehouse.control.runs import QualityResult
from pipelines.gold import Figures
from pipelines.gold_view import SilverView, newest_champions

_UNDECIDED = ("review", "audit")


def check_gold(figures: Figures, view: SilverView) -> list[QualityResult]:
    """Compare Gold with the Silver it was counted from, or with the snapshot where Silver is mute.

    Every check is critical; what each table must be by itself its contract says. A change of state
    that breaks the machine is in quarantine, so one that is in Silver and not in the flow is lost.
    """
    tickets = view.tickets["ticket_id"].n_unique()
    answers = newest_champions(view.classifications)
    snapshot = _frame(figures[TICKETS_SNAPSHOT])
    known = snapshot.filter(pl.col("sla_term_days").is_not_null())
    late, closed = pl.col("is_overdue"), pl.col("closed_at").is_not_null()
    sums = {contract: _sums(contract, rows) for contract, rows in figures.items()}
    open_tickets = snapshot.filter("is_open").height
    said = answers.select("ticket_id", "task").join(
        view.tickets.select("ticket_id"), on="ticket_id", how="semi"
    )
    spoken = (
        standing(view.labels)
        .select("ticket_id", "task")
        .join(view.tickets.select("ticket_id"), on="ticket_id", how="semi")
    )
    to_people = answers.filter(pl.col("decision").is_in(_UNDECIDED)).height
    return [
        _check(KPI_VOLUME_DAILY, _AGREES.format("tickets"), sums[KPI_VOLUME_DAILY], tickets),
        _check(TICKETS_SNAPSHOT, "one row a ticket of Silver", len(snapshot), tickets),
        _check(
            KPI_TYPE_DAILY,
            _AGREES.format("labels"),
            sums[KPI_TYPE_DAILY],
            pl.concat([said, spoken]).n_unique(),
        ),
        _check(
            KPI_BACKLOG_DAILY,
            "the last day has the snapshot's open tickets",
            _on_last_day(figures[KPI_BACKLOG_DAILY], view),
            open_tickets,
        ),
        _check(
            KPI_SLA_DAILY,
            "settled tickets agree with the snapshot",
            sums[KPI_SLA_DAILY],
            known.filter(late | closed).height,
        ),
        _check(
            KPI_SLA_DAILY,
            "overdue tickets agree with the snapshot",
            _total(figures[KPI_SLA_DAILY], "overdue"),
            known.filter(late).height,
        ),
        _check(
            KPI_SLA_DAILY,
            "within and overdue make the settled",
            _total(figures[KPI_SLA_DAILY], "within") + _total(figures[KPI_SLA_DAILY], "overdue"),
            sums[KPI_SLA_DAILY],
        ),
        _check(
            KPI_FIRST_RESPONSE_DAILY,
            "first answers agree with the snapshot",
            sums[KPI_FIRST_RESPONSE_DAILY],
            snapshot["first_response_at"].count(),
        ),
        _check(
            KPI_CLOSE_TIME_DAILY,
            "closed tickets agree with the snapshot",
            sums[KPI_CLOSE_TIME_DAILY],
            snapshot.filter(~pl.col("is_open")).height,
        ),
        _check(
            STATUS_FLOW, _AGREES.format("transitions"), sums[STATUS_FLOW], len(view.status_events)
        ),
        _check(KPI_MLOPS_DAILY, _AGREES.format("answers"), sums[KPI_MLOPS_DAILY], len(answers)),
        _check(KPI_REVIEW_DAILY, _AGREES.format("doubt"), sums[KPI_REVIEW_DAILY], to_people),
        _check(
            KPI_ACCURACY_DAILY,
            "no more agreed than audited",
            _beyond(figures[KPI_ACCURACY_DAILY], "agreed", "audited"),
            0,
        ),
    ]


_AGREES = "sum of {} agrees with Silver"
_MEASURES = {
    KPI_VOLUME_DAILY: "tickets",
    KPI_TYPE_DAILY: "tickets",
    KPI_SLA_DAILY: "settled",
    KPI_FIRST_RESPONSE_DAILY: "responses",
    KPI_CLOSE_TIME_DAILY: "closed",
    STATUS_FLOW: "transitions",
    KPI_MLOPS_DAILY: "classified",
    KPI_REVIEW_DAILY: "sent",
}


def _sums(contract: Contract, rows: pa.Table) -> int:
    return _total(rows, _MEASURES[contract]) if contract in _MEASURES else len(rows)


def _total(rows: pa.Table, column: str) -> int:
    return pc.sum(rows[column]).as_py() or 0


def _beyond(rows: pa.Table, less: str, more: str) -> int:
    return pc.sum(pc.greater(rows[less], rows[more])).as_py() or 0


def _on_last_day(backlog: pa.Table, view: SilverView) -> int:
    """Count what is open on the last day of the backlog; no row of it is no open ticket.

    The backlog ends with the last day on which a ticket came in, was closed or was reopened.
    """
    turned = view.status_events.filter(
        pl.col("status_to").is_in([state.value for state in TERMINAL_STATES])
        | pl.col("status_from").is_in([state.value for state in TERMINAL_STATES])
    ).join(view.tickets.select("ticket_id"), on="ticket_id", how="semi")
    last = pl.concat([view.tickets["day"], turned["day"]]).max()
    return int(_frame(backlog).filter(pl.col("day") == last)["open_tickets"].sum())


def _check(contract: Contract, check: str, observed: int, expected: int) -> QualityResult:
    return QualityResult(
        contract.table.layer.value,
        contract.table.entity,
        check,
        "critical",
        observed == expected,
        str(observed),
        str(expected),
    )


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame
