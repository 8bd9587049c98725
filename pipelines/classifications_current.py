"""What each ticket counts as now: people's label where one stands, else the champion's answer.

Nothing is copied: it is counted from Silver as it stands, at the head or at given versions. So a
label that is taken back gives the machine's answer again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from contracts.odcs import MOMENT
from contracts.tables import CLASSIFICATIONS, LABELS
from labeling.ledger import TICKET, standing
from lakehouse.data.tables import TableRef, TableStore
from lakehouse.tenancy import TenantContext
from pipelines.gold_view import newest_champions
from pipelines.standing_labels import label_facts

READS = (CLASSIFICATIONS.table, LABELS.table)
HUMAN, MACHINE = "human", "machine"
"""Who says so. What a person said beats the machine, however sure it is."""

SCHEMA = pa.schema(
    [
        pa.field("ticket_id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("decided_at", MOMENT),
        pa.field("label_id", pa.string()),
        pa.field("reviewers", pa.int64()),
        pa.field("rule", pa.string()),
        pa.field("machine_label", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("decision", pa.string()),
        pa.field("model_name", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("bundle_id", pa.string()),
        pa.field("run_id", pa.string()),
    ]
)
"""`label_id`, `reviewers` and `rule` say where a person's label comes from; what follows them is
the champion's newest answer, whoever counts. Null where there is no such answer."""

_ANSWER = [
    "ticket_id",
    "task",
    "tier",
    "predicted_label",
    "score",
    "decision",
    "model_name",
    "model_version",
    "bundle_id",
    "run_id",
    "inference_timestamp",
]


def classifications_current(
    tenant: TenantContext,
    store: TableStore,
    *,
    versions: Mapping[TableRef, int] | None = None,
    tickets: Sequence[str] | None = None,
) -> pa.Table:
    """Return a row a ticket and task, in their order; of some tickets where these are given.

    `versions` fixes both tables of `READS`; one that is not in it was not there yet.
    """
    people = standing(_some(_facts(tenant, store, versions), tickets)).select(
        *TICKET, "label_id", "reviewers", "rule", "responded_at", human="label"
    )
    machine = newest_champions(_some(_answers(tenant, store, versions), tickets)).rename(
        {"predicted_label": "machine_label"}
    )
    found = machine.join(people, on=TICKET, how="full", coalesce=True).with_columns(
        label=pl.coalesce("human", "machine_label"),
        source=pl.when(pl.col("human").is_null()).then(pl.lit(MACHINE)).otherwise(pl.lit(HUMAN)),
        decided_at=pl.coalesce("responded_at", "inference_timestamp"),
    )
    return found.sort(TICKET).select(SCHEMA.names).to_arrow().cast(SCHEMA)


def _facts(
    tenant: TenantContext, store: TableStore, versions: Mapping[TableRef, int] | None
) -> pl.DataFrame:
    if versions is not None and LABELS.table not in versions:
        return pl.DataFrame(pl.from_arrow(LABELS.empty()))
    at = None if versions is None else versions[LABELS.table]
    return label_facts(tenant, store, at=at)


def _answers(
    tenant: TenantContext, store: TableStore, versions: Mapping[TableRef, int] | None
) -> pl.DataFrame:
    rows = None
    if versions is None or CLASSIFICATIONS.table in versions:
        at = None if versions is None else versions[CLASSIFICATIONS.table]
        rows = store.scan(CLASSIFICATIONS.table, tenant, at=at, columns=_ANSWER)
    found = CLASSIFICATIONS.empty() if rows is None else rows
    return pl.DataFrame(pl.from_arrow(found.select(_ANSWER)))


def _some(rows: pl.DataFrame, tickets: Sequence[str] | None) -> pl.DataFrame:
    if tickets is None:
        return rows
    return rows.filter(pl.col("ticket_id").is_in(pl.Series(tickets, dtype=pl.String).implode()))
