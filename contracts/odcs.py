"""Contracts as files: the Open Data Contract Standard (ODCS), version 3, read into `Contract`.

One file a table and version, `v<version>/<layer>_<entity>.yaml`. Reading takes what Plata acts on;
the rest of the standard may stand in a file and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final, NoReturn

import pyarrow as pa
import yaml

from contracts.contract import Column, Contract, QualityRule
from contracts.errors import ContractFileError, UnknownContractError
from lakehouse.data.tables import Layer, TableRef

ENGINE: Final = "plata"
"""The engine that custom quality rules of ours name."""

CRITICAL, WARNING = "critical", "warning"

MOMENT = pa.timestamp("us", tz="UTC")

TYPES: Final[Mapping[str, tuple[str, pa.DataType]]] = {
    "string": ("string", pa.string()),
    "long": ("integer", pa.int64()),
    "integer": ("integer", pa.int32()),
    "double": ("number", pa.float64()),
    "float": ("number", pa.float32()),
    "boolean": ("boolean", pa.bool_()),
    "date": ("date", pa.date32()),
    "timestamp": ("timestamp", MOMENT),
    "array<float>": ("array", pa.list_(pa.float32())),
    "array<string>": ("array", pa.list_(pa.string())),
}
"""By physical type, which is Delta's name: the logical type of the standard, and Arrow's."""

_PHYSICAL: Final = {arrow: physical for physical, (_, arrow) in TYPES.items()}


def physical_type(kind: pa.DataType) -> str:
    """Name an Arrow type as contracts do.

    >>> physical_type(pa.timestamp("us", tz="UTC"))
    'timestamp'
    """
    return _PHYSICAL[kind]


CLASSIFICATIONS: Final = ("public", "internal", "personal")


def read_contract(text: str | bytes, where: str) -> Contract:
    """Read one file's text; `where` names it in errors. Raises `ContractFileError`."""
    try:
        values = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ContractFileError.of(where, f"not YAML: {problem}") from error
    except UnicodeDecodeError as error:
        raise ContractFileError.of(where, "not UTF-8 text") from error
    return _Reader(where).contract(values)


def load(name: str, version: int | None = None) -> Contract:
    """Return the contract of a table that ships with Plata, its newest version unless one is named.

    Raises `UnknownContractError`.

    >>> load("silver_tickets").key
    ('ticket_id',)
    """
    found = {number: file for number, file in _files() if file.name.removesuffix(_SUFFIX) == name}
    chosen = max(found, default=None) if version is None else version
    if chosen not in found:
        wanted = name if version is None else f"{name}@{version}"
        raise UnknownContractError(f"no contract '{wanted}'; see `plata contracts list`")
    return read_contract(found[chosen].read_bytes(), f"v{chosen}/{name}{_SUFFIX}")


def shipped() -> list[tuple[str, int]]:
    """Return name and version of every contract that ships with Plata, by name."""
    return sorted((file.name.removesuffix(_SUFFIX), number) for number, file in _files())


_SUFFIX = ".yaml"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _files() -> Iterator[tuple[int, Traversable]]:
    for folder in resources.files("contracts").iterdir():
        if folder.name[:1] == "v" and folder.name[1:].isdigit():
            yield from (
                (int(folder.name[1:]), f) for f in folder.iterdir() if f.name.endswith(_SUFFIX)
            )


