"""What the champions have answered: of each ticket the newest answer, its words and its vector."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, EMBEDDINGS, MESSAGES, TICKETS
from lakehouse.data.tables import TableStore
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext

CHAMPION = "champion"
CITIZEN = "citizen"

_ANSWER = [
    "ticket_id",
    "run_id",
    "source",
    "day",
    "predicted_label",
    "score",
    "decision",
    "drawn",
    "explanation",
    "model_name",
    "model_version",
    "bundle_id",
    "inference_timestamp",
]


def standing_answers(
    task: str, tenant: TenantContext, store: TableStore, *, run_id: RunId | None = None
) -> pa.Table:
    """Return the champion's newest answer to `task` of each ticket, in the order of tickets.

    Only what `run_id` answered, where it is given.
    """
    columns = [*_ANSWER, "task", "tier"]
    found = store.scan(CLASSIFICATIONS.table, tenant, columns=columns, run_id=run_id)
    if found is None:
        return CLASSIFICATIONS.empty().select(_ANSWER)
    ours = pc.and_(pc.equal(found["task"], task), pc.equal(found["tier"], CHAMPION))
    newest = (
        _frame(with_columns(found, CLASSIFICATIONS, columns).filter(ours))
        .sort("inference_timestamp", "run_id")
        .unique("ticket_id", keep="last")
        .sort("ticket_id")
    )
    return _as(newest, CLASSIFICATIONS, _ANSWER)


def with_columns(rows: pa.Table, contract: Contract, columns: Sequence[str]) -> pa.Table:
    """Return rows with these columns; one that the table has had since later is null."""
    schema = contract.schema
    missing = [name for name in columns if name not in rows.column_names]
    for name in missing:
        rows = rows.append_column(schema.field(name), pa.nulls(len(rows), schema.field(name).type))
    return rows.select(list(columns))


def first_words(tickets: pa.ChunkedArray, tenant: TenantContext, store: TableStore) -> pa.Table:
    """Return ticket_id, text, subject, channel and region of the tickets that have a text.

    `text` is what the citizen wrote first. In the order of tickets.
    """
    wanted = pl.Series(tickets.to_pylist(), dtype=pl.String).implode()
    words = (
        _read(MESSAGES, ["ticket_id", "event_id", "ts", "role", "text"], tenant, store)
        .filter(pl.col("ticket_id").is_in(wanted), role=CITIZEN)
        .sort("ts", "event_id")
        .unique("ticket_id", keep="first")
        .select("ticket_id", "text")
    )
    about = (
        _read(TICKETS, ["ticket_id", "subject", "source_channel", "geo_region"], tenant, store)
        .unique("ticket_id", keep="first")
        .rename({"source_channel": "channel", "geo_region": "region"})
    )
    return words.join(about, on="ticket_id", how="left").sort("ticket_id").to_arrow()


def vectors_of(answers: pa.Table, tenant: TenantContext, store: TableStore) -> pa.Table:
    """Return ticket_id and embedding of the answered tickets, from the runs that answered them."""
    runs = [RunId(name) for name in pc.unique(answers["run_id"]).to_pylist()]
    columns = ["ticket_id", "embedding"]
    parts = [store.scan(EMBEDDINGS.table, tenant, columns=columns, run_id=run) for run in runs]
    found = pa.concat_tables([EMBEDDINGS.empty().select(columns), *filter(None, parts)])
    ours = pc.is_in(found["ticket_id"], value_set=answers["ticket_id"].combine_chunks())
    return found.filter(ours)


def asked_text(words: pa.Table, text_field: str) -> pa.ChunkedArray:
    """Return the text a model read, as the task's `text_field` says."""
    text = words["text"].cast(pa.string())
    if text_field == "text":
        return text
    subject = pc.fill_null(words["subject"].cast(pa.string()), "")
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(subject, text, "\n"))


def _read(
    contract: Contract, columns: Sequence[str], tenant: TenantContext, store: TableStore
) -> pl.DataFrame:
    rows = store.scan(contract.table, tenant, columns=columns)
    return _frame(contract.empty().select(columns) if rows is None else rows.select(columns))


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _as(frame: pl.DataFrame, contract: Contract, columns: Sequence[str]) -> pa.Table:
    schema = pa.schema([contract.schema.field(name) for name in columns])
    return frame.select(columns).to_arrow().cast(schema)
