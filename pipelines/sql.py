"""SQL over one tenant's tables: the lake at a point in time, and Gold as it is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from lakehouse.control.runs import RunLog
from lakehouse.control.served import ServedTables
from lakehouse.data.as_of import AsOf
from lakehouse.data.history import LazyRows, VersionedTableStore
from lakehouse.data.query import QueryEngine
from lakehouse.data.tables import TableRef
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines.catalogue import CONTRACTS, sql_name, tables_at, unknown_table, versions_at
from pipelines.classifications_current import READS, classifications_current

SERVED = "served"
"""The schema under which SQL sees Postgres's Gold: what a dashboard shows now."""


@dataclass(frozen=True, slots=True)
class SqlPorts:
    """What SQL works with."""

    engine: QueryEngine
    store: VersionedTableStore
    served: ServedTables
    log: RunLog


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows as they come, and the version of every lake table they are read from."""

    rows: pa.RecordBatchReader
    versions: Mapping[TableRef, int]


@contextmanager
def asking(
    text: str, tenant: TenantContext, ports: SqlPorts, *, as_of: AsOf | None = None
) -> Iterator[Answer]:
    """Run one SELECT over the tables it names; the answer is open while the block runs.

    Raises `InputError` for what is no SELECT, for unknown tables and columns, and for a point in
    time that means nothing for one of the tables.
    """
    statement = ports.engine.read(text)
    served = {n: n[len(SERVED) + 1 :] for n in statement.tables if n.startswith(_SERVED_PREFIXES)}
    lake = {name: _LAKE[name] for name in statement.tables if name in _LAKE}
    current = [name for name in statement.tables if name in CURRENT]
    stored = [name for name in statement.tables if name not in CURRENT]
    _require_known(stored, lake, served, tenant, ports)
    if as_of is not None and served:
        msg = (
            f"{min(served)} has no history, it is what Postgres serves now: "
            "leave --as-of out, or read the lake's gold"
        )
        raise InputError(msg)
    versions = _versions(list(dict.fromkeys(lake.values())), tenant, ports, as_of)
    if current:
        versions |= _if_there(READS, tenant, ports, as_of)
    sources = {
        **{
            name: classifications_current(tenant, ports.store, versions=versions)
            for name in current
        },
        **{name: ports.served.read(table, tenant) for name, table in served.items()},
        **{name: _opened(ref, tenant, ports, versions) for name, ref in lake.items()},
    }
    with ports.engine.answering(statement, sources) as rows:
        yield Answer(rows, versions)


_SERVED_PREFIXES = (f"{SERVED}.", f"{SERVED}_")
_LAKE = {name: table for table in CONTRACTS for name in (sql_name(table), str(table))}
"""Both names of every table: `silver.tickets` and `silver_tickets`."""

CURRENT = ("silver.classifications_current", "silver_classifications_current")
"""Both names of what is counted when it is asked for: what each ticket counts as now."""


def _require_known(
    named: Sequence[str],
    lake: Mapping[str, TableRef],
    served: Mapping[str, str],
    tenant: TenantContext,
    ports: SqlPorts,
) -> None:
    if not served and len(lake) == len(named):
        return
    there = ports.served.names(tenant)
    for name in named:
        if name not in lake and served.get(name) not in there:
            served_names = (f"{SERVED}.{table}" for table in there)
            known = [*map(sql_name, CONTRACTS), CURRENT[0], *served_names]
            raise unknown_table(name, known)


def _versions(
    tables: Sequence[TableRef], tenant: TenantContext, ports: SqlPorts, as_of: AsOf | None
) -> dict[TableRef, int]:
    """Fix the version of every table before the first row: the answer is of one moment."""
    if as_of is not None:
        return versions_at(as_of, tables, tenant, store=ports.store, log=ports.log)
    newest = {table: ports.store.commits(table, tenant, limit=1) for table in tables}
    return {table: commits[-1].version for table, commits in newest.items() if commits}


def _if_there(
    tables: Sequence[TableRef], tenant: TenantContext, ports: SqlPorts, as_of: AsOf | None
) -> dict[TableRef, int]:
    """Fix the versions of the tables that were written by then."""
    if as_of is None:
        return _versions(tables, tenant, ports, None)
    there = tables_at(as_of, tenant, store=ports.store, log=ports.log)
    return {table: there[table] for table in tables if table in there}


def _opened(
    table: TableRef, tenant: TenantContext, ports: SqlPorts, versions: Mapping[TableRef, int]
) -> LazyRows | pa.Table:
    """Open a table; one that was never written has its contract's columns and no rows."""
    if table not in versions:
        return CONTRACTS[table].empty()
    rows = ports.store.dataset(table, tenant, at=versions[table])
    return CONTRACTS[table].empty() if rows is None else rows


def write_csv(rows: pa.RecordBatchReader, path: Path) -> int:
    """Write rows as CSV as they come, and count them. Raises `InputError` for nested columns."""
    nested = [field.name for field in rows.schema if pa.types.is_nested(field.type)]
    if nested:
        msg = f"column '{nested[0]}' holds lists or records, which CSV cannot: use --parquet"
        raise InputError(msg)
    from pyarrow.csv import CSVWriter

    return _written(rows, path, lambda draft: CSVWriter(draft, rows.schema))


def write_parquet(rows: pa.RecordBatchReader, path: Path) -> int:
    """Write rows as Parquet as they come, and count them."""
    from pyarrow.parquet import ParquetWriter

    return _written(rows, path, lambda draft: ParquetWriter(draft, rows.schema, compression="zstd"))


def limited(rows: pa.RecordBatchReader, limit: int) -> pa.RecordBatchReader:
    """Stop after so many rows."""

    def batches() -> Iterator[pa.RecordBatch]:
        left = limit
        for batch in rows:
            yield batch.slice(0, left)
            left -= min(left, len(batch))
            if left == 0:
                return

    return pa.RecordBatchReader.from_batches(rows.schema, batches())


def _written(rows: pa.RecordBatchReader, path: Path, open_: Callable[[str], Any]) -> int:
    """Write beside the place and move there: a file is whole, or the one that was there before."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    count = 0
    try:
        with open_(str(draft)) as sink:
            for batch in rows:
                sink.write_batch(batch)
                count += len(batch)
        draft.replace(path)
    except OSError as error:
        msg = f"cannot write '{path}': {error.strerror or error}"
        raise InputError(msg) from error
    finally:
        draft.unlink(missing_ok=True)
    return count
