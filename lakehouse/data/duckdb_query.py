"""The door to DuckDB: one SELECT over rows it is handed, and over nothing else in the world.

A statement is read before it runs: what is not a SELECT is refused, and so is every function that
stands where a table could and is not on a short list. Then it runs in a database of its own that
may open no file, load no extension, see no Python variable and change no setting.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.data.history import LazyRows
from lakehouse.data.query import Sources, Statement
from lakehouse.errors import InputError

_BATCH_ROWS = 20_000
_LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}
_TABLE_FUNCTIONS = frozenset({"generate_series", "range", "repeat", "unnest"})
"""What may stand in FROM beside a table: functions that only count and unfold."""


class DuckDbEngine:
    """`QueryEngine` over DuckDB, a new database in memory for each statement."""

    def read(self, text: str) -> Statement:
        """Read one SELECT; see `QueryEngine.read`."""
        with _database() as database:
            row = database.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
        parsed: dict[str, Any] = json.loads(row[0]) if row else {}
        if parsed.get("error"):
            raise _refused(parsed)
        statements = parsed["statements"]
        if len(statements) != 1:
            msg = f"SQL: expected one statement, found {len(statements)}"
            raise InputError(msg)
        nodes = list(_nodes(statements[0]))
        _require_harmless(nodes)
        local = {entry["key"].lower() for node in nodes for entry in _common_tables(node)}
        tables = [node for node in nodes if node.get("type") == "BASE_TABLE"]
        named = {_table(node) for node in tables if node["schema_name"]}
        named |= {_table(node) for node in tables if not node["schema_name"]} - local
        return Statement(text, tuple(sorted(named)))

    @contextmanager
    def answering(self, statement: Statement, sources: Sources) -> Iterator[pa.RecordBatchReader]:
        """Run a statement over `sources`; see `QueryEngine.answering`."""
        with (
            tempfile.TemporaryDirectory(prefix="plata-sql-") as spill,
            _database(spill) as database,
        ):
            for number, (name, rows) in enumerate(sources.items()):
                _offer(database, name, rows, f"source_{number}")
            database.execute("SET TimeZone = 'UTC'")
            database.execute("SET lock_configuration = true")
            try:
                yield database.execute(statement.text).to_arrow_reader(_BATCH_ROWS)
            except (duckdb.Error, pa.ArrowException) as error:
                msg = f"SQL: {_reason(str(error))}"
                raise InputError(msg) from error


@contextmanager
def _database(spill: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
    settings: dict[str, str | bool | int | float | list[str]] = {**_LOCKED, "temp_directory": spill}
    database = duckdb.connect(":memory:", config=settings)
    try:
        yield database
    finally:
        database.close()


def _offer(
    database: duckdb.DuckDBPyConnection, name: str, rows: LazyRows | pa.Table, hidden: str
) -> None:
    database.register(hidden, rows)
    schema, _, table = name.rpartition(".")
    if schema:
        database.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    place = f'"{schema}"."{table}"' if schema else f'"{table}"'
    database.execute(f"CREATE VIEW {place} AS FROM {hidden}")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _common_tables(node: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (node.get("cte_map") or {}).get("map", [])
    return found


def _table(node: dict[str, Any]) -> str:
    if node.get("catalog_name"):
        written = ".".join([node["catalog_name"], node["schema_name"], node["table_name"]])
        msg = f"SQL: '{written}' is no table here; a table is written layer.table"
        raise InputError(msg)
    if node.get("at_clause"):
        msg = "SQL: AT (…) is not supported; give the point in time as --as-of"
        raise InputError(msg)
    schema = f"{node['schema_name']}." if node["schema_name"] else ""
    return f"{schema}{node['table_name']}".lower()


def _require_harmless(nodes: list[dict[str, Any]]) -> None:
    for node in nodes:
        if str(node.get("show_type", "")).startswith("SHOW"):
            msg = "SQL: SHOW is not supported; see `plata tables list` and `plata tables show`"
            raise InputError(msg)
        if node.get("type") != "TABLE_FUNCTION":
            continue
        name = node["function"]["function_name"].lower()
        if name not in _TABLE_FUNCTIONS:
            msg = (
                f"SQL: the function {name} is refused: a statement reads this tenant's tables, "
                "no files, no settings and no other databases"
            )
            raise InputError(msg)


def _refused(parsed: dict[str, Any]) -> InputError:
    message = str(parsed.get("error_message", ""))
    if parsed.get("error_type") == "not implemented" or message.startswith("Only SELECT"):
        return InputError("SQL: only SELECT is accepted: nothing is written or set from here")
    where = str(parsed.get("position", ""))
    at = f" (at character {int(where) + 1})" if where.isdigit() else ""
    return InputError(f"SQL: {message}{at}")


def _reason(message: str) -> str:
    """Keep what DuckDB says, without the kind of error before it and the drawing after it."""
    said = " ".join(message.split("\nLINE ")[0].split())
    kind, _, rest = said.partition("Error: ")
    return rest if rest and len(kind) < 30 else said
