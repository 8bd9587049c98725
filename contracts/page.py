"""The page of contracts: what each table is, column by column, written from the contracts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.contract import Column, Contract
from contracts.odcs import physical_type
from contracts.validate import Rule, compile_checks

_OPENING = """\
# Contracts

What each table of the lake promises. This page is written from the files in `contracts/` by
`make contracts`; change a file, not the page. `plata contracts show NAME` prints one of them,
`plata contracts check FILE --contract NAME` holds a file of rows against it, and
[quality.md](quality.md) says what happens in a run when a check fails.

Personal columns hold people's words, or what points to a person; Gold has none.
"""


def write_page(contracts: Sequence[Contract]) -> str:
    """Write the page, in Markdown."""
    parts = [_OPENING, "\n".join(_overview(contracts))]
    parts += ["\n".join(_section(contract)) for contract in contracts]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def column_checks(contract: Contract) -> dict[str, list[str]]:
    """Say in words what is checked of each column, beyond its type and whether it is required."""
    said: dict[str, list[str]] = {name: [] for name in contract.schema.names}
    for check in compile_checks(contract):
        if check.rule is not Rule.REQUIRED:
            said[check.column].append(check.expected)
    return said


def _overview(contracts: Sequence[Contract]) -> Iterator[str]:
    yield "| table | version | holds | key | personal columns |"
    yield "|---|---|---|---|---|"
    for contract in contracts:
        personal = [name for name, how in contract.classification.items() if how == "personal"]
        yield _row(
            f"[{contract.table}](#{contract.table})",
            str(contract.version),
            contract.description,
            ", ".join(contract.key),
            ", ".join(personal) or "–",
        )


def _section(contract: Contract) -> Iterator[str]:
    yield f"## {contract.table}"
    yield ""
    words = (contract.description, contract.usage, contract.limitations)
    yield " ".join(part for part in words if part)
    yield ""
    levels = ", ".join(f"{name} {value}" for name, value in contract.service_levels.items())
    yield (
        f"Version {contract.version}, {contract.status}. Key: {', '.join(contract.key)}. "
        f"Partitioned by {', '.join(contract.partitions) or 'nothing'}. "
        f"Owner: {contract.owner}. Service levels: {levels}."
    )
    yield ""
    yield "| column | type | required | classification | meaning | checks |"
    yield "|---|---|---|---|---|---|"
    said = {column.name: column for column in contract.columns}
    for field in contract.schema:
        column = said.get(field.name, Column(field.name))
        yield _row(
            field.name,
            physical_type(field.type),
            "no" if field.nullable else "yes",
            column.classification,
            column.description,
            "; ".join(column_checks(contract)[field.name]) or "–",
        )
    if contract.quality:
        yield ""
        yield "| check of the whole table | severity | meaning |"
        yield "|---|---|---|"
        for rule in contract.quality:
            yield _row(rule.name, rule.severity, rule.description)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
