"""A contract: the name, version and shape of a table, enforced where it is written."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import ContractViolationError
from lakehouse.data.tables import TableRef


@dataclass(frozen=True, slots=True)
class Contract:
    """The promise of one table. A field that is not nullable in `schema` is required in every row.

    `key` are the columns whose values together occur once.
    """

    table: TableRef
    version: int
    schema: pa.Schema
    key: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.table}/v{self.version}"

    def problems(self, rows: pa.Table) -> list[str]:
        """Say everything that keeps `rows` from this contract; empty where all is well."""
        missing = [name for name in self.schema.names if name not in rows.column_names]
        if missing:
            return [f"column '{name}' is missing" for name in missing]
        found = []
        for field in self.schema:
            column = rows[field.name]
            if column.type != field.type:
                found.append(f"column '{field.name}' is {column.type}, expected {field.type}")
            elif not field.nullable and column.null_count:
                found.append(f"column '{field.name}' is null in {column.null_count} rows")
        return found or self._repeated(rows)

    def _repeated(self, rows: pa.Table) -> list[str]:
        keys = rows.group_by(list(self.key)).aggregate([([], "count_all")])
        repeated = pc.sum(pc.greater(keys["count_all"], 1)).as_py() or 0
        return [f"key {self.key} occurs more than once for {repeated} values"] if repeated else []

    def enforce(self, rows: pa.Table) -> pa.Table:
        """Return `rows` with exactly this contract's columns, in its order.

        Raises `ContractViolationError` that lists every problem.
        """
        problems = self.problems(rows)
        if problems:
            raise ContractViolationError.of(str(self), problems)
        return rows.select(self.schema.names).cast(self.schema)

    def empty(self) -> pa.Table:
        """Return a table of this shape without rows."""
        return self.schema.empty_table()
