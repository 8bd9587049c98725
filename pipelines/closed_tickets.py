"""Which tickets are closed now, and since when: a doubt about them helps nobody any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from contracts.pqrs import TicketState
from contracts.states import TERMINAL_STATES
from contracts.tables import STATUS_EVENTS
from lakehouse.data.tables import TableStore
from lakehouse.tenancy import TenantContext
from pipelines.sequences import CHANGE, in_sequence

_OVER = [state.value for state in TERMINAL_STATES]


def closed_tickets(
    tickets: Sequence[str], tenant: TenantContext, store: TableStore
) -> Mapping[str, datetime]:
    """Return when each of the tickets was last closed, of those that are closed now."""
    rows = store.scan(STATUS_EVENTS.table, tenant, columns=list(CHANGE))
    if rows is None or not len(tickets):
        return {}
    wanted = pl.Series(tickets, dtype=pl.String).unique().implode()
    changes = pl.DataFrame(pl.from_arrow(rows)).filter(pl.col("ticket_id").is_in(wanted))
    closing = pl.col("status_to") == TicketState.CLOSED.value
    ended = (
        in_sequence(changes.select(CHANGE))
        .group_by("ticket_id", maintain_order=True)
        .agg(
            pl.col("status_to").last().alias("state"),
            pl.col("ts").filter(closing).last().alias("closed_at"),
        )
        .filter(pl.col("state").is_in(_OVER))
    )
    return dict(ended.select("ticket_id", "closed_at").iter_rows())
