"""The clock of the legal term: how long it ran for each ticket, and when the term was or is over.

It runs in the states that start or run it, stands still on hold, and stops when the ticket is
closed; what runs still is read at one moment, the same for all. A reopened ticket's clock goes on
from where it stopped. Business time only.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from contracts.pqrs import TicketState
from contracts.states import COUNTING_STATES
from pipelines.business_time import DAY, BusinessCalendar, calendar
from pipelines.sla_terms import SlaTerms

_COUNTING = [state.value for state in sorted(COUNTING_STATES)]
_MOMENT = pl.Datetime("us", "UTC")


def periods(sequence: pl.DataFrame, until: datetime, days: BusinessCalendar) -> pl.DataFrame:
    """Return each stay of a ticket in a state, with the microseconds of its clock.

    `sequence` are the changes that count, each ticket's together and in order (`in_sequence`).
    `used` is what the clock ran in the stay, `used_before` what it had run by its beginning.
    """
    goes_on = pl.col("ticket_id") == pl.col("ticket_id").shift(-1)
    ends = pl.when(goes_on).then(pl.col("ts").shift(-1)).otherwise(pl.lit(until, _MOMENT))
    stays = sequence.select(
        "ticket_id",
        pl.col("status_to").alias("state"),
        pl.col("ts").alias("start"),
        pl.max_horizontal(ends, "ts").alias("end"),
    )
    starts, stops = (stays[name].to_physical().to_numpy() for name in ("start", "end"))
    used = np.where(stays["state"].is_in(_COUNTING).to_numpy(), days.between(starts, stops), 0)
    before = pl.Series("before", used).cum_sum() - pl.Series(used)
    begins = stays["ticket_id"] != stays["ticket_id"].shift(1)
    at_first = pl.when(begins.fill_null(True)).then(before).forward_fill()
    return stays.with_columns(
        pl.Series("used", used), (pl.lit(before) - at_first).alias("used_before")
    )


def read_clocks(
    sequence: pl.DataFrame, types: pl.DataFrame, terms: SlaTerms, until: datetime
) -> pl.DataFrame:
    """Return one row for each ticket that was ever changed: its state and its clock.

    `types` has `ticket_id` and `pqrs_type`. `elapsed` and `term` are microseconds; `passed_at` is
    when the clock passed the term, null where it did not; `due_at` is that moment, or the one at
    which it would pass if it ran from now on without a pause. Both are null without a term.
    """
    days = calendar_for(sequence["ts"], terms, until)
    stays = periods(sequence, until, days).join(
        types.select("ticket_id", (terms.of(pl.col("pqrs_type")) * DAY).alias("term")),
        on="ticket_id",
        how="inner",
        maintain_order="left",
    )
    closed = pl.col("state") == TicketState.CLOSED.value
    reopened = pl.col("state") == TicketState.REOPENED.value
    tickets = stays.group_by("ticket_id", maintain_order=True).agg(
        pl.col("state").last(),
        pl.col("start").last().alias("state_since"),
        pl.col("start").first().alias("radicated_at"),
        pl.col("start").filter(closed).last().alias("last_closed_at"),
        reopened.sum().cast(pl.Int64).alias("reopened"),
        pl.col("used").sum().alias("elapsed"),
        pl.col("term").first(),
    )
    over = pl.col("state").is_in([TicketState.CLOSED.value, TicketState.ARCHIVED.value])
    known = tickets.with_columns(
        pl.when(over).then("last_closed_at").alias("closed_at"),
    ).drop("last_closed_at")
    return _with_due(known.join(_passed(stays, days), on="ticket_id", how="left"), until, days)


def calendar_for(moments: pl.Series, terms: SlaTerms, until: datetime) -> BusinessCalendar:
    """Return a calendar that has every moment and the end of every term that runs at `until`."""
    first = moments.min()
    begin = min(first, until) if isinstance(first, datetime) else until
    return calendar(begin.date(), until.date() + timedelta(days=2 * terms.longest + 60))


def _passed(stays: pl.DataFrame, days: BusinessCalendar) -> pl.DataFrame:
    """Say when a clock passed its term; at most one stay of a ticket has that moment."""
    before, term = pl.col("used_before"), pl.col("term")
    crossing = stays.filter(before <= term, before + pl.col("used") > term)
    starts = crossing["start"].to_physical().to_numpy()
    left = (crossing["term"] - crossing["used_before"]).to_numpy()
    passed = np.maximum(days.moment(days.at(starts) + left), starts)
    return crossing.select("ticket_id", pl.Series("passed_at", passed).cast(_MOMENT))


def _with_due(tickets: pl.DataFrame, until: datetime, days: BusinessCalendar) -> pl.DataFrame:
    reading = tickets.select(
        pl.col("closed_at").fill_null(pl.lit(until, _MOMENT)).to_physical().alias("at"),
        (pl.col("term") - pl.col("elapsed")).fill_null(0).clip(lower_bound=0).alias("left"),
    )
    due = days.moment(days.at(reading["at"].to_numpy()) + reading["left"].to_numpy())
    would = pl.when(pl.col("term").is_not_null()).then(pl.Series("due", due).cast(_MOMENT))
    return tickets.with_columns(pl.coalesce("passed_at", would).alias("due_at"))
