"""Served Gold: the figures of one tenant in Postgres, replaced all at once."""

from __future__ import annotations

import pyarrow as pa
from psycopg import sql

from contracts.contract import Contract
from contracts.tables import GOLD
from lakehouse.control.postgres import Connection, Postgres
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from pipelines.gold import Figures
from pipelines.steps import OnStep


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
    values = [rows[name].to_pylist() for name in contract.schema.names]
    staged = sql.Identifier(f"staged_{contract.table.entity}")
    parts = {"table": table, "staged": staged, "columns": columns}
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {staged} (LIKE {table}) ON COMMIT DROP").format(**parts)
    )
    command = sql.SQL("COPY {staged} ({columns}) FROM STDIN").format(**parts)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for row in zip(*values, strict=True):
            copy.write_row(row)
    connection.execute(
        sql.SQL("INSERT INTO {table} ({columns}) SELECT {columns} FROM {staged}").format(**parts)
    )
