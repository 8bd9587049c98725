"""Gold: how many came in, what they are about, and how many were open at the end of each day."""

from __future__ import annotations

from datetime import date

import polars as pl

from contracts.states import TERMINAL_STATES
from contracts.tables import (
    CLASSIFICATIONS,
    KPI_BACKLOG_DAILY,
    KPI_TYPE_DAILY,
    KPI_VOLUME_DAILY,
    LABELS,
    STATUS_EVENTS,
    TICKETS,
)
from pipelines.gold_view import Counting, Kpi, count_rows

_VOLUME_KEY = ["day", "source_channel", "pqrs_type"]
_TYPE_KEY = ["day", "task", "label"]
_BACKLOG_KEY = ["pqrs_type", "geo_region"]


def _volume(counting: Counting) -> pl.DataFrame:
    return counting.typed.group_by(_VOLUME_KEY).agg(count_rows("tickets"))


def _volume_members(counting: Counting, day: date) -> pl.DataFrame:
    return counting.typed.filter(day=day).select("ticket_id", *_VOLUME_KEY)


def _types(counting: Counting) -> pl.DataFrame:
    return _said(counting).group_by(_TYPE_KEY).agg(count_rows("tickets"))


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
    turns = _turns(counting.sequence, typed)
    return pl.concat([opened, turns]).join(typed.select("ticket_id", *_BACKLOG_KEY), on="ticket_id")


def _turns(sequence: pl.DataFrame, typed: pl.DataFrame) -> pl.DataFrame:
    """Say when a ticket went from open to closed (-1) or back (+1)."""
    terminal = [state.value for state in TERMINAL_STATES]
    closed = pl.col("status_to").is_in(terminal)
    created = typed.select("ticket_id", pl.col("day").alias("created"))
    return (
        sequence.filter(closed != pl.col("status_from").is_in(terminal))
        .join(created, on="ticket_id")
        .select(
            "ticket_id",
            pl.max_horizontal("day", "created").alias("day"),
            pl.when(closed).then(-1).otherwise(1).cast(pl.Int64).alias("change"),
        )
    )


VOLUME_KPIS = {
    KPI_VOLUME_DAILY: Kpi("tickets", _volume, _volume_members),
    KPI_TYPE_DAILY: Kpi("tickets", _types, _type_members),
    KPI_BACKLOG_DAILY: Kpi(
        "open_tickets",
        _backlog,
        _backlog_members,
        (TICKETS, STATUS_EVENTS, CLASSIFICATIONS, LABELS),
    ),
}
