"""Tickets and citizens' words at exact versions of Silver, and what is asked of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from contracts.contract import Contract
from contracts.tables import MESSAGES, SILVER, TICKETS
from lakehouse.control.runs import RunLog
from lakehouse.data.as_of import AsOf, NotThereYetError
from lakehouse.data.history import TableHistory
from lakehouse.data.query import QueryEngine
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines.answered import CITIZEN, asked_text
from pipelines.catalogue import sql_name, tables_at
from registry.bundles import TaskPins

Versions = Mapping[str, int | None]
"""By a table's name: its version, None where it was not there yet."""

NOW = "now"
_TICKET = ["ticket_id", "source", "day", "subject", "source_channel", "geo_region"]
_MESSAGE = ["ticket_id", "event_id", "ts", "role", "text"]


def silver_versions(
    as_of: str, tenant: TenantContext, *, store: TableHistory, log: RunLog
) -> dict[str, int | None]:
    """Say which version of each table of Silver a point in time means.

    A run id, a day or a moment, `now`, or versions by name, such as
    `silver_messages@3 silver_tickets@2`; of tables not named then, the newest. Raises `InputError`
    where it means nothing, or where there were no tickets yet.
    """
    found: dict[str, int | None] = {str(contract.table): None for contract in SILVER}
    if "@" in as_of or as_of == NOW:
        for contract in SILVER:
            state = store.state(contract.table, tenant)
            found[str(contract.table)] = None if state is None else state.version
        found |= _named(as_of, found) if as_of != NOW else {}
    else:
        at = tables_at(AsOf.parse(as_of), tenant, store=store, log=log)
        found |= {str(table): version for table, version in at.items() if str(table) in found}
    for contract in (TICKETS, MESSAGES):
        if found[str(contract.table)] is None:
            msg = (
                f"{sql_name(contract.table)} was not there yet at '{as_of}'; its versions are in "
                f"`plata tables history {sql_name(contract.table)} --tenant {tenant.tenant_id}`"
            )
            raise NotThereYetError(msg)
    return found


def _named(text: str, known: Versions) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for word in text.replace(",", " ").split():
        name, _, version = word.partition("@")
        table = name.replace(".", "_")
        if table not in known or not (version.isascii() and version.isdigit()):
            msg = (
                f"'{word}' names no version of a table of Silver: "
                "expected words such as silver_tickets@2"
            )
            raise InputError(msg)
        found[table] = int(version)
    return found


def read_versions(versions: Versions) -> str:
    """Name the versions that decide which texts there are; `silver_versions` reads it back.

    >>> read_versions({"silver_tickets": 2, "silver_messages": 3, "silver_labels": 9})
    'silver_messages@3 silver_tickets@2'
    """
    names = sorted(str(contract.table) for contract in (TICKETS, MESSAGES))
    return " ".join(f"{name}@{versions[name]}" for name in names)


def past_tickets(
    versions: Versions,
    tenant: TenantContext,
    store: TableStore,
    *,
    where: str | None = None,
    engine: QueryEngine | None = None,
) -> pl.DataFrame:
    """Return the tickets that had a citizen's text, with what was written first, by day and text.

    ticket_id, source, day, subject, channel, region, text and text_sha256. `where` is a condition
    in SQL over the columns of `silver.tickets`, which `engine` answers.
    """
    tickets = _read(TICKETS, versions, tenant, store, None if where else _TICKET)
    about = (
        _frame(tickets.select(_TICKET))
        .unique("ticket_id", keep="first")
        .rename({"source_channel": "channel", "geo_region": "region"})
    )
    if where:
        assert engine is not None
        about = about.filter(pl.col("ticket_id").is_in(_chosen(tickets, where, engine).implode()))
    first = (
        _frame(_read(MESSAGES, versions, tenant, store, _MESSAGE))
        .filter(role=CITIZEN)
        .join(about.select("ticket_id"), on="ticket_id", how="semi")
        .sort("ts", "event_id")
        .unique("ticket_id", keep="first", maintain_order=True)
        .select("ticket_id", "text")
    )
    digests = [_digest(text) for text in first["text"]]
    return (
        about.join(first.with_columns(pl.Series("text_sha256", digests, pl.String)), on="ticket_id")
        .sort("day", "text_sha256", "ticket_id")
        .select(*about.columns, "text", "text_sha256")
    )


def _chosen(tickets: pa.Table, where: str, engine: QueryEngine) -> pl.Series:
    name = sql_name(TICKETS.table)
    statement = engine.read(f"SELECT ticket_id FROM {name} WHERE (\n{where}\n)")
    if statement.tables != (name,):
        msg = f"--where is a condition on the columns of {name}, it reads {statement.tables}"
        raise InputError(msg)
    with engine.answering(statement, {name: tickets}) as rows:
        return _frame(rows.read_all())["ticket_id"]


def with_questions(tickets: pl.DataFrame, tasks: Sequence[TaskPins]) -> pl.DataFrame:
    """Add to each ticket, task by task, the digest of what the task's model reads of it.

    The column of a task is named by `question_of`. Equal digests are equal questions: the same
    words, beside the vector of the same text.
    """
    by_field = {}
    for field in {task.text_field for task in tasks}:
        asked = asked_text(tickets.to_arrow(), field).to_pylist()
        marks = zip(tickets["text_sha256"], asked, strict=True)
        digests = [_digest(f"{text}\n{words}") for text, words in marks]
        by_field[field] = pl.Series(digests, dtype=pl.String)
    return tickets.with_columns(
        by_field[task.text_field].alias(question_of(task.task)) for task in tasks
    )


def question_of(task: str) -> str:
    """Name the column of a task's questions."""
    return f"question:{task}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(
    contract: Contract,
    versions: Versions,
    tenant: TenantContext,
    store: TableStore,
    columns: Sequence[str] | None,
) -> pa.Table:
    at = versions[str(contract.table)]
    rows = store.scan(contract.table, tenant, at=at, columns=columns)
    return contract.empty() if rows is None else rows


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame
