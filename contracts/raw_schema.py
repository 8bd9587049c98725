"""Raw's contract as a file: a JSON Schema of one event, read like the contract of a table.

The schema is made of the types that read lines (`contracts.raw`); what a field means, and how it
must be treated, is said as Bronze says it. Read back, each field of an event is a column: those of
one kind of event alone are named by it, as `MESSAGE_ADDED.text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from contracts.contract import Column, Contract
from contracts.errors import ContractFileError, UnknownContractError
from contracts.odcs import MOMENT, load
from contracts.raw import SCHEMA_VERSION, RawEvent
from lakehouse.data.tables import Layer, TableRef

RAW_EVENT: Final = TableRef(Layer.RAW, "event")
SCHEMA_FILE: Final = Path(f"contracts/v{SCHEMA_VERSION}/{RAW_EVENT}.schema.json")

_ABOUT: Final = "x-contract"
_CLASSIFICATION: Final = "x-classification"
_HEAD: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": f"urn:plata:contract:{RAW_EVENT}",
    "title": str(RAW_EVENT),
    "description": "One line of a Raw file: an event of a ticket, as its channel told it.",
    _ABOUT: {
        "version": f"{SCHEMA_VERSION}.0.0",
        "status": "active",
        "owner": "plataforma-de-datos",
        "usage": "Every file of events that lands is held against it; Bronze is made of it.",
        "limitations": "Holds citizens' words as they came. A line that breaks it is quarantined.",
        "key": ["event_id"],
        "service_levels": {"retention": "5 y"},
    },
}
_BY_BRONZE: Final = {"pqrs_type": "pqrs_code"}
_OWN_WORDS: Final = {
    "tenant_id": "The tenant the line says it is of; a line of another tenant is refused.",
    "text_len": "The length of the text as the channel counted it; Bronze counts itself.",
}
_ARROW: Final = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64()}


def published_schema() -> dict[str, Any]:
    """Make the schema of the lines that are read now, with what each field means."""
    schema = msgspec.json.schema(RawEvent)
    said = {column.name: column for column in load("bronze_pqrs_events").columns}
    for definition in schema["$defs"].values():
        for name, field in definition.get("properties", {}).items():
            if name != "data":
                of_bronze = said[_BY_BRONZE.get(name, name)]
                field["description"] = _OWN_WORDS.get(name, of_bronze.description)
                field[_CLASSIFICATION] = of_bronze.classification
    return {**_HEAD, **schema}


def write_schema() -> str:
    """Write the schema as it is published."""
    return json.dumps(published_schema(), ensure_ascii=False, indent=2) + "\n"


def load_raw(version: int | None = None) -> Contract:
    """Return the contract by which lines are read. Raises `UnknownContractError`.

    >>> str(load_raw())
    'raw_event/v1'
    """
    if version not in (None, int(SCHEMA_VERSION)):
        raise UnknownContractError(f"no contract '{RAW_EVENT}@{version}'; Raw has one version")
    return read_schema(write_schema(), str(SCHEMA_FILE))


def read_schema(text: str | bytes, where: str) -> Contract:
    """Read one schema's text; `where` names it in errors. Raises `ContractFileError`."""
    try:
        schema = json.loads(text)
        about = schema[_ABOUT]
        fields = _fields(schema)
        return Contract(
            table=RAW_EVENT,
            version=int(about["version"].partition(".")[0]),
            schema=pa.schema([_arrow(name, field) for name, field in fields.items()]),
            key=tuple(about["key"]),
            status=about["status"],
            owner=about["owner"],
            description=schema["description"],
            usage=about["usage"],
            limitations=about["limitations"],
            columns=tuple(_column(name, field) for name, field in fields.items()),
            service_levels=about["service_levels"],
        )
    except ValueError as error:
        raise ContractFileError.of(where, f"not JSON, or no version in it: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"no schema of Raw events as {SCHEMA_FILE} is one: {error!r} is amiss"
        raise ContractFileError.of(where, problem) from error


@dataclass(frozen=True, slots=True)
class _Field:
    """What a schema says of one field, its references followed."""

    rules: Mapping[str, Any]
    required: bool


def _fields(schema: Mapping[str, Any]) -> dict[str, _Field]:
    """Name every field: those that all kinds of event share once, the others by their kind."""
    defined = schema["$defs"]
    kinds = {
        kind: _resolved({"$ref": ref}, defined)
        for kind, ref in schema["discriminator"]["mapping"].items()
    }
    heads = {kind: dict(_properties(event, defined)) for kind, event in kinds.items()}
    found = {"event_type": _Field({"enum": list(kinds), **_said_of_kinds(kinds)}, True)}
    for kind, event in kinds.items():
        for name, field in heads[kind].items():
            shared = all(head.get(name) == field for head in heads.values())
            found[name if shared else f"{kind}.{name}"] = field
        data = _resolved(event["properties"]["data"], defined)
        found |= {f"{kind}.{name}": field for name, field in _properties(data, defined)}
    return found


def _said_of_kinds(kinds: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is said of `event_type`, whose one value differs from kind to kind."""
    said = next(iter(kinds.values()))["properties"]["event_type"]
    return {name: value for name, value in said.items() if name != "enum"}


def _properties(
    said: Mapping[str, Any], defined: Mapping[str, Any]
) -> Iterator[tuple[str, _Field]]:
    for name, rules in said["properties"].items():
        if name not in ("event_type", "data"):
            yield name, _Field(_resolved(rules, defined), name in said["required"])


def _resolved(rules: Mapping[str, Any], defined: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, or the one alternative that is not null; what stands beside it wins."""
    inner = rules
    if "anyOf" in rules:
        (inner,) = [one for one in rules["anyOf"] if one.get("type") != "null"]
    if "$ref" in inner:
        inner = defined[inner["$ref"].rpartition("/")[2]]
    return inner if inner is rules else {**inner, **rules}


def _arrow(name: str, field: _Field) -> pa.Field:
    rules = field.rules
    is_moment = rules.get("format") == "date-time"
    kind = MOMENT if is_moment else _ARROW[rules.get("type", "string")]
    return pa.field(name, kind, nullable=not field.required)


def _column(name: str, field: _Field) -> Column:
    rules = field.rules
    form = rules.get("format")
    return Column(
        name,
        description=rules.get("description", ""),
        classification=rules.get(_CLASSIFICATION, "internal"),
        allowed=tuple(rules.get("enum", ())),
        minimum=rules.get("minimum"),
        maximum=rules.get("maximum"),
        min_length=rules.get("minLength"),
        max_length=rules.get("maxLength"),
        pattern=rules.get("pattern"),
        form=None if form == "date-time" else form,
    )
