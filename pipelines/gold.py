"""Gold: the official figures, counted from Silver. No free text, no model, nothing to guess.

The type of a ticket is what a person said, else what the champion answered, else what the channel
declared; the newest answer counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.pqrs import TERMINAL_STATES
from contracts.tables import (
    CLASSIFICATIONS,
    GOLD,
    KPI_BACKLOG_DAILY,
    KPI_MLOPS_DAILY,
    KPI_TYPE_DAILY,
    KPI_VOLUME_DAILY,
    LABELS,
    STATUS_EVENTS,
    TICKETS,
)
from lakehouse.control.runs import QualityResult
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from pipelines.answered import CHAMPION
from pipelines.errors import RunFailedError
from pipelines.steps import OnStep, write

TYPE_TASK = "tipo"
UNKNOWN_TYPE = "sin_tipo"
UNKNOWN_REGION = "sin_region"

Figures = Mapping[Contract, pa.Table]


@dataclass(frozen=True, slots=True)
class SilverView:
    """The columns of Silver that Gold counts, as they stood when it was read."""

    tickets: pl.DataFrame
    status_events: pl.DataFrame
    classifications: pl.DataFrame
    labels: pl.DataFrame


_COLUMNS = {
    TICKETS: ["ticket_id", "day", "source_channel", "pqrs_type", "geo_region"],
    STATUS_EVENTS: ["ticket_id", "event_id", "ts", "day", "status_to"],
    CLASSIFICATIONS: [
        "ticket_id",
        "day",
        "task",
        "tier",
        "predicted_label",
        "score",
        "decision",
        "model_name",
        "model_version",
        "inference_timestamp",
        "run_id",
    ],
    LABELS: ["label_id", "ticket_id", "task", "label", "responded_at"],
}


def read_silver(run: RunContext, store: TableStore, *, labels_at: int | None) -> SilverView:
    """Read Silver as this run left it; labels, which others write, at the planned version."""

    def frame(contract: Contract, at: int | None = None) -> pl.DataFrame:
        columns = _COLUMNS[contract]
        return _frame(contract, store.scan(contract.table, run.tenant, at=at, columns=columns))

    return SilverView(
        tickets=frame(TICKETS),
        status_events=frame(STATUS_EVENTS),
        classifications=frame(CLASSIFICATIONS),
        labels=_frame(LABELS, None) if labels_at is None else frame(LABELS, labels_at),
    )


def _frame(contract: Contract, rows: pa.Table | None) -> pl.DataFrame:
    columns = _COLUMNS[contract]
    frame = pl.from_arrow(contract.empty() if rows is None else rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(columns)


def count_gold(view: SilverView, run: RunContext) -> Figures:
    """Count every table of Gold from one view of Silver."""
    labels = newest_labels(view.labels)
    answers = newest_champions(view.classifications)
    typed = with_type(view.tickets, answers, labels)
    counted = {
        KPI_VOLUME_DAILY: _volume(typed),
        KPI_TYPE_DAILY: _types(view.tickets, answers, labels),
        KPI_BACKLOG_DAILY: _backlog(typed, view.status_events),
        KPI_MLOPS_DAILY: _mlops(answers, labels),
    }
    return {contract: _as_rows(contract, frame, run) for contract, frame in counted.items()}


def newest_champions(classifications: pl.DataFrame) -> pl.DataFrame:
    """Keep, of each ticket and task, the champion's answer of the newest run."""
    return (
        classifications.filter(pl.col("tier") == CHAMPION)
        .sort("inference_timestamp", "run_id")
        .unique(["ticket_id", "task"], keep="last", maintain_order=True)
    )


def newest_labels(labels: pl.DataFrame) -> pl.DataFrame:
    """Keep, of each ticket and task, what was answered last."""
    return (
        labels.sort("responded_at", "label_id")
        .unique(["ticket_id", "task"], keep="last", maintain_order=True)
        .select("ticket_id", "task", "label")
    )


