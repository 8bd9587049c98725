"""Served Gold: the figures in Postgres, as the tenant sees them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.csv as pacsv
from psycopg import sql

from lakehouse.control.postgres import Connection, Postgres
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext

_SCHEMA = "gold"
_TYPES = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "smallint": pa.int16(),
    "double precision": pa.float64(),
    "real": pa.float32(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "numeric": pa.float64(),
}
"""What a column of Postgres is in Arrow; anything else travels as its text."""


class ServedTables:
    """Tables and views of the schema `gold`, read under row-level security."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def names(self, tenant: TenantContext) -> list[str]:
        """Return the tables this tenant can read, in alphabetical order."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                "SELECT DISTINCT table_name::text FROM information_schema.columns "
                "WHERE table_schema = %s AND column_name = 'tenant_id' ORDER BY 1",
                [_SCHEMA],
            ).fetchall()
        return [row[0] for row in rows]

    def read(self, name: str, tenant: TenantContext) -> pa.Table:
        """Read the tenant's rows of one table. Raises `InputError` where there is none."""
        with self._postgres.connect(tenant) as connection:
            columns = _columns(connection, name)
            if "tenant_id" not in columns:
                msg = f"there is no served table '{name}'"
                raise InputError(msg)
            return _copied(connection, name, columns, tenant)


def _columns(connection: Connection, name: str) -> dict[str, pa.DataType]:
    rows = connection.execute(
        "SELECT column_name::text, data_type::text FROM information_schema.columns "
        "WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        [_SCHEMA, name],
    ).fetchall()
    return {column: _TYPES.get(kind, pa.string()) for column, kind in rows}


def _copied(
    connection: Connection, name: str, columns: dict[str, pa.DataType], tenant: TenantContext
) -> pa.Table:
    command = sql.SQL(
        "COPY (SELECT {columns} FROM {table} WHERE tenant_id = {tenant}) TO STDOUT (FORMAT csv)"
    ).format(
        columns=sql.SQL(", ").join(sql.Identifier(column) for column in columns),
        table=sql.Identifier(_SCHEMA, name),
        tenant=sql.Literal(tenant.tenant_id),
    )
    connection.execute("SET LOCAL TimeZone = 'UTC'")
    content = io.BytesIO()
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for block in copy:
            content.write(block)
    if content.tell() == 0:
        return pa.schema(columns.items()).empty_table()
    content.seek(0)
    return pacsv.read_csv(
        content,
        read_options=pacsv.ReadOptions(column_names=list(columns)),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=columns,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
