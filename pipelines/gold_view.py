"""What Gold counts from: Silver at exact versions, made ready once for every table.

The type of a ticket is what a person said, else what the champion answered, else what the channel
declared; the newest answer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date

import polars as pl
import pyarrow as pa

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, LABELS, STATUS_EVENTS, TICKETS
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.answered import CHAMPION

TYPE_TASK = "tipo"
UNKNOWN_TYPE = "sin_tipo"
UNKNOWN_REGION = "sin_region"


@dataclass(frozen=True, slots=True)
class SilverView:
    """The columns of Silver that Gold counts, as they stood when it was read."""

    tickets: pl.DataFrame
    status_events: pl.DataFrame
    classifications: pl.DataFrame
    labels: pl.DataFrame

    def of_ticket(self, ticket_id: str) -> SilverView:
        """Keep the rows of one ticket: what they count for is what the ticket counts for."""
        frames = {field.name: getattr(self, field.name) for field in fields(self)}
        return SilverView(**{name: f.filter(ticket_id=ticket_id) for name, f in frames.items()})


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


def count_rows(name: str) -> pl.Expr:
    """Count the rows of a group, as the contracts have counts."""
    return pl.len().cast(pl.Int64).alias(name)
