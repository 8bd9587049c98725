"""`plata tables`: what a tenant's tables are, what is in them, and how they came to be so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated, Any

import typer

from serving.cli.output import emit, grid

app = typer.Typer(no_args_is_help=True, help="List tables, show one, look back at its versions.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tables.")]
OneTable = Annotated[str, typer.Argument(help="A table, such as silver.tickets.")]
MaybeTable = Annotated[str | None, typer.Argument(help="A table, such as silver.tickets.")]
EveryTable = Annotated[bool, typer.Option("--all", help="Every table the tenant has.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
AsOfPoint = Annotated[
    str | None,
    typer.Option("--as-of", help="A version, a run id, or a day or moment in ISO 8601 (UTC)."),
]


@app.command("list")
def list_(tenant: OfTenant, as_of: AsOfPoint = None, as_json: AsJson = False) -> None:
    """List a tenant's tables: rows, size, freshness, version, owner.

    Reads the catalogue, which every run brings up to date; with --as-of it reads the lake.

    Example: plata tables list --tenant alcaldia-norte --as-of 2026-01-31
    """
    from lakehouse.data.as_of import AsOf
    from pipelines.bootstrap import open_platform
    from pipelines.catalogue import measure, tables_at

    point = None if as_of is None else AsOf.parse(as_of)
    platform = open_platform()
    context = platform.tenant(tenant)
    if point is None:
        entries: Sequence[Any] = platform.catalogue.entries(context)
    else:
        versions = tables_at(point, context, store=platform.store, log=platform.runs)
        entries = measure(context, platform.store, versions=versions)
    _emit_entries(f"{tenant}: tablas" + (f" a {as_of}" if as_of else ""), entries, as_json)


@app.command()
def refresh(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Bring the catalogue up to date with the lake, for what was not written by a run.

    Example: plata tables refresh --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform
    from pipelines.catalogue import refresh_catalogue

    platform = open_platform()
    entries = refresh_catalogue(
        platform.tenant(tenant), store=platform.store, catalogue=platform.catalogue
    )
    _emit_entries(f"{tenant}: catálogo al día", entries, as_json)


@app.command()
def show(
    table: OneTable, tenant: OfTenant, as_of: AsOfPoint = None, as_json: AsJson = False
) -> None:
    """Show a table: columns with their meaning and figures, partitions, properties.

    Of columns with people's words no value is shown, only how many are missing and how varied.

    Example: plata tables show silver.tickets --tenant alcaldia-norte --as-of 3
    """
    from lakehouse.data.as_of import AsOf
    from pipelines.bootstrap import open_platform
    from pipelines.catalogue import find_contract
    from pipelines.inspection import inspect

    contract = find_contract(table)
    point = None if as_of is None else AsOf.parse(as_of)
    platform = open_platform()
    seen = inspect(contract, platform.tenant(tenant), platform.sql_ports, as_of=point)
    value = {
        "table": seen.entry.name,
        "description": contract.description,
        "contract": str(contract),
        "owner": contract.owner,
        "key": list(contract.key),
        **_state(seen.entry),
        "partitions": list(seen.partitions),
        "properties": dict(seen.properties),
        "columns": [
            {name: getattr(column, name) for name in _COLUMN_FACTS} for column in seen.columns
        ],
    }
    emit(value, as_json=as_json, table=lambda: _drawn(tenant, value))


@app.command()
def history(
    table: OneTable,
    tenant: OfTenant,
    limit: Annotated[int, typer.Option(min=1, help="How many versions, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List a table's versions: when, by which run, what each added.

    Example: plata tables history silver.tickets --tenant alcaldia-norte --limit 5
    """
    from pipelines.bootstrap import open_platform
    from pipelines.catalogue import find_contract, sql_name

    ref = find_contract(table).table
    platform = open_platform()
    commits = platform.store.commits(ref, platform.tenant(tenant), limit=limit)
    rows: list[dict[str, Any]] = [
        {
            "version": commit.version,
            "at": commit.at.isoformat(timespec="milliseconds"),
            "operation": commit.operation,
            "run_id": commit.run_id,
            "rows_added": commit.rows_added,
            "files_added": commit.files_added,
            "files_removed": commit.files_removed,
            "bytes_added": commit.bytes_added,
        }
        for commit in reversed(commits)
    ]
    emit(
        rows,
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: versiones de {sql_name(ref)}",
            ["versión", "momento (UTC)", "operación", "run", "filas +", "archivos", "tamaño +"],
            [
                [
                    row["version"],
                    _moment(row["at"]),
                    row["operation"],
                    row["run_id"],
                    row["rows_added"],
                    f"+{row['files_added']} −{row['files_removed']}",
                    _size(row["bytes_added"]),
                ]
                for row in rows
            ],
            whole=["momento (UTC)", "run", "archivos"],
        ),
    )


