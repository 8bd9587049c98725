"""Which tickets a run has to enrich: those that have a citizen's first text and never were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, MESSAGES, TICKETS
from lakehouse.data.tables import TableRef, TableStore
from lakehouse.run import RunContext, RunId
from pipelines.plan import RunPlan
from pipelines.steps import own_rows

_TICKET_COLUMNS = ["ticket_id", "source", "day", "subject"]
_MESSAGE_COLUMNS = ["ticket_id", "event_id", "ts", "role", "text"]


def pending_tickets(run: RunContext, plan: RunPlan, store: TableStore) -> pa.Table:
    """Return ticket_id, source, day, subject, event_id, text and text_sha256, by the digests.

    `event_id` is of the message that holds the text. Equal texts stand beside each other. A ticket
    may come in an earlier or a later run than its text: it is due in the run in which both are
    there.
    """
    reader = _SilverReader(run, plan, store)
    fresh = reader.of_this_run(TICKETS, _TICKET_COLUMNS)
    messages = reader.of_this_run(MESSAGES, _MESSAGE_COLUMNS).filter(role="citizen")
    earlier_tickets = reader.earlier(TICKETS.table, _TICKET_COLUMNS, messages["ticket_id"])
    earlier_messages = reader.earlier(MESSAGES.table, _MESSAGE_COLUMNS, fresh["ticket_id"])
    tickets = pl.concat([fresh, earlier_tickets]).unique("ticket_id", keep="first")
    texts = (
        pl.concat([messages, earlier_messages.filter(role="citizen")])
        .sort("ts", "event_id")
        .unique("ticket_id", keep="first", maintain_order=True)
        .select("ticket_id", "event_id", "text")
    )
    known = earlier_tickets["ticket_id"]
    done = reader.earlier(CLASSIFICATIONS.table, ["ticket_id"], known)
    due = tickets.join(texts, on="ticket_id").join(done, on="ticket_id", how="anti")
    return with_digest(due)


class _SilverReader:
    """Silver as this run may see it: what stood when it was planned, and what it wrote itself."""

    def __init__(self, run: RunContext, plan: RunPlan, store: TableStore) -> None:
        self._run, self._plan, self._store = run, plan, store
        self._carried = [RunId(name) for name in plan.carried]

    def of_this_run(self, contract: Contract, columns: Sequence[str]) -> pl.DataFrame:
        """Read the rows of this run and of those it carries along."""
        own = own_rows(self._store, contract, self._run, columns=columns)
        carried = [
            self._store.scan(contract.table, self._run.tenant, columns=columns, run_id=run_id)
            for run_id in self._carried
        ]
        return pl.concat([_frame(rows, columns) for rows in (own, *carried)])

    def earlier(self, table: TableRef, columns: Sequence[str], tickets: pl.Series) -> pl.DataFrame:
        """Read the rows that completed runs wrote for some tickets.

        Looks at the identifiers alone first: most runs find none, and then no text is read.
        """
        version = self._plan.version(table)
        if version is None or tickets.is_empty():
            return _frame(None, columns)
        wanted = tickets.unique().implode()
        slim = self._store.scan(
            table, self._run.tenant, at=version, columns=["ticket_id", "run_id"]
        )
        if self._matching(slim, ["ticket_id", "run_id"], wanted).is_empty():
            return _frame(None, columns)
        rows = self._store.scan(table, self._run.tenant, at=version, columns=[*columns, "run_id"])
        return self._matching(rows, [*columns, "run_id"], wanted).select(columns)

    def _matching(
        self, rows: pa.Table | None, columns: Sequence[str], wanted: pl.Series
    ) -> pl.DataFrame:
        return _frame(rows, columns).filter(
            pl.col("ticket_id").is_in(wanted),
            ~pl.col("run_id").is_in([self._run.run_id, *self._carried]),
        )


_TYPES: Mapping[str, pl.DataType] = {"day": pl.Date(), "ts": pl.Datetime("us", "UTC")}


def _frame(rows: pa.Table | None, columns: Sequence[str]) -> pl.DataFrame:
    if rows is None:
        return pl.DataFrame(schema={name: _TYPES.get(name, pl.String()) for name in columns})
    frame = pl.from_arrow(rows.select(list(columns)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def with_digest(due: pl.DataFrame) -> pa.Table:
    """Add the digests of the texts and put the rows in the order and shape of `pending_tickets`."""
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in due["text"]]
    ordered = due.with_columns(pl.Series("text_sha256", digests, pl.String)).sort(
        "text_sha256", "ticket_id"
    )
    schema = pa.schema(
        [
            ("ticket_id", pa.string()),
            ("source", pa.string()),
            ("day", pa.date32()),
            ("subject", pa.string()),
            ("event_id", pa.string()),
            ("text", pa.string()),
            ("text_sha256", pa.string()),
        ]
    )
    return ordered.select(schema.names).to_arrow().cast(schema)
