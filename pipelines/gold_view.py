"""What Gold counts from: Silver at exact versions, made ready once for every table.

The type of a ticket is what people said, else what the champion answered, else what the channel
declared. Of people's words the label that stands counts, of the champion's answers the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property

import polars as pl
import pyarrow as pa

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, LABELS, MESSAGES, STATUS_EVENTS, TICKETS
from labeling.ledger import standing
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.answered import CHAMPION
from pipelines.business_time import DAY, BusinessCalendar
from pipelines.sequences import in_sequence
from pipelines.sla_clock import calendar_for, read_clocks
from pipelines.sla_terms import DEFAULT_TERMS, SlaTerms
from pipelines.standing_labels import label_facts

TYPE_TASK = "tipo"
PRIORITY_TASK = "prioridad"
UNKNOWN_TYPE = "sin_tipo"
UNKNOWN_PRIORITY = "sin_prioridad"
UNKNOWN_REGION = "sin_region"


@dataclass(frozen=True, slots=True)
class SilverView:
    """The columns of Silver that Gold counts, as they stood when it was read.

    `terms` are the legal terms that hold. `read_at` is the moment at which what runs still is read:
    of all the tenant's tickets, also where the view keeps only some of them.
    """

    tickets: pl.DataFrame
    messages: pl.DataFrame
    status_events: pl.DataFrame
    classifications: pl.DataFrame
    labels: pl.DataFrame
    terms: SlaTerms
    read_at: datetime

    def of_ticket(self, ticket_id: str) -> SilverView:
        """Keep the rows of one ticket: what they count for is what the ticket counts for."""
        return replace(
            self,
            tickets=self.tickets.filter(ticket_id=ticket_id),
            messages=self.messages.filter(ticket_id=ticket_id),
            status_events=self.status_events.filter(ticket_id=ticket_id),
            classifications=self.classifications.filter(ticket_id=ticket_id),
            labels=self.labels.filter(ticket_id=ticket_id),
        )


def end_of_data(*tables: pl.DataFrame) -> datetime:
    """Return the end of the last day on which anything happened: Silver's own clock, not ours."""
    last = pl.concat([table["day"] for table in tables]).max()
    day = last if isinstance(last, date) else date(1970, 1, 1)
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


SILVER_COLUMNS = {
    TICKETS: [
        "ticket_id",
        "day",
        "created_at",
        "source_channel",
        "pqrs_type",
        "priority",
        "geo_region",
        "geo_municipio",
        "dane_city_code",
    ],
    MESSAGES: ["ticket_id", "day", "ts", "role"],
    STATUS_EVENTS: ["ticket_id", "event_id", "ts", "day", "status_from", "status_to"],
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
    LABELS: [
        "label_id",
        "ticket_id",
        "task",
        "label",
        "reviewer",
        "responded_at",
        "fact",
        "observed_at",
    ],
}
"""What a `SilverView` holds of each table."""


def read_silver(
    run: RunContext,
    store: TableStore,
    *,
    labels_at: int | None,
    terms: SlaTerms = DEFAULT_TERMS,
) -> SilverView:
    """Read Silver as this run left it; labels, which others write, at the planned version."""
    heads = {contract: store.head(contract.table, run.tenant) for contract in SILVER_COLUMNS}
    versions = {str(c.table): None if head is None else head.version for c, head in heads.items()}
    versions[str(LABELS.table)] = labels_at
    return silver_at(versions, run.tenant, store, terms=terms)


def silver_at(
    versions: Mapping[str, int | None],
    tenant: TenantContext,
    store: TableStore,
    *,
    terms: SlaTerms = DEFAULT_TERMS,
) -> SilverView:
    """Read Silver at exact versions; None where a table was not there yet."""

    def frame(contract: Contract) -> pl.DataFrame:
        version = versions.get(str(contract.table))
        if version is None:
            return _frame(contract, None)
        columns = SILVER_COLUMNS[contract]
        if contract == LABELS:
            return label_facts(tenant, store, at=version).select(columns)
        return _frame(contract, store.scan(contract.table, tenant, at=version, columns=columns))

    happened = frame(TICKETS), frame(MESSAGES), frame(STATUS_EVENTS)
    tickets, messages, status_events = happened
    return SilverView(
        tickets=tickets,
        messages=messages,
        status_events=status_events,
        classifications=frame(CLASSIFICATIONS),
        labels=frame(LABELS),
        terms=terms,
        read_at=end_of_data(*happened),
    )


