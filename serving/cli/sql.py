"""`plata sql`: one SELECT over a tenant's tables, to the screen or to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.output import emit, grid
from serving.cli.tables import AsJson, AsOfPoint

_SCREEN_ROWS = 100


def register(app: typer.Typer) -> None:
    """Add the command at the top of the program."""
    app.command()(sql)


def sql(
    statement: Annotated[str, typer.Argument(help="One SELECT.")],
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose tables.")],
    as_of: AsOfPoint = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"Rows at most; {_SCREEN_ROWS} when shown, all into a file."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV file.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a Parquet file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a tenant's tables in SQL: bronze.*, silver.*, gold.* of the lake, served.* of Postgres.

    Reads only, and only this tenant's tables. `plata tables list` names them.

    Example: plata sql "select pqrs_type, count(*) from silver.tickets group by 1"
    --tenant alcaldia-norte --as-of 2026-01-31
    """
    from lakehouse.data.as_of import AsOf
    from lakehouse.errors import InputError
    from pipelines.bootstrap import open_platform
    from pipelines.catalogue import sql_name
    from pipelines.sql import asking, limited, write_csv, write_parquet

    if csv is not None and parquet is not None:
        msg = "give one of --csv and --parquet, not both"
        raise InputError(msg)
    point = None if as_of is None else AsOf.parse(as_of)
    platform = open_platform()
    context = platform.tenant(tenant)
    with asking(statement, context, platform.sql_ports, as_of=point) as answer:
        versions = {sql_name(table): version for table, version in answer.versions.items()}
        file = csv or parquet
        if file is not None:
            rows = answer.rows if limit is None else limited(answer.rows, limit)
            written = write_csv(rows, file) if csv is not None else write_parquet(rows, file)
            _emit_file(file, written, versions, as_json)
            return
        shown = limit or _SCREEN_ROWS
        table = limited(answer.rows, shown + 1).read_all()
    value = {
        "columns": table.column_names,
        "rows": [list(row) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)][
            :shown
        ],
        "more": len(table) > shown,
        "versions": versions,
    }
    emit(value, as_json=as_json, table=lambda: _drawn(tenant, value))


def _emit_file(file: Path, rows: int, versions: dict[str, int], as_json: bool) -> None:
    emit(
        {"file": file, "rows": rows, "versions": versions},
        as_json=as_json,
        table=lambda: f"{file}: {rows:,} filas{_read_from(versions)}",
    )


def _drawn(tenant: str, value: dict[str, Any]) -> Any:
    from rich.console import Group

    count = len(value["rows"])
    more = "; hay más, pídalas con --limit, --csv o --parquet" if value["more"] else ""
    said = f"{tenant}: {count:,} filas{more}{_read_from(value['versions'])}"
    return Group(said, grid("", value["columns"], value["rows"]))


def _read_from(versions: dict[str, int]) -> str:
    if not versions:
        return ""
    return " · " + ", ".join(f"{name} versión {number}" for name, number in versions.items())
