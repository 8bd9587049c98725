"""Gold: the SLA, the first answer and the closing of tickets, by day and type."""

from __future__ import annotations

from datetime import date

import polars as pl

from contracts.pqrs import TicketState
from contracts.tables import (
    CLASSIFICATIONS,
    KPI_CLOSE_TIME_DAILY,
    KPI_FIRST_RESPONSE_DAILY,
    KPI_SLA_DAILY,
    LABELS,
    MESSAGES,
    STATUS_EVENTS,
    TICKETS,
)
from pipelines.gold_view import (
    Counting,
    Kpi,
    business_days,
    count_rows,
    days_of,
    mean_days,
    quantile_days,
)

_KEY = ["day", "pqrs_type"]
_TYPED = (TICKETS, CLASSIFICATIONS, LABELS)
AGENT = "agent"


def _sla(counting: Counting) -> pl.DataFrame:
    return (
        settled(counting)
        .group_by(_KEY)
        .agg(
            count_rows("settled"),
            pl.col("within", "overdue").sum().cast(pl.Int64),
            pl.col("within").mean().alias("within_share"),
            mean_days("over", "mean_overdue_days"),
        )
    )


def _sla_members(counting: Counting, day: date) -> pl.DataFrame:
    return settled(counting).filter(day=day).drop("over")


def settled(counting: Counting) -> pl.DataFrame:
    """Give the tickets whose term was met or passed, on the day on which that was certain.

    A ticket is overdue from the day its clock passed the term; it was within it on the day it was
    closed. `over` is the business time beyond the term, null within it.
    """
    passed = pl.col("passed_at").is_not_null()
    types = counting.typed.select("ticket_id", "pqrs_type")
    return (
        counting.clocks.join(types, on="ticket_id")
        .filter(pl.col("term").is_not_null(), passed | pl.col("closed_at").is_not_null())
        .select(
            "ticket_id",
            pl.coalesce("passed_at", "closed_at").dt.date().alias("day"),
            "pqrs_type",
            (~passed).alias("within"),
            passed.alias("overdue"),
            pl.when(passed).then(pl.col("elapsed") - pl.col("term")).alias("over"),
        )
    )


def _first_response(counting: Counting) -> pl.DataFrame:
    return _waits(_answered(counting), "responses")


def _first_response_members(counting: Counting, day: date) -> pl.DataFrame:
    return _answered(counting).filter(day=day).select("ticket_id", *_KEY)


def first_responses(counting: Counting) -> pl.DataFrame:
    """Say when each ticket was first answered: an agent's message, or the change to RESPONDED."""
    messages, sequence = counting.view.messages, counting.sequence
    said = messages.filter(pl.col("role") == AGENT).select("ticket_id", "ts")
    responded = pl.col("status_to") == TicketState.RESPONDED.value
    changed = sequence.filter(responded).select("ticket_id", "ts")
    first = pl.col("ts").min().alias("first_response_at")
    return pl.concat([said, changed]).group_by("ticket_id").agg(first)


def _answered(counting: Counting) -> pl.DataFrame:
    return _since_creation(counting, first_responses(counting), "first_response_at")


def _close_time(counting: Counting) -> pl.DataFrame:
    closed = _closed(counting)
    clock = mean_days("elapsed", "mean_clock_days")
    return _waits(closed, "closed").join(closed.group_by(_KEY).agg(clock), on=_KEY)


def _close_time_members(counting: Counting, day: date) -> pl.DataFrame:
    return _closed(counting).filter(day=day).select("ticket_id", *_KEY)


def _closed(counting: Counting) -> pl.DataFrame:
    ends = counting.clocks.filter(pl.col("closed_at").is_not_null())
    return _since_creation(counting, ends.select("ticket_id", "closed_at", "elapsed"), "closed_at")


def _since_creation(counting: Counting, ends: pl.DataFrame, end: str) -> pl.DataFrame:
    """Give each of the tickets its type, the day of its end, and the business time until it."""
    known = counting.typed.select("ticket_id", "pqrs_type", "created_at").join(ends, on="ticket_id")
    waited = business_days(known, "created_at", end, counting.days)
    return known.with_columns(pl.col(end).dt.date().alias("day"), waited.alias("waited"))


def _waits(tickets: pl.DataFrame, measure: str) -> pl.DataFrame:
    return tickets.group_by(_KEY).agg(
        count_rows(measure),
        mean_days("waited"),
        quantile_days("waited", 0.5, "median_days"),
        quantile_days("waited", 0.9, "p90_days"),
    )


def snapshot(counting: Counting) -> pl.DataFrame:
    """Give every ticket as it stands; one without a change is RECEIVED since its creation."""
    over = pl.max_horizontal(pl.col("elapsed") - pl.col("term"), pl.lit(0, pl.Int64))
    return (
        counting.typed.join(counting.clocks, on="ticket_id", how="left")
        .join(first_responses(counting), on="ticket_id", how="left")
        .with_columns(pl.col("state").fill_null(TicketState.RECEIVED.value))
        .with_columns(
            (~pl.col("state").is_in([TicketState.CLOSED.value, TicketState.ARCHIVED.value])).alias(
                "is_open"
            ),
            pl.coalesce("state_since", "created_at").alias("state_since"),
            pl.col("reopened").fill_null(0),
            counting.view.terms.of(pl.col("pqrs_type")).alias("sla_term_days"),
            pl.col("due_at").alias("sla_due_at"),
            days_of(pl.col("elapsed").fill_null(0)).alias("sla_elapsed_days"),
            pl.col("passed_at").is_not_null().alias("is_overdue"),
            days_of(pl.when(pl.col("passed_at").is_not_null()).then(over).otherwise(0)).alias(
                "overdue_days"
            ),
        )
    )


SLA_KPIS = {
    KPI_SLA_DAILY: Kpi("settled", _sla, _sla_members, (*_TYPED, STATUS_EVENTS)),
    KPI_FIRST_RESPONSE_DAILY: Kpi(
        "responses", _first_response, _first_response_members, (*_TYPED, STATUS_EVENTS, MESSAGES)
    ),
    KPI_CLOSE_TIME_DAILY: Kpi("closed", _close_time, _close_time_members, (*_TYPED, STATUS_EVENTS)),
}
