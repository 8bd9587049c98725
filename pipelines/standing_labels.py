"""The labels that stand: what people said of tickets, counted from the facts of Silver `labels`."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pyarrow as pa

from contracts.tables import LABELS
from labeling.ledger import known_at, settled, standing, standing_answers
from lakehouse.data.tables import TableStore
from lakehouse.tenancy import TenantContext

COLUMNS = [
    "ticket_id",
    "task",
    "label",
    "reason",
    "suggested_label",
    "suggested_score",
    "model_name",
    "model_version",
    "bundle_id",
    "responded_at",
    "reviewers",
    "rule",
    "label_id",
    "day",
]


def standing_labels(
    task: str,
    tenant: TenantContext,
    store: TableStore,
    *,
    as_of: datetime | None = None,
    at: int | None = None,
) -> pa.Table:
    """Return the label that stands of each ticket, in the order of tickets; see `COLUMNS`.

    `as_of` asks for what was known at that moment, `at` for a version of the table. The label is
    what the `rule` makes of the answers of so many `reviewers`; a ticket they dispute is not there.
    """
    facts = label_facts(tenant, store, at=at).filter(task=task)
    known = facts if as_of is None else known_at(facts, as_of)
    return _as_arrow(standing(known).select(COLUMNS))


def labelled_tickets(task: str, tenant: TenantContext, store: TableStore) -> frozenset[str]:
    """Return the tickets about which somebody's word stands, whether or not it is disputed."""
    facts = label_facts(tenant, store).filter(task=task)
    spoken = pl.concat([standing_answers(facts)["ticket_id"], settled(facts)["ticket_id"]])
    return frozenset(spoken)


def label_facts(tenant: TenantContext, store: TableStore, *, at: int | None = None) -> pl.DataFrame:
    """Return every fact, each once, at a version of the table, else at its head.

    A column that the table did not have yet is null.
    """
    rows = store.scan(LABELS.table, tenant, at=at)
    found = pl.DataFrame(pl.from_arrow(LABELS.empty() if rows is None else rows))
    shape = pl.DataFrame(pl.from_arrow(LABELS.empty()))
    whole = pl.concat([shape, found], how="diagonal").select(shape.columns)
    return whole.unique("label_id", keep="first", maintain_order=True)


def _as_arrow(rows: pl.DataFrame) -> pa.Table:
    fields = [
        LABELS.schema.field(name) if name in LABELS.schema.names else _COUNTED[name]
        for name in rows.columns
    ]
    return rows.to_arrow().cast(pa.schema(fields))


_COUNTED = {
    "reviewers": pa.field("reviewers", pa.int64(), nullable=False),
    "rule": pa.field("rule", pa.string(), nullable=False),
}
