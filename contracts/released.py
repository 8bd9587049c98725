"""Released forms: what a contract promised when it was released, kept to compare with.

A released form is small: columns, types and rules, one line a column, no prose. A contract may
change beside it only as `contracts.diff` calls compatible; `python -m contracts.release` records
the new form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts.contract import Column, Contract
from contracts.odcs import TYPES, physical_type
from lakehouse.data.tables import Layer, TableRef

FOLDER = Path("contracts/released")
"""Where the forms are kept, in a checkout; an installed Plata needs none of them."""

RELEASED = "active"
"""The status of a contract that others may rely on."""


def released_file(contract: Contract) -> Path:
    """Name the file of a contract's released form, below the root of the checkout."""
    return FOLDER / f"v{contract.version}" / f"{contract.table}.json"


def write_form(contract: Contract) -> str:
    """Write what a contract promises, and nothing of its prose."""
    said = {column.name: column for column in contract.columns}
    columns = [
        {
            "name": f.name,
            "type": physical_type(f.type),
            "required": not f.nullable,
            **_rules(said[f.name]),
        }
        for f in contract.schema
    ]
    head = {
        "layer": contract.table.layer.value,
        "entity": contract.table.entity,
        "version": contract.version,
        "key": list(contract.key),
        "partitions": list(contract.partitions),
    }
    opening = json.dumps(head, ensure_ascii=False)[:-1]
    lines = ",\n".join("  " + json.dumps(column, ensure_ascii=False) for column in columns)
    return f'{opening}, "columns": [\n{lines}\n]}}\n'


def read_form(text: str) -> Contract:
    """Read what `write_form` wrote, as a contract without prose.

    >>> from contracts.diff import changes
    >>> from contracts.odcs import load
    >>> changes(read_form(write_form(load("silver_tickets"))), load("silver_tickets"))
    []
    """
    values = json.loads(text)
    columns = values["columns"]
    schema = [pa.field(c["name"], TYPES[c["type"]][1], nullable=not c["required"]) for c in columns]
    return Contract(
        table=TableRef(Layer(values["layer"]), values["entity"]),
        version=values["version"],
        schema=pa.schema(schema),
        key=tuple(values["key"]),
        columns=tuple(_column(c) for c in columns),
        partitions=tuple(values["partitions"]),
    )


_PROSE = ("name", "description")


def _rules(column: Column) -> dict[str, Any]:
    given = {f.name: getattr(column, f.name) for f in fields(Column) if f.name not in _PROSE}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in given.items()
        if value not in (None, ())
    }


def _column(values: Mapping[str, Any]) -> Column:
    rules = {name: value for name, value in values.items() if name not in ("type", "required")}
    if values["type"] == "timestamp":
        for bound in ("minimum", "maximum"):
            if bound in rules:
                rules[bound] = datetime.fromisoformat(rules[bound])
    return Column(**{**rules, "allowed": tuple(rules.get("allowed", ()))})