def with_type(tickets: pl.DataFrame, answers: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Give every ticket its type: a person's, else the champion's, else the declared one."""
    of_person = labels.filter(pl.col("task") == TYPE_TASK).select("ticket_id", "label")
    of_model = answers.filter(pl.col("task") == TYPE_TASK).select("ticket_id", "predicted_label")
    kind = pl.coalesce("label", "predicted_label", "pqrs_type", pl.lit(UNKNOWN_TYPE))
    return (
        tickets.join(of_person, on="ticket_id", how="left")
        .join(of_model, on="ticket_id", how="left")
        .with_columns(kind.alias("pqrs_type"), pl.col("geo_region").fill_null(UNKNOWN_REGION))
        .drop("label", "predicted_label")
    )


def _volume(typed: pl.DataFrame) -> pl.DataFrame:
    return typed.group_by("day", "source_channel", "pqrs_type").agg(_count("tickets"))


def _types(tickets: pl.DataFrame, answers: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    said = answers.join(labels, on=["ticket_id", "task"], how="full", coalesce=True)
    return (
        said.with_columns(pl.coalesce("label", "predicted_label").alias("label"))
        .drop("day")
        .join(tickets.select("ticket_id", "day"), on="ticket_id")
        .group_by("day", "task", "label")
        .agg(_count("tickets"))
    )


def _backlog(typed: pl.DataFrame, status_events: pl.DataFrame) -> pl.DataFrame:
    """Count the open tickets at the end of each day on which anything happened or could have.

    A ticket is open from its creation until a terminal state, and again once reopened.
    """
    keys = ["pqrs_type", "geo_region"]
    known = typed.select("ticket_id", *keys)
    opened = typed.select("ticket_id", "day", pl.lit(1, pl.Int64).alias("change"))
    changes = pl.concat([opened, _turns(status_events, typed)]).join(known, on="ticket_id")
    if changes.is_empty():
        return changes.select("day", *keys, pl.lit(0, pl.Int64).alias("open_tickets"))
    daily = changes.group_by("day", *keys).agg(pl.col("change").sum())
    first, last = daily.select(pl.col("day").min(), pl.col("day").max().alias("last")).row(0)
    days = pl.date_range(first, last, interval="1d", eager=True).alias("day")
    grid = days.to_frame().join(daily.select(keys).unique(), how="cross")
    return (
        grid.join(daily, on=["day", *keys], how="left")
        .sort("day")
        .with_columns(pl.col("change").fill_null(0).cum_sum().over(keys).alias("open_tickets"))
        .filter(pl.col("open_tickets") != 0)
        .select("day", *keys, "open_tickets")
    )


def _turns(status_events: pl.DataFrame, typed: pl.DataFrame) -> pl.DataFrame:
    """Say when a ticket went from open to closed (-1) or back (+1)."""
    terminal = pl.col("status_to").is_in([state.value for state in TERMINAL_STATES])
    created = typed.select("ticket_id", pl.col("day").alias("created"))
    return (
        status_events.sort("ts", "event_id")
        .with_columns(terminal.alias("closed"))
        .with_columns(
            pl.col("closed").shift(1).over("ticket_id").fill_null(False).alias("was_closed")
        )
        .filter(pl.col("closed") != pl.col("was_closed"))
        .join(created, on="ticket_id")
        .select(
            "ticket_id",
            pl.max_horizontal("day", "created").alias("day"),
            pl.when("closed").then(-1).otherwise(1).cast(pl.Int64).alias("change"),
        )
    )


def _mlops(answers: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    model = pl.concat_str("model_name", "model_version", separator="/")
    human = pl.col("label").is_not_null()
    review = pl.col("decision") == "review"
    return (
        answers.join(labels, on=["ticket_id", "task"], how="left")
        .group_by("day", "task", model.alias("model"))
        .agg(
            _count("classified"),
            (~review).sum().cast(pl.Int64).alias("accepted"),
            review.sum().cast(pl.Int64).alias("review"),
            (~review).mean().alias("automation_rate"),
            pl.col("score").sort().mean().alias("mean_score"),
            human.sum().cast(pl.Int64).alias("labelled"),
            (pl.col("label") == pl.col("predicted_label")).sum().cast(pl.Int64).alias("agreed"),
        )
    )


def _count(name: str) -> pl.Expr:
    return pl.len().cast(pl.Int64).alias(name)


def _as_rows(contract: Contract, frame: pl.DataFrame, run: RunContext) -> pa.Table:
    """Add tenant and run, and set the order: the same Silver gives the same bytes."""
    fenced = frame.with_columns(
        pl.lit(run.tenant.tenant_id).alias("tenant_id"), pl.lit(run.run_id).alias("run_id")
    )
    ordered = fenced.sort(contract.key).select(contract.schema.names).to_arrow()
    return ordered.cast(contract.schema)


def check_gold(figures: Figures, view: SilverView) -> list[QualityResult]:
    """Compare Gold with the Silver it was counted from; every check is critical."""
    tickets = view.tickets["ticket_id"].n_unique()
    counted = pc.sum(figures[KPI_VOLUME_DAILY]["tickets"]).as_py() or 0
    answers = len(newest_champions(view.classifications))
    classified = pc.sum(figures[KPI_MLOPS_DAILY]["classified"]).as_py() or 0
    return [
        _check(KPI_VOLUME_DAILY, "sum of tickets agrees with Silver", counted, tickets),
        _check(KPI_MLOPS_DAILY, "sum of answers agrees with Silver", classified, answers),
        *(
            _check(contract, "counts are not negative", _negative(contract, rows), 0)
            for contract, rows in figures.items()
        ),
        *(
            _check(contract, "no duplicate key", _repeated(contract, rows), 0)
            for contract, rows in figures.items()
        ),
    ]


def require(results: list[QualityResult]) -> None:
    """Raise `RunFailedError` that names every critical check that failed."""
    failed = [r for r in results if r.severity == "critical" and not r.passed]
    if failed:
        found = "; ".join(
            f"{r.table}: {r.check} (found {r.observed}, expected {r.expected})" for r in failed
        )
        msg = f"critical quality checks failed, nothing of this layer was published: {found}"
        raise RunFailedError(msg)


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


def _negative(contract: Contract, rows: pa.Table) -> int:
    counts = [field.name for field in contract.schema if field.type == pa.int64()]
    return sum(pc.sum(pc.less(rows[name], 0)).as_py() or 0 for name in counts)


def _repeated(contract: Contract, rows: pa.Table) -> int:
    return len(rows) - len(rows.group_by(list(contract.key)).aggregate([]))


def write_gold(figures: Figures, run: RunContext, *, store: TableStore, on_step: OnStep) -> None:
    """Append the figures to the lake's Gold, under this run."""
    for contract in GOLD:
        write(store, contract, figures[contract], run, part="all", on_step=on_step)