def _frame(contract: Contract, rows: pa.Table | None) -> pl.DataFrame:
    columns = SILVER_COLUMNS[contract]
    frame = pl.from_arrow(contract.empty() if rows is None else rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(columns)


@dataclass(frozen=True)
class Counting:
    """One view of Silver made ready to count.

    `answers` are the champions' newest, `labels` what stands of people's, `typed` the tickets with
    the type and the priority that count. What only some tables need is made when the first asks.
    """

    view: SilverView
    answers: pl.DataFrame
    labels: pl.DataFrame
    typed: pl.DataFrame

    @classmethod
    def of(cls, view: SilverView) -> Counting:
        """Decide once what every table counts with."""
        labels = standing(view.labels).select("label_id", "ticket_id", "task", "label")
        answers = newest_champions(view.classifications)
        return cls(view, answers, labels, with_type(view.tickets, answers, labels))

    @cached_property
    def sequence(self) -> pl.DataFrame:
        """The changes of state that count, each ticket's in order."""
        return in_sequence(self.view.status_events)

    @cached_property
    def clocks(self) -> pl.DataFrame:
        """Where each ticket that was ever changed stands, and its clock; see `read_clocks`."""
        view = self.view
        return read_clocks(self.sequence, self.typed, view.terms, view.read_at)

    @cached_property
    def days(self) -> BusinessCalendar:
        """The calendar of business days that has every moment of the view."""
        view = self.view
        moments = [view.tickets["created_at"], view.messages["ts"], view.status_events["ts"]]
        return calendar_for(pl.concat(moments), view.terms, view.read_at)


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


def with_type(tickets: pl.DataFrame, answers: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Give every ticket its type and priority: a person's, else the champion's, else declared."""
    typed = _decided(tickets, answers, labels, TYPE_TASK, "pqrs_type", UNKNOWN_TYPE)
    return _decided(
        typed, answers, labels, PRIORITY_TASK, "priority", UNKNOWN_PRIORITY
    ).with_columns(pl.col("geo_region").fill_null(UNKNOWN_REGION))


def _decided(
    tickets: pl.DataFrame,
    answers: pl.DataFrame,
    labels: pl.DataFrame,
    task: str,
    column: str,
    unknown: str,
) -> pl.DataFrame:
    of_person = labels.filter(pl.col("task") == task).select("ticket_id", "label")
    of_model = answers.filter(pl.col("task") == task).select("ticket_id", "predicted_label")
    said = pl.coalesce("label", "predicted_label", column, pl.lit(unknown))
    return (
        tickets.join(of_person, on="ticket_id", how="left")
        .join(of_model, on="ticket_id", how="left")
        .with_columns(said.alias(column))
        .drop("label", "predicted_label")
    )


def count_rows(name: str) -> pl.Expr:
    """Count the rows of a group, as the contracts have counts."""
    return pl.len().cast(pl.Int64).alias(name)


def business_days(rows: pl.DataFrame, start: str, end: str, days: BusinessCalendar) -> pl.Expr:
    """Measure the business time between two columns of moments, in microseconds; never negative.

    Null where no start is known.
    """
    starts = rows.select(pl.coalesce(start, end)).to_series().to_physical().to_numpy()
    spent = days.between(starts, rows[end].to_physical().to_numpy())
    return pl.when(pl.col(start).is_not_null()).then(pl.Series("spent", spent).clip(0))


def days_of(microseconds: pl.Expr) -> pl.Expr:
    """Say microseconds of business time in business days."""
    return microseconds / DAY


def mean_days(column: str, name: str = "mean_days") -> pl.Expr:
    """Take the mean in days over whole microseconds: the order of rows makes no difference."""
    return days_of(pl.col(column).sum() / pl.col(column).count().replace(0, None)).alias(name)


def quantile_days(column: str, share: float, name: str) -> pl.Expr:
    """Take a quantile in days; between two values, the one that lies as far between them."""
    return days_of(pl.col(column).quantile(share, interpolation="linear")).alias(name)
