"""Served Gold: the figures of one tenant in Postgres, replaced all at once."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
from psycopg import sql

from contracts.contract import Contract
from contracts.tables import GOLD
from lakehouse.control.postgres import Connection, Postgres
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from pipelines.gold import Figures
from pipelines.steps import OnStep

_COPIED_ROWS = 50_000


def serve_gold(figures: Figures, run: RunContext, *, postgres: Postgres, on_step: OnStep) -> None:
    """Replace the tenant's rows of every served table in one transaction."""
    on_step("before gold_served")
    with postgres.connect(run.tenant) as connection:
        for contract in GOLD:
            _replace(connection, contract, figures[contract], run)
    on_step("after gold_served")


def served_run(tenant: TenantContext, postgres: Postgres) -> RunId | None:
    """Return the run whose figures are served now, None where none are."""
    with postgres.connect(tenant) as connection:
        for contract in GOLD:
            table = sql.Identifier("gold", contract.table.entity)
            query = sql.SQL("SELECT run_id FROM {} WHERE tenant_id = %s LIMIT 1").format(table)
            row = connection.execute(query, [tenant.tenant_id]).fetchone()
            if row is not None:
                return RunId(row[0])
    return None


def _replace(connection: Connection, contract: Contract, rows: pa.Table, run: RunContext) -> None:
    """Stage, then insert: Postgres does not copy into a table under row-level security."""
    table = sql.Identifier("gold", contract.table.entity)
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE tenant_id = %s").format(table), [run.tenant.tenant_id]
    )
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in contract.schema.names)
    staged = sql.Identifier(f"staged_{contract.table.entity}")
    parts = {"table": table, "staged": staged, "columns": columns}
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {staged} (LIKE {table}) ON COMMIT DROP").format(**parts)
    )
    command = sql.SQL("COPY {staged} ({columns}) FROM STDIN (FORMAT csv)").format(**parts)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for part in rows.select(contract.schema.names).to_batches(max_chunksize=_COPIED_ROWS):
            copy.write(_csv(part))
    connection.execute(
        sql.SQL("INSERT INTO {table} ({columns}) SELECT {columns} FROM {staged}").format(**parts)
    )


def _csv(rows: pa.RecordBatch) -> bytes:
    """Write rows as Postgres reads them: null is nothing at all, an empty text is quoted."""
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    text = frame.write_csv(
        include_header=False, quote_style="non_numeric", datetime_format="%Y-%m-%d %H:%M:%S%.6f%z"
    )
    return text.encode()
