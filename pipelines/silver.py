"""Silver's structure: tickets, messages, changes of state and attachments out of typed events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from pipelines.status_changes import refine_changes
from pipelines.steps import OnStep, stage

_PARTS: Mapping[EventType, Contract] = {
    EventType.TICKET_CREATED: TICKETS,
    EventType.MESSAGE_ADDED: MESSAGES,
    EventType.ATTACHMENT_ADDED: ATTACHMENTS,
}
_TYPE_BY_CODE = {kind.code: PqrsType.from_code(kind.code).value for kind in PqrsType}


@dataclass(frozen=True, slots=True)
class SilverInput:
    """Whose Bronze rows to take, and the Silver versions to compare with."""

    bronze_runs: Sequence[RunId]
    versions: Mapping[str, int | None]

    def version(self, table: TableRef) -> int | None:
        """Return the version of a table when the run was planned."""
        return self.versions[str(table)]


def refine_events(
    run: RunContext, wanted: SilverInput, *, store: TableStore, on_step: OnStep
) -> list[QualityResult]:
    """Stage this run's events for their tables; changes of state that break a rule to quarantine.

    A ticket that is there is not written twice. Returns what the state machine found.
    """
    events = _events(run, wanted, store)
    for kind, contract in _PARTS.items():
        rows = silver_rows(_of_kind(events, kind), contract, run)
        key = "ticket_id" if contract is TICKETS else "event_id"
        fresh = _not_yet_there(rows, key, contract, run, wanted, store)
        stage(store, contract, fresh, run, part="all", on_step=on_step)
    changes = silver_rows(_of_kind(events, EventType.STATUS_CHANGED), STATUS_EVENTS, run)
    return refine_changes(changes, run, wanted.versions, store=store, on_step=on_step)


def _of_kind(events: pa.Table, kind: EventType) -> pa.Table:
    return events.filter(pc.equal(events["event_type"], kind.value))


def silver_rows(events: pa.Table, contract: Contract, run: RunContext) -> pa.Table:
    """Shape Bronze rows of one kind; codes become words, the run becomes this one."""
    count = len(events)
    made = {
        "run_id": pa.repeat(pa.scalar(run.run_id), count),
        "created_at": events["ts"],
        "pqrs_type": _types(events["pqrs_code"]),
    }
    columns = [made[name] if name in made else events[name] for name in contract.schema.names]
    return pa.table(columns, names=contract.schema.names)


def _types(codes: pa.ChunkedArray) -> pa.Array:
    words = pl.from_arrow(codes.combine_chunks())
    assert isinstance(words, pl.Series)
    return words.replace_strict(_TYPE_BY_CODE, return_dtype=pl.String).to_arrow().cast(pa.string())


def _events(run: RunContext, wanted: SilverInput, store: TableStore) -> pa.Table:
    found = [
        store.scan(PQRS_EVENTS.table, run.tenant, run_id=run_id) for run_id in wanted.bronze_runs
    ]
    there = [rows.select(PQRS_EVENTS.schema.names) for rows in found if rows is not None]
    if not there:
        return PQRS_EVENTS.empty()
    return pa.concat_tables(there).sort_by([("ts", "ascending"), ("event_id", "ascending")])


def _not_yet_there(
    rows: pa.Table,
    key: str,
    contract: Contract,
    run: RunContext,
    wanted: SilverInput,
    store: TableStore,
) -> pa.Table:
    """Keep the first row of each key that Silver did not have when the run was planned.

    Bronze lets an event in once, so only a ticket, or a failed run's row, can be there already.
    """
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    first = pa.array(frame[key].is_first_distinct().to_list(), pa.bool_())
    version = wanted.version(contract.table)
    could_be_there = contract is TICKETS or len(wanted.bronze_runs) > 1
    if version is None or not could_be_there:
        return rows.filter(first)
    there = store.scan(contract.table, run.tenant, at=version, columns=[key])
    known = pa.array([], pa.string()) if there is None else there[key].combine_chunks()
    return rows.filter(pc.and_not(first, pc.is_in(rows[key], value_set=known)))
