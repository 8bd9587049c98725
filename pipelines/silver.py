"""Silver's structure: tickets, messages, changes of state and attachments out of typed events.

Bronze is read in pieces. Messages and attachments go on at once, a part a piece, and are never
held all together. Tickets and changes of state are kept until the last piece, in their own columns:
which row of a ticket is its first, and which changes count, is known only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.pqrs import EventType, PqrsType
from contracts.tables import ATTACHMENTS, MESSAGES, PQRS_EVENTS, STATUS_EVENTS, TICKETS
from lakehouse.control.runs import QualityResult
from lakehouse.data.tables import TableRef, TableStore
from lakehouse.run import RunContext, RunId
from pipelines.audits import Audits
from pipelines.status_changes import refine_changes
from pipelines.steps import OnStep, stage

PIECE_ROWS = 1 << 17
"""Rows of Bronze that are held at once, but for a file that has more."""

_AT_ONCE: Mapping[EventType, Contract] = {
    EventType.MESSAGE_ADDED: MESSAGES,
    EventType.ATTACHMENT_ADDED: ATTACHMENTS,
}
_KINDS: Mapping[EventType, Contract] = {
    EventType.TICKET_CREATED: TICKETS,
    EventType.STATUS_CHANGED: STATUS_EVENTS,
    **_AT_ONCE,
}
_BRONZE_NAMES = {"created_at": "ts", "pqrs_type": "pqrs_code"}
_TYPE_BY_CODE = {kind.code: PqrsType.from_code(kind.code).value for kind in PqrsType}
_REPEATING = ("source", "status_from", "status_to", "actor_role", "reason")


@dataclass(frozen=True, slots=True)
class SilverInput:
    """Whose Bronze rows to take, and the Silver versions to compare with."""

    bronze_runs: Sequence[RunId]
    versions: Mapping[str, int | None]

    def version(self, table: TableRef) -> int | None:
        """Return the version of a table when the run was planned."""
        return self.versions[str(table)]


def refine_events(
    run: RunContext,
    wanted: SilverInput,
    *,
    store: TableStore,
    on_step: OnStep,
    audits: Audits | None = None,
) -> list[QualityResult]:
    """Stage this run's events for their tables; changes of state that break a rule to quarantine.

    A ticket that is there is not written twice. Returns what the state machine found.
    """
    for contract in _KINDS.values():  # parts of a killed attempt may have been cut otherwise
        store.discard(contract.table, run)
    known = {c: _known_keys(c, run, wanted, store) for c in (TICKETS, *_AT_ONCE.values())}
    tickets, changes = [TICKETS.empty()], [_narrow(STATUS_EVENTS.empty())]
    for number, events in enumerate(_pieces(run, wanted, store)):
        for kind, contract in _AT_ONCE.items():
            rows = silver_rows(_of_kind(events, kind), contract, run)
            fresh, part = _unknown(contract, rows, known[contract]), f"{number:05d}"
            stage(store, contract, fresh, run, part=part, on_step=on_step, audits=audits)
        made = silver_rows(_of_kind(events, EventType.TICKET_CREATED), TICKETS, run)
        tickets.append(_unknown(TICKETS, made, known[TICKETS]))
        changed = _of_kind(events, EventType.STATUS_CHANGED)
        changes.append(_narrow(silver_rows(changed, STATUS_EVENTS, run)))
    first = _first_of_each(pa.concat_tables(tickets))
    stage(store, TICKETS, first, run, part="all", on_step=on_step, audits=audits)
    del tickets, first
    return refine_changes(
        pa.concat_tables(changes).unify_dictionaries(),
        run,
        wanted.versions,
        store=store,
        on_step=on_step,
        audits=audits,
    )


def silver_rows(events: pa.Table, contract: Contract, run: RunContext) -> pa.Table:
    """Shape Bronze rows of one kind; codes become words, the run becomes this one."""
    made = {"run_id": pa.repeat(pa.scalar(run.run_id), len(events))}
    if contract is TICKETS:
        made |= {"created_at": events["ts"], "pqrs_type": _types(events["pqrs_code"])}
    columns = [made[name] if name in made else events[name] for name in contract.schema.names]
    return pa.table(columns, schema=contract.schema)


def _types(codes: pa.ChunkedArray) -> pa.Array:
    words = pl.from_arrow(codes.combine_chunks())
    assert isinstance(words, pl.Series)
    return words.replace_strict(_TYPE_BY_CODE, return_dtype=pl.String).to_arrow().cast(pa.string())


def _columns_of(contract: Contract) -> list[str]:
    """Name the columns of Bronze that a table of Silver is made of."""
    return [_BRONZE_NAMES.get(name, name) for name in contract.schema.names if name != "run_id"]


def _of_kind(events: pa.Table, kind: EventType) -> pa.Table:
    own = events.select(_columns_of(_KINDS[kind]))
    return own.filter(pc.equal(events["event_type"], kind.value))


def _pieces(run: RunContext, wanted: SilverInput, store: TableStore) -> Iterator[pa.Table]:
    needed = {"event_type", *(name for c in _KINDS.values() for name in _columns_of(c))}
    columns = [name for name in PQRS_EVENTS.schema.names if name in needed]
    for run_id in wanted.bronze_runs:
        yield from store.pieces(
            PQRS_EVENTS.table, run.tenant, run_id=run_id, columns=columns, rows=PIECE_ROWS
        )


def _narrow(rows: pa.Table) -> pa.Table:
    """Keep words that repeat as numbers: these rows wait until the last has been read."""
    for place, name in enumerate(rows.column_names):
        if name in _REPEATING:
            rows = rows.set_column(place, name, rows[name].combine_chunks().dictionary_encode())
    return rows.drop_columns(["run_id", "tenant_id"])


def _first_of_each(tickets: pa.Table) -> pa.Table:
    """Keep the first row of each ticket, in the order of time."""
    ordered = tickets.sort_by([("created_at", "ascending"), ("event_id", "ascending")])
    keys = pl.from_arrow(ordered["ticket_id"])
    assert isinstance(keys, pl.Series)
    first = keys.is_first_distinct()
    return ordered if first.all() else ordered.filter(first.to_arrow())


def _known_keys(
    contract: Contract, run: RunContext, wanted: SilverInput, store: TableStore
) -> pa.Array | None:
    """Return the keys Silver had when the run was planned; None where no row can be among them.

    Bronze lets an event in once, so only a ticket, or a failed run's row, can be there already.
    """
    version = wanted.version(contract.table)
    could_be_there = contract is TICKETS or len(wanted.bronze_runs) > 1
    if version is None or not could_be_there:
        return None
    key = _key_of(contract)
    there = store.scan(contract.table, run.tenant, at=version, columns=[key])
    return None if there is None else there[key].combine_chunks()


def _unknown(contract: Contract, rows: pa.Table, known: pa.Array | None) -> pa.Table:
    if known is None:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows[_key_of(contract)], value_set=known)))


def _key_of(contract: Contract) -> str:
    return "ticket_id" if contract is TICKETS else "event_id"
