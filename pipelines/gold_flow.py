"""Gold: which states tickets went from and to, and how long they were in the one they left."""

from __future__ import annotations

from datetime import date

import polars as pl

from contracts.tables import STATUS_EVENTS, STATUS_FLOW, TICKETS
from pipelines.gold_view import Counting, Kpi, business_days, count_rows, mean_days

_KEY = ["day", "status_from", "status_to"]


def _flow(counting: Counting) -> pl.DataFrame:
    return _changes(counting).group_by(_KEY).agg(count_rows("transitions"), mean_days("spent"))


def _members(counting: Counting, day: date) -> pl.DataFrame:
    return counting.sequence.filter(day=day).select("ticket_id", *_KEY)


def _changes(counting: Counting) -> pl.DataFrame:
    """Give each change that counts, with the business time since the one before it.

    Before the first was the ticket's creation, where that is known.
    """
    created = counting.view.tickets.select("ticket_id", "created_at")
    goes_on = pl.col("ticket_id") == pl.col("ticket_id").shift(1)
    since = pl.when(goes_on).then(pl.col("ts").shift(1))
    changes = counting.sequence.join(
        created, on="ticket_id", how="left", maintain_order="left"
    ).with_columns(pl.coalesce(since, "created_at").alias("since"))
    return changes.with_columns(business_days(changes, "since", "ts", counting.days).alias("spent"))


FLOW_KPIS = {STATUS_FLOW: Kpi("transitions", _flow, _members, (STATUS_EVENTS, TICKETS))}
