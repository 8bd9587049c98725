"""`plata contracts`: what each table promises, and whether a file or a change keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.output import emit, grid

if TYPE_CHECKING:
    from contracts.contract import Contract

app = typer.Typer(no_args_is_help=True, help="What each table promises: list, show, check, diff.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the contracts, the newest version of each.

    Example: plata contracts list
    """
    from contracts.release import all_contracts, newest

    rows: list[dict[str, Any]] = [
        {
            "name": str(contract.table),
            "version": contract.version,
            "status": contract.status,
            "owner": contract.owner,
            "columns": len(contract.schema),
            "personal": [n for n, how in contract.classification.items() if how == "personal"],
            "description": contract.description,
        }
        for contract in newest(all_contracts())
    ]
    emit(
        rows,
        as_json=as_json,
        table=lambda: grid(
            "Contracts",
            ["table", "version", "status", "columns", "personal", "holds"],
            [
                [
                    r["name"],
                    r["version"],
                    r["status"],
                    r["columns"],
                    ", ".join(r["personal"]),
                    r["description"],
                ]
                for r in rows
            ],
        ),
    )


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="A table, as silver_tickets or silver_tickets@1; or raw_event.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show one contract: its columns, what they mean, how they are treated and checked.

    Example: plata contracts show silver_tickets
    Example: plata contracts show raw_event
    """
    contract = _named(name)
    value = _as_value(contract)
    emit(value, as_json=as_json, table=lambda: _drawn(value))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="JSON lines, CSV or Parquet, .gz too.")],
    contract: Annotated[
        str,
        typer.Option("--contract", "-c", help="A table, a contract's file, or raw_event for Raw."),
    ] = "raw_event",
    as_json: AsJson = False,
) -> None:
    """Hold a file of rows against a table's contract, or of events against Raw's.

    Problems are told by rule, with how many rows break it and where the first are: lines of a
    JSONL file, else rows. Nothing of the file is quoted. Ends with code 1 where there are any.

    Example: plata contracts check tickets.csv --contract silver_tickets
    """
    from dataclasses import asdict

    from lakehouse.data.tables import Layer
    from lakehouse.errors import InputError
    from pipelines.check_file import RAW, check_raw_file, check_table_file
    from pipelines.source_files import FileKind, SourceFile

    source = SourceFile.find(file)
    held = _named_or_file(contract)
    if held.table.layer is not Layer.RAW:
        report = check_table_file(source, held)
    elif contract != RAW:
        msg = f"lines are held against {RAW} as it is in force, not against '{contract}'"
        raise InputError(msg)
    elif source.kind is FileKind.JSONL:
        report = check_raw_file(source)
    else:
        msg = f"'{file}' is no file of Raw events; name the table it is of with --contract"
        raise InputError(msg)
    emit({"file": str(file), **asdict(report)}, as_json=as_json, table=lambda: _reported(report))
    if report.problems:
        raise typer.Exit(1)


@app.command()
def diff(
    before: Annotated[
        str, typer.Argument(help="A file (.yaml, for Raw .json), or a name as silver_tickets@1.")
    ],
    after: Annotated[str, typer.Argument(help="The same; a name alone is its newest version.")],
    as_json: AsJson = False,
) -> None:
    """Say what changed between two contracts, and whether those who rely on it still can.

    Ends with code 1 where a change needs a new version.

    Example: plata contracts diff silver_tickets@1 my_tickets.yaml
    Example: plata contracts diff raw_event my_events.schema.json
    """
    from contracts.diff import changes

    one, other = _named_or_file(before), _named_or_file(after)
    found = changes(one, other)
    rows = [{"compatible": c.compatible, "column": c.column, "change": c.what} for c in found]
    compatible = all(change.compatible for change in found)
    value = {"before": str(one), "after": str(other), "compatible": compatible, "changes": rows}
    emit(
        value,
        as_json=as_json,
        table=lambda: (
            grid(
                f"{one} → {other}: " + ("compatible" if compatible else "needs a new version"),
                ["column", "change", "compatible"],
                [
                    [r["column"] or None, r["change"], "yes" if r["compatible"] else "no"]
                    for r in rows
                ],
            )
            if rows
            else f"{one} and {other} promise the same"
        ),
    )
    if not compatible:
        raise typer.Exit(1)


def _named(name: str) -> Contract:
    from contracts.release import find_contract
    from lakehouse.errors import InputError

    table, at, version = name.partition("@")
    if at and not version.isdigit():
        msg = f"'{name}' names no version: expected a number after @, as silver_tickets@1"
        raise InputError(msg)
    return find_contract(table, int(version) if at else None)


def _named_or_file(text: str) -> Contract:
    from contracts.odcs import read_contract
    from contracts.raw_schema import read_schema
    from lakehouse.errors import InputError

    path = Path(text)
    readers = {".yaml": read_contract, ".yml": read_contract, ".json": read_schema}
    if path.suffix not in readers:
        return _named(text)
    try:
        return readers[path.suffix](path.read_bytes(), text)
    except OSError as error:
        msg = f"'{text}' cannot be read: {error.strerror or error}"
        raise InputError(msg) from error


def _as_value(contract: Contract) -> dict[str, Any]:
    from contracts.odcs import physical_type
    from contracts.page import column_checks

    said = {column.name: column for column in contract.columns}
    checks = column_checks(contract)
    return {
        "name": str(contract.table),
        "version": contract.version,
        "status": contract.status,
        "owner": contract.owner,
        "description": contract.description,
        "usage": contract.usage,
        "limitations": contract.limitations,
        "key": list(contract.key),
        "partitions": list(contract.partitions),
        "service_levels": dict(contract.service_levels),
        "columns": [
            {
                "name": field.name,
                "type": physical_type(field.type),
                "required": not field.nullable,
                "classification": said[field.name].classification,
                "description": said[field.name].description,
                "checks": checks[field.name],
            }
            for field in contract.schema
        ],
        "quality": [
            {
                "name": rule.name,
                "severity": rule.severity,
                "check": rule.check,
                "description": rule.description,
                "arguments": dict(rule.arguments),
            }
            for rule in contract.quality
        ],
    }


def _drawn(value: dict[str, Any]) -> Any:
    from rich.console import Group

    words = (value["description"], value["usage"], value["limitations"])
    levels = ", ".join(f"{name} {level}" for name, level in value["service_levels"].items())
    parts: list[Any] = [
        f"{value['name']}, version {value['version']}, {value['status']}: "
        + " ".join(part for part in words if part),
        f"Key: {', '.join(value['key'])}. "
        f"Partitioned by {', '.join(value['partitions']) or 'nothing'}. "
        f"Owner: {value['owner']}. {levels}",
        grid(
            "Columns",
            ["column", "type", "required", "classification", "meaning", "checks"],
            [
                [
                    c["name"],
                    c["type"],
                    "yes" if c["required"] else "no",
                    c["classification"],
                    c["description"],
                    "; ".join(c["checks"]) or None,
                ]
                for c in value["columns"]
            ],
        ),
    ]
    if value["quality"]:
        checks = [[q["name"], q["severity"], q["description"]] for q in value["quality"]]
        parts.append(grid("Checks of the whole table", ["check", "severity", "meaning"], checks))
    return Group(*parts)


def _reported(report: Any) -> Any:
    from rich.console import Group

    ignored = f"; not in the contract: {', '.join(report.unknown)}" if report.unknown else ""
    if not report.problems:
        return f"{report.rows} rows keep {report.contract}{ignored}"
    return Group(
        grid(
            f"{report.rows} rows against {report.contract}{ignored}",
            ["column", "rule", "expected", "rows", "first at"],
            [
                [p.column or None, p.rule, p.expected, p.rows, ", ".join(map(str, p.first)) or None]
                for p in report.problems
            ],
        )
    )