class _Reader:
    """One file being read; every refusal names it."""

    def __init__(self, where: str) -> None:
        self._where = where

    def contract(self, values: Any) -> Contract:
        given = self._mapping(values, "the file")
        if given.get("kind") != "DataContract" or not str(given.get("apiVersion")).startswith("v3"):
            self._refuse("expected kind: DataContract and apiVersion: v3.…")
        described = self._mapping(given.get("description", {}), "description")
        objects = self._list(given.get("schema"), "schema")
        if len(objects) != 1:
            self._refuse(
                f"schema has {len(objects)} objects, expected one: a contract is of one table"
            )
        table = self._mapping(objects[0], "schema[0]")
        properties = [
            self._mapping(p, f"schema[0].properties[{n}]")
            for n, p in enumerate(self._list(table.get("properties"), "schema[0].properties"))
        ]
        names = [self._text(p, "name", f"property {n}") for n, p in enumerate(properties)]
        if len(set(names)) != len(names):
            self._refuse("two properties have one name")
        key = self._ordered(properties, "primaryKey", "primaryKeyPosition")
        if not key:
            self._refuse("no property has primaryKey: true")
        return Contract(
            table=self._table(self._text(table, "name", "schema[0]")),
            version=self._version(given.get("version")),
            schema=pa.schema([self._field(p) for p in properties]),
            key=key,
            status=self._text(given, "status", "the file"),
            owner=self._owner(given.get("team", {})),
            description=str(described.get("purpose", "")),
            usage=str(described.get("usage", "")),
            limitations=str(described.get("limitations", "")),
            columns=tuple(self._column(p) for p in properties),
            partitions=self._ordered(properties, "partitioned", "partitionKeyPosition"),
            quality=tuple(self._quality(table, properties)),
            service_levels=dict(self._levels(given.get("slaProperties", []))),
        )

    def _table(self, name: str) -> TableRef:
        layer, _, entity = name.partition("_")
        if layer not in list(Layer) or not entity:
            self._refuse(
                f"schema[0].name is '{name}', expected <layer>_<entity>, as silver_tickets"
            )
        return TableRef(Layer(layer), entity)

    def _version(self, value: Any) -> int:
        major = str(value).partition(".")[0]
        if not isinstance(value, str) or not major.isdigit():
            self._refuse(f'version is {value!r}, expected text like "1.0.0"')
        return int(major)

    def _field(self, given: Mapping[str, Any]) -> pa.Field:
        name, physical = given["name"], str(given.get("physicalType"))
        if physical not in TYPES:
            self._refuse(
                f"property {name}: physicalType '{physical}', expected one of {', '.join(TYPES)}"
            )
        logical, arrow = TYPES[physical]
        if given.get("logicalType") != logical:
            self._refuse(
                f"property {name}: logicalType {given.get('logicalType')!r}, "
                f"expected {logical} for {physical}"
            )
        return pa.field(name, arrow, nullable=not given.get("required", False))

    def _column(self, given: Mapping[str, Any]) -> Column:
        name = given["name"]
        options = self._mapping(
            given.get("logicalTypeOptions", {}), f"property {name}: logicalTypeOptions"
        )
        classification = str(given.get("classification", "internal"))
        if classification not in CLASSIFICATIONS:
            self._refuse(
                f"property {name}: classification '{classification}', "
                f"expected one of {', '.join(CLASSIFICATIONS)}"
            )
        is_moment = given["physicalType"] == "timestamp"
        least = "minItems" if given["physicalType"].startswith("array") else "minLength"
        most = "maxItems" if given["physicalType"].startswith("array") else "maxLength"
        return Column(
            name=name,
            description=str(given.get("description", "")),
            classification=classification,
            allowed=self._allowed(given.get("quality", []), name),
            minimum=self._bound(options.get("minimum"), name, is_moment),
            maximum=self._bound(options.get("maximum"), name, is_moment),
            min_length=options.get(least),
            max_length=options.get(most),
            pattern=options.get("pattern"),
            form=options.get("format"),
        )

    def _bound(self, value: Any, name: str, is_moment: bool) -> float | datetime | None:
        if value is None or not is_moment:
            return value
        try:
            return datetime.fromisoformat(str(value)).astimezone(UTC)
        except ValueError:
            self._refuse(
                f'property {name}: bound {value!r}, expected a moment like "1990-01-01T00:00:00Z"'
            )

    def _allowed(self, given: Any, name: str) -> tuple[str, ...]:
        place = f"property {name}: quality"
        for number, item in enumerate(self._list(given, place)):
            rule = self._mapping(item, f"{place}[{number}]")
            if rule.get("metric") == "invalidValues":
                values = self._mapping(rule.get("arguments", {}), place).get("validValues")
                if not isinstance(values, list) or not values or rule.get("mustBe") != 0:
                    self._refuse(f"{place}[{number}]: expected arguments.validValues and mustBe: 0")
                return tuple(str(value) for value in values)
        return ()

    def _quality(
        self, table: Mapping[str, Any], properties: list[Mapping[str, Any]]
    ) -> Iterator[QualityRule]:
        for number, item in enumerate(self._list(table.get("quality", []), "schema[0].quality")):
            yield self._rule(item, f"schema[0].quality[{number}]", {})
        for given in properties:
            place = f"property {given['name']}: quality"
            for number, item in enumerate(self._list(given.get("quality", []), place)):
                if self._mapping(item, place).get("metric") != "invalidValues":
                    yield self._rule(item, f"{place}[{number}]", {"column": given["name"]})

    def _rule(self, item: Any, place: str, of_column: Mapping[str, Any]) -> QualityRule:
        rule = self._mapping(item, place)
        severity = str(rule.get("severity"))
        if severity not in (CRITICAL, WARNING):
            self._refuse(f"{place}: severity '{severity}', expected {CRITICAL} or {WARNING}")
        if rule.get("type", "library") == "library":
            asked = {key: rule[key] for key in rule if key.startswith("must") or key == "unit"}
            check = self._text(rule, "metric", place)
        else:
            if rule.get("engine") != ENGINE:
                self._refuse(
                    f"{place}: expected a library metric, or type: custom and engine: {ENGINE}"
                )
            asked = dict(self._mapping(rule.get("implementation"), f"{place}.implementation"))
            check = self._text(asked, "check", f"{place}.implementation")
            del asked["check"]
        name = self._text(rule, "name", place)
        return QualityRule(
            name, check, severity, str(rule.get("description", "")), {**of_column, **asked}
        )

    def _owner(self, team: Any) -> str:
        given = self._mapping(team, "team")
        return str(given.get("name", ""))

    def _levels(self, given: Any) -> Iterator[tuple[str, str]]:
        for number, item in enumerate(self._list(given, "slaProperties")):
            level = self._mapping(item, f"slaProperties[{number}]")
            unit = f" {level['unit']}" if "unit" in level else ""
            yield (
                self._text(level, "property", f"slaProperties[{number}]"),
                f"{level.get('value')}{unit}",
            )

    def _ordered(self, given: list[Mapping[str, Any]], flag: str, position: str) -> tuple[str, ...]:
        flagged = [p for p in given if p.get(flag)]
        return tuple(p["name"] for p in sorted(flagged, key=lambda p: int(p.get(position, 0))))

    def _text(self, given: Mapping[str, Any], key: str, place: str) -> str:
        value = given.get(key)
        if not isinstance(value, str) or not value:
            self._refuse(f"{place}: '{key}' is {value!r}, expected text")
        return value

    def _mapping(self, value: Any, place: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._refuse(f"{place} is {_kind(value)}, expected keys and values")
        return value

    def _list(self, value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            self._refuse(f"{place} is {_kind(value)}, expected a list")
        return value

    def _refuse(self, problem: str) -> NoReturn:
        raise ContractFileError.of(self._where, problem)


def _kind(value: Any) -> str:
    return "missing" if value is None else type(value).__name__