@app.command()
def compact(
    tenant: OfTenant,
    table: MaybeTable = None,
    all_: EveryTable = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Merge the small files of one table or of all. No row changes; runs do it by themselves too.

    Example: plata tables compact silver.tickets --tenant alcaldia-norte --dry-run
    """
    from pipelines.upkeep import Upkeep

    def merge(keeper: Upkeep) -> Any:
        return keeper.compact(dry_run=dry_run)

    _maintain("compactar", merge, tenant, table, all_, dry_run, as_json)


@app.command()
def vacuum(
    tenant: OfTenant,
    table: MaybeTable = None,
    all_: EveryTable = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete files and log entries that no version in use has needed for 30 days.

    Kept is what the newest version needs, and what runs of the last 90 days read and wrote. Both
    terms are the tenant's (`upkeep` in its configuration).

    Example: plata tables vacuum --all --tenant alcaldia-norte --dry-run
    """
    from datetime import UTC, datetime

    from pipelines.upkeep import Upkeep

    def delete(keeper: Upkeep) -> Any:
        return keeper.vacuum(now=datetime.now(UTC), dry_run=dry_run)

    _maintain("limpiar", delete, tenant, table, all_, dry_run, as_json)


def _maintain(
    title: str,
    chore: Callable[[Any], Any],
    tenant: str,
    table: str | None,
    all_: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Do a chore table by table while no run is at work, and bring the catalogue up to date."""
    from lakehouse.errors import InputError
    from pipelines.bootstrap import open_platform
    from pipelines.catalogue import CONTRACTS, find_contract, refresh_catalogue, sql_name
    from pipelines.plan import RUN_KIND
    from pipelines.tenant_config import upkeep_of
    from pipelines.upkeep import Upkeep

    if (table is None) is not all_:
        msg = "name one table, or give --all"
        raise InputError(msg)
    contracts = list(CONTRACTS.values()) if table is None else [find_contract(table)]
    platform = open_platform()
    context = platform.tenant(tenant)
    policy = upkeep_of(platform.tenants.config(context))
    with nullcontext() if dry_run else platform.runs.exclusive(context, RUN_KIND):
        done = {
            sql_name(contract.table): chore(
                Upkeep(context, platform.maintenance, platform.runs, (contract,), policy)
            )
            for contract in contracts
        }
        if not dry_run:
            refresh_catalogue(context, store=platform.store, catalogue=platform.catalogue)
    rows = [{"table": name, "dry_run": dry_run, **asdict(tidied)} for name, tidied in done.items()]
    emit(
        rows,
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: {title}" + (" (solo se calcula)" if dry_run else ""),
            ["tabla", "archivos unidos", "en", "archivos borrados", "entradas del registro"],
            [
                [
                    row["table"],
                    row["merged_files"],
                    row["made_files"],
                    row["deleted_files"],
                    row["deleted_log_files"],
                ]
                for row in rows
            ],
            whole=["tabla"],
        ),
    )


_COLUMN_FACTS = (
    "name",
    "kind",
    "required",
    "classification",
    "missing",
    "distinct",
    "smallest",
    "largest",
    "description",
)


def _state(entry: Any) -> dict[str, Any]:
    return {
        "version": entry.version,
        "rows": entry.rows,
        "files": entry.files,
        "size_bytes": entry.size_bytes,
        "newest_day": None if entry.newest_day is None else entry.newest_day.isoformat(),
        "written_at": entry.written_at.isoformat(timespec="seconds"),
        "last_run": entry.last_run,
        "location": entry.location,
    }


def _emit_entries(title: str, entries: Sequence[Any], as_json: bool) -> None:
    rows = [
        {
            "table": entry.name,
            "contract_version": entry.contract_version,
            "owner": entry.owner,
            **_state(entry),
        }
        for entry in entries
    ]
    emit(
        rows,
        as_json=as_json,
        table=lambda: grid(
            title,
            [
                "tabla",
                "filas",
                "tamaño",
                "versión",
                "último día",
                "escrita (UTC)",
                "contrato",
                "responsable",
            ],
            [
                [
                    row["table"],
                    row["rows"],
                    _size(row["size_bytes"]),
                    row["version"],
                    row["newest_day"],
                    _moment(row["written_at"])[:16],
                    f"v{row['contract_version']}",
                    row["owner"],
                ]
                for row in rows
            ],
            whole=["tabla", "tamaño", "último día", "escrita (UTC)"],
        ),
    )


def _drawn(tenant: str, value: dict[str, Any]) -> Any:
    from rich.console import Group

    facts = {
        "contrato": value["contract"],
        "responsable": value["owner"],
        "clave": ", ".join(value["key"]),
        "versión": value["version"],
        "filas": f"{value['rows']:,}",
        "archivos": f"{value['files']:,}, {_size(value['size_bytes'])}",
        "último día": value["newest_day"],
        "escrita (UTC)": f"{_moment(value['written_at'])}, por {value['last_run']}",
        "lugar": value["location"],
        "particiones": ", ".join(value["partitions"]) or None,
        **value["properties"],
    }
    return Group(
        f"{tenant}: {value['table']} · {value['description']}",
        grid("", ["", ""], [[name, fact] for name, fact in facts.items()]),
        grid(
            "Columnas",
            ["columna", "tipo", "clase", "vacías", "distintas ≈", "valores", "significado"],
            [
                [
                    column["name"],
                    column["kind"],
                    column["classification"],
                    column["missing"],
                    column["distinct"],
                    _ends(column),
                    column["description"],
                ]
                for column in value["columns"]
            ],
            whole=["columna"],
        ),
    )


def _ends(column: dict[str, Any]) -> str | None:
    """Write from where to where a column's values go; None where that is nobody's business."""
    ends = [column["smallest"], column["largest"]]
    return None if None in ends else " … ".join(dict.fromkeys(ends))


def _moment(text: str) -> str:
    """Shorten a moment in UTC to what people read.

    >>> _moment("2026-01-02T03:04:05.678+00:00")
    '2026-01-02 03:04:05'
    """
    return text[:19].replace("T", " ")


def _size(size_bytes: int) -> str:
    """Write a size for people.

    >>> _size(2_621_440)
    '2.5 MB'
    """
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
