"""A contract: the name, version and shape of a table, enforced where it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import ContractViolationError
from lakehouse.data.tables import TableRef


@dataclass(frozen=True, slots=True)
class Column:
    """What a contract says of a column beyond its Arrow type; a value that is null keeps it.

    `classification` is `personal` (words of people, or what points to one), `internal` or `public`.
    `form` is `uuid` or `json`.
    """

    name: str
    description: str = ""
    classification: str = "internal"
    allowed: tuple[str, ...] = ()
    minimum: float | datetime | None = None
    maximum: float | datetime | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    form: str | None = None


@dataclass(frozen=True, slots=True)
class QualityRule:
    """A declared check of a whole table. `check` names what is measured, `arguments` how."""

    name: str
    check: str
    severity: str
    description: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contract:
    """The promise of one table. A field that is not nullable in `schema` is required in every row.

    `key` are the columns whose values together occur once. What stands after it describes the
    table and takes no part in whether two contracts are the same.
    """

    table: TableRef
    version: int
    schema: pa.Schema
    key: tuple[str, ...]
    status: str = field(default="active", compare=False)
    owner: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    usage: str = field(default="", compare=False)
    limitations: str = field(default="", compare=False)
    columns: tuple[Column, ...] = field(default=(), compare=False)
    partitions: tuple[str, ...] = field(default=(), compare=False)
    quality: tuple[QualityRule, ...] = field(default=(), compare=False)
    service_levels: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.table}/v{self.version}"

    @property
    def classification(self) -> Mapping[str, str]:
        """How each column must be treated."""
        return {column.name: column.classification for column in self.columns}

    def problems(self, rows: pa.Table) -> list[str]:
        """Say everything that keeps `rows` from this contract; empty where all is well."""
        return self._misshapen(rows) or self._repeated(rows)

    def _misshapen(self, rows: pa.Table) -> list[str]:
        missing = [name for name in self.schema.names if name not in rows.column_names]
        if missing:
            return [f"column '{name}' is missing" for name in missing]
        found = []
        for column in self.schema:
            values = rows[column.name]
            if values.type != column.type:
                found.append(f"column '{column.name}' is {values.type}, expected {column.type}")
            elif not column.nullable and values.null_count:
                found.append(f"column '{column.name}' is null in {values.null_count} rows")
        return found

    def _repeated(self, rows: pa.Table) -> list[str]:
        keys = rows.group_by(list(self.key)).aggregate([([], "count_all")])
        repeated = pc.sum(pc.greater(keys["count_all"], 1)).as_py() or 0
        return [f"key {self.key} occurs more than once for {repeated} values"] if repeated else []

    def enforce(self, rows: pa.Table) -> pa.Table:
        """Return `rows` with exactly this contract's columns, in its order.

        Raises `ContractViolationError` that lists every problem.
        """
        return self._enforced(rows, self.problems(rows))

    def enforce_shape(self, rows: pa.Table) -> pa.Table:
        """Do as `enforce`, taking the caller's word that no key occurs twice."""
        return self._enforced(rows, self._misshapen(rows))

    def _enforced(self, rows: pa.Table, problems: list[str]) -> pa.Table:
        if problems:
            raise ContractViolationError.of(str(self), problems)
        return rows.select(self.schema.names).cast(self.schema)

    def empty(self) -> pa.Table:
        """Return a table of this shape without rows."""
        return self.schema.empty_table()
