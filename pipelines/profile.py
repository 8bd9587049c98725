"""What the columns of a table hold, in figures: what is missing, how varied, the two ends.

Of a column with people's words, or with what points to a person, no value is ever shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from contracts.contract import Contract
from lakehouse.data.history import LazyRows
from lakehouse.data.query import QueryEngine, Statement

PERSONAL = "personal"
_SHOWN_CHARACTERS = 28


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column. `distinct` is estimated; it and the ends are null where they say nothing."""

    name: str
    kind: str
    required: bool
    classification: str
    description: str
    missing: int = 0
    distinct: int | None = None
    smallest: str | None = None
    largest: str | None = None


def profile(
    contract: Contract, rows: LazyRows | pa.Table, engine: QueryEngine
) -> list[ColumnProfile]:
    """Look at every column in one pass. Columns the contract does not know come last, hidden."""
    schema: pa.Schema = rows.schema
    figures = _figures(contract, rows, engine)
    described = {column.name: column.description for column in contract.columns}
    required = {field.name for field in contract.schema if not field.nullable}
    names = [name for name in contract.schema.names if name in schema.names]
    unknown = [name for name in schema.names if name not in names]
    return [
        ColumnProfile(
            name=name,
            kind=str(schema.field(name).type),
            required=name in required,
            classification=_classification(contract, name),
            description=described.get(name, ""),
            missing=figures[f"missing {name}"],
            distinct=_at_most(figures["rows"], figures.get(f"distinct {name}")),
            smallest=_shown(figures.get(f"smallest {name}")),
            largest=_shown(figures.get(f"largest {name}")),
        )
        for name in (*names, *unknown)
    ]


def _figures(contract: Contract, rows: LazyRows | pa.Table, engine: QueryEngine) -> dict[str, Any]:
    wanted = ["count(*) AS rows"]
    for field in rows.schema:
        name = field.name
        wanted.append(f'count(*) - count("{name}") AS "missing {name}"')
        if pa.types.is_nested(field.type):
            continue
        wanted.append(f'approx_count_distinct("{name}") AS "distinct {name}"')
        if _classification(contract, name) != PERSONAL:
            wanted.append(f'min("{name}") AS "smallest {name}"')
            wanted.append(f'max("{name}") AS "largest {name}"')
    statement = Statement(f"SELECT {', '.join(wanted)} FROM looked_at", ("looked_at",))
    with engine.answering(statement, {"looked_at": rows}) as answer:
        figures: dict[str, Any] = answer.read_all().to_pylist()[0]
    return figures


def _classification(contract: Contract, name: str) -> str:
    """Treat a column nobody described as if it were about people."""
    return contract.classification.get(name, PERSONAL)


def _at_most(rows: int, estimate: int | None) -> int | None:
    return None if estimate is None else min(rows, estimate)


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
