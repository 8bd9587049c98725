"""Contracts as fast checks: each rule of a contract compiled to one vectorised look at a column.

A finding names column, rule and rows. It never quotes a value: it may be a citizen's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Column, Contract

SHOWN_ROWS: Final = 5
"""How many places of a problem a finding keeps."""

_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


class Rule(StrEnum):
    """The kinds of rule a contract states of its columns, and of its key."""

    PRESENT = "column present"
    TYPE = "type"
    REQUIRED = "required values filled"
    KEY = "key unique"
    ALLOWED = "values allowed"
    RANGE = "values in range"
    LENGTH = "lengths in range"
    FORM = "forms valid"


VALUE_RULES: Final = (Rule.REQUIRED, Rule.ALLOWED, Rule.RANGE, Rule.LENGTH, Rule.FORM)
"""The rules that one row keeps or breaks by itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows that break one rule. `first` are positions in the table that was looked at, from 0."""

    rule: Rule
    column: str
    expected: str
    rows: int
    first: tuple[int, ...] = ()


Broken = Callable[[pa.ChunkedArray], pa.ChunkedArray | pa.Array]
"""Flags the values of a column that break a rule; null where the value is null."""


@dataclass(frozen=True, slots=True)
class ColumnCheck:
    """One rule of one column, ready to look."""

    column: str
    rule: Rule
    expected: str
    broken: Broken

    def finding(self, rows: pa.Table) -> Finding | None:
        """Look at a table that has the column with its type; None where every value keeps it."""
        if self.rule is Rule.REQUIRED and rows[self.column].null_count == 0:
            return None
        return _finding(self.rule, self.column, self.expected, self.broken(rows[self.column]))


def compile_checks(contract: Contract) -> tuple[ColumnCheck, ...]:
    """Compile what a contract says of its columns' values, in the contract's order."""
    said = {column.name: column for column in contract.columns}
    return tuple(
        check
        for field in contract.schema
        for check in _column_checks(field, said.get(field.name, Column(field.name)))
    )


def find_problems(contract: Contract, rows: pa.Table) -> list[Finding]:
    """Look for everything that keeps `rows` from a contract: shape first, then values and key."""
    shape = list(_shape(contract, rows))
    wrong = {finding.column for finding in shape}
    checks = (check for check in compile_checks(contract) if check.column not in wrong)
    values = [finding for check in checks if (finding := check.finding(rows)) is not None]
    return [*shape, *values, *([] if wrong & set(contract.key) else _repeated(contract, rows))]


def key_digests(contract: Contract, rows: pa.Table) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return a 64-bit digest of each row's key: eight bytes a row, whatever the key weighs."""
    return _frame(rows.select(list(contract.key))).hash_rows(seed=1).to_numpy()


def _shape(contract: Contract, rows: pa.Table) -> Iterator[Finding]:
    for field in contract.schema:
        if field.name not in rows.column_names:
            yield Finding(Rule.PRESENT, field.name, "the column", len(rows))
        elif rows[field.name].type != field.type:
            yield Finding(Rule.TYPE, field.name, str(field.type), len(rows))


def _repeated(contract: Contract, rows: pa.Table) -> list[Finding]:
    if not contract.key:
        return []
    first = _frame(rows.select(list(contract.key))).is_duplicated()
    digests = key_digests(contract, rows)
    kept = np.zeros(len(rows), dtype=bool)
    kept[np.unique(digests, return_index=True)[1]] = True
    again = pa.array(first.to_numpy() & ~kept)
    finding = _finding(Rule.KEY, ", ".join(contract.key), "each key once", again)
    return [] if finding is None else [finding]


def _column_checks(field: pa.Field, column: Column) -> Iterator[ColumnCheck]:
    if not field.nullable:
        yield ColumnCheck(field.name, Rule.REQUIRED, "a value", pc.is_null)
    if column.allowed:
        allowed = pa.array(column.allowed, pa.string())
        words = "one of " + ", ".join(column.allowed)
        yield ColumnCheck(field.name, Rule.ALLOWED, words, _outside(allowed))
    if column.minimum is not None or column.maximum is not None:
        expected = _between(column.minimum, column.maximum)
        broken = _beyond(field.type, column.minimum, column.maximum)
        yield ColumnCheck(field.name, Rule.RANGE, expected, broken)
    if column.min_length is not None or column.max_length is not None:
        expected = "length " + _between(column.min_length, column.max_length)
        yield ColumnCheck(field.name, Rule.LENGTH, expected, _lengths(column, field.type))
    if column.pattern is not None:
        yield ColumnCheck(field.name, Rule.FORM, column.pattern, _unlike(column.pattern))
    if column.form is not None and column.form in _FORMS:
        yield ColumnCheck(field.name, Rule.FORM, column.form, _FORMS[column.form])


def _outside(allowed: pa.Array) -> Broken:
    return lambda values: pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, allowed)))


def _beyond(kind: pa.DataType, minimum: Any, maximum: Any) -> Broken:
    def broken(values: pa.ChunkedArray) -> pa.ChunkedArray:
        flags = [pc.is_nan(values)] if pa.types.is_floating(kind) else []
        if minimum is not None:
            flags.append(pc.less(values, pa.scalar(minimum, kind)))
        if maximum is not None:
            flags.append(pc.greater(values, pa.scalar(maximum, kind)))
        return _any(flags)

    return broken


def _lengths(column: Column, kind: pa.DataType) -> Broken:
    measure = pc.list_value_length if pa.types.is_list(kind) else pc.utf8_length

    def broken(values: pa.ChunkedArray) -> pa.ChunkedArray:
        lengths = measure(values)
        flags = []
        if column.min_length is not None:
            flags.append(pc.less(lengths, column.min_length))
        if column.max_length is not None:
            flags.append(pc.greater(lengths, column.max_length))
        return _any(flags)

    return broken


def _unlike(pattern: str) -> Broken:
    return lambda values: pc.invert(pc.match_substring_regex(values, pattern))


def _not_json(values: pa.ChunkedArray) -> pa.Array:
    return pa.array([value is not None and not _is_json(value) for value in values.to_pylist()])


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


_FORMS: Final[dict[str, Broken]] = {"uuid": _unlike(_UUID), "json": _not_json}


def _any(flags: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    found = flags[0]
    for flag in flags[1:]:
        found = pc.or_kleene(found, flag)
    return found


def _between(least: Any, most: Any) -> str:
    """Say a range in words.

    >>> _between(0, 1), _between(1, None), _between(36, 36)
    ('0 to 1', 'at least 1', '36')
    """
    if least is not None and most is not None:
        return str(least) if least == most else f"{least} to {most}"
    return f"at least {least}" if most is None else f"at most {most}"


def _finding(rule: Rule, column: str, expected: str, broken: Any) -> Finding | None:
    count = pc.sum(broken).as_py() or 0
    if not count:
        return None
    places = pc.indices_nonzero(broken).slice(0, SHOWN_ROWS).to_pylist()
    return Finding(rule, column, expected, count, tuple(places))


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame
