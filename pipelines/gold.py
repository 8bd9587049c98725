"""Gold: the official figures, counted from Silver. No free text, no model, nothing to guess.

The type of a ticket is what a person said, else what the champion answered, else what the channel
declared; the newest answer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

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
from lakehouse.tenancy import TenantContext
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
    heads = {contract: store.head(contract.table, run.tenant) for contract in _COLUMNS}
    versions = {str(c.table): None if head is None else head.version for c, head in heads.items()}
    return silver_at({**versions, str(LABELS.table): labels_at}, run.tenant, store)


def silver_at(
    versions: Mapping[str, int | None], tenant: TenantContext, store: TableStore
) -> SilverView:
    """Read Silver at exact versions; None where a table was not there yet."""

    def frame(contract: Contract) -> pl.DataFrame:
        version = versions.get(str(contract.table))
        if version is None:
            return _frame(contract, None)
        columns = _COLUMNS[contract]
        return _frame(contract, store.scan(contract.table, tenant, at=version, columns=columns))

    return SilverView(
        tickets=frame(TICKETS),
        status_events=frame(STATUS_EVENTS),
        classifications=frame(CLASSIFICATIONS),
        labels=frame(LABELS),
    )


def _frame(contract: Contract, rows: pa.Table | None) -> pl.DataFrame:
    columns = _COLUMNS[contract]
    frame = pl.from_arrow(contract.empty() if rows is None else rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(columns)


@dataclass(frozen=True, slots=True)
class Counting:
    """One view of Silver made ready to count.

    `answers` are the champions' newest, `labels` people's newest, `typed` the tickets with the type
    that counts.
    """

    view: SilverView
    answers: pl.DataFrame
    labels: pl.DataFrame
    typed: pl.DataFrame

    @classmethod
    def of(cls, view: SilverView) -> Counting:
        """Decide once what every table counts with."""
        labels = newest_labels(view.labels)
        answers = newest_champions(view.classifications)
        return cls(view, answers, labels, with_type(view.tickets, answers, labels))


Count = Callable[[Counting], pl.DataFrame]
"""Count a table of Gold: its key and its measures."""

Members = Callable[[Counting, date], pl.DataFrame]
"""Say which tickets make a table's numbers of one day: `ticket_id` and the key, a row for each time
a ticket counts; a boolean column where a measure counts only some of them."""


@dataclass(frozen=True, slots=True)
class Kpi:
    """One table of Gold: how it is counted, and which tickets stand behind a number of it.

    Both read the same rows, so that a number and its tickets cannot come apart. `measure` is the
    column that counts every member, `reads` the tables of Silver that decide a number.
    """

    measure: str
    count: Count
    members: Members
    reads: tuple[Contract, ...] = (TICKETS, CLASSIFICATIONS, LABELS)


def count_gold(view: SilverView, run: RunContext) -> Figures:
    """Count every table of Gold from one view of Silver."""
    counting = Counting.of(view)
    return {
        contract: _as_rows(contract, kpi.count(counting), run) for contract, kpi in KPIS.items()
    }


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
        .select("label_id", "ticket_id", "task", "label")
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


_VOLUME_KEY = ["day", "source_channel", "pqrs_type"]
_TYPE_KEY = ["day", "task", "label"]
_BACKLOG_KEY = ["pqrs_type", "geo_region"]
_MLOPS_KEY = ["day", "task", "model"]


def _volume(counting: Counting) -> pl.DataFrame:
    return counting.typed.group_by(_VOLUME_KEY).agg(_count("tickets"))


def _volume_members(counting: Counting, day: date) -> pl.DataFrame:
    return counting.typed.filter(day=day).select("ticket_id", *_VOLUME_KEY)


def _types(counting: Counting) -> pl.DataFrame:
    return _said(counting).group_by(_TYPE_KEY).agg(_count("tickets"))


def _type_members(counting: Counting, day: date) -> pl.DataFrame:
    return _said(counting).filter(day=day)


def _said(counting: Counting) -> pl.DataFrame:
    """Give what was said of each ticket and task: a person's word, else the champion's."""
    answers, labels = counting.answers, counting.labels
    said = answers.join(labels, on=["ticket_id", "task"], how="full", coalesce=True)
    return (
        said.with_columns(pl.coalesce("label", "predicted_label").alias("label"))
        .drop("day")
        .join(counting.view.tickets.select("ticket_id", "day"), on="ticket_id")
        .select("ticket_id", *_TYPE_KEY)
    )


def _backlog(counting: Counting) -> pl.DataFrame:
    """Count the open tickets at the end of each day on which anything happened or could have."""
    changes = _changes(counting)
    if changes.is_empty():
        return changes.select("day", *_BACKLOG_KEY, pl.lit(0, pl.Int64).alias("open_tickets"))
    daily = changes.group_by("day", *_BACKLOG_KEY).agg(pl.col("change").sum())
    first, last = daily.select(pl.col("day").min(), pl.col("day").max().alias("last")).row(0)
    days = pl.date_range(first, last, interval="1d", eager=True).alias("day")
    grid = days.to_frame().join(daily.select(_BACKLOG_KEY).unique(), how="cross")
    running = pl.col("change").fill_null(0).cum_sum().over(_BACKLOG_KEY)
    return (
        grid.join(daily, on=["day", *_BACKLOG_KEY], how="left")
        .sort("day")
        .with_columns(running.alias("open_tickets"))
        .filter(pl.col("open_tickets") != 0)
        .select("day", *_BACKLOG_KEY, "open_tickets")
    )


def _backlog_members(counting: Counting, day: date) -> pl.DataFrame:
    until = _changes(counting).filter(pl.col("day") <= day)
    return (
        until.group_by("ticket_id", *_BACKLOG_KEY)
        .agg(pl.col("change").sum())
        .filter(pl.col("change") > 0)
        .select("ticket_id", pl.lit(day).alias("day"), *_BACKLOG_KEY)
    )


def _changes(counting: Counting) -> pl.DataFrame:
    """Say when each ticket was opened (1) and closed (-1).

    A ticket is open from its creation until a terminal state, and again once reopened.
    """
    typed = counting.typed
    opened = typed.select("ticket_id", "day", pl.lit(1, pl.Int64).alias("change"))
    turns = _turns(counting.view.status_events, typed)
    return pl.concat([opened, turns]).join(typed.select("ticket_id", *_BACKLOG_KEY), on="ticket_id")


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


def _mlops(counting: Counting) -> pl.DataFrame:
    return (
        _judged(counting)
        .group_by(_MLOPS_KEY)
        .agg(
            _count("classified"),
            pl.col("accepted", "review").sum().cast(pl.Int64),
            pl.col("accepted").mean().alias("automation_rate"),
            pl.col("score").sort().mean().alias("mean_score"),
            pl.col("labelled", "agreed").sum().cast(pl.Int64),
        )
    )


def _mlops_members(counting: Counting, day: date) -> pl.DataFrame:
    return _judged(counting).filter(day=day).drop("score")


def _judged(counting: Counting) -> pl.DataFrame:
    """Give each champion's answer, what was decided about it, and whether a person agreed."""
    review = pl.col("decision") == "review"
    return counting.answers.join(counting.labels, on=["ticket_id", "task"], how="left").select(
        "ticket_id",
        "day",
        "task",
        pl.concat_str("model_name", "model_version", separator="/").alias("model"),
        "score",
        (~review).alias("accepted"),
        review.alias("review"),
        pl.col("label").is_not_null().alias("labelled"),
        (pl.col("label") == pl.col("predicted_label")).fill_null(False).alias("agreed"),
    )


KPIS: Mapping[Contract, Kpi] = {
    KPI_VOLUME_DAILY: Kpi("tickets", _volume, _volume_members),
    KPI_TYPE_DAILY: Kpi("tickets", _types, _type_members),
    KPI_BACKLOG_DAILY: Kpi(
        "open_tickets",
        _backlog,
        _backlog_members,
        (TICKETS, STATUS_EVENTS, CLASSIFICATIONS, LABELS),
    ),
    KPI_MLOPS_DAILY: Kpi("classified", _mlops, _mlops_members, (CLASSIFICATIONS, LABELS)),
}


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
