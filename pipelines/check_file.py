"""Hold a file against a contract: its rows against a table's, or its lines against Raw's.

What is found is told by rule and place, and never quotes the file. The file is read in chunks, so
that its size does not matter; of a key, eight bytes a row are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.contract import Contract
from contracts.odcs import physical_type
from contracts.raw import BrokenLineError, decode_event
from contracts.raw_schema import RAW_EVENT
from contracts.validate import SHOWN_ROWS, ColumnCheck, Rule, compile_checks, key_digests
from pipelines.source_files import FileKind, SourceFile

RAW: Final = str(RAW_EVENT)
"""The name under which Raw's contract is asked for; it is a JSON Schema, not a table's."""

CHUNK_ROWS: Final = 20_000

_READABLE = "row readable"


@dataclass(slots=True)
class FileProblem:
    """One rule that rows of a file break; `first` are lines of JSON lines, else rows from 1."""

    rule: str
    column: str
    expected: str
    rows: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, rows: int, places: Iterable[int]) -> None:
        """Count more rows; the first places are kept."""
        self.rows += rows
        self.first.extend(islice(map(int, places), SHOWN_ROWS - len(self.first)))


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was found in a file. `unknown` are its columns that the contract does not name."""

    contract: str
    rows: int
    problems: tuple[FileProblem, ...]
    unknown: tuple[str, ...] = ()


def check_raw_file(file: SourceFile) -> FileReport:
    """Hold every line against the Raw event contract."""
    problems: dict[str, FileProblem] = {}
    rows = 0
    with file.open() as stream:
        for number, line in enumerate(stream, start=1):
            if line.isspace():
                continue
            rows += 1
            try:
                decode_event(line.removeprefix(_BOM) if number == 1 else line)
            except BrokenLineError as error:
                reason = str(error)
                problem = problems.setdefault(reason, FileProblem("event", "", reason))
                problem.add(1, [number])
    return FileReport(RAW, rows, tuple(sorted(problems.values(), key=lambda p: -p.rows)))


def check_table_file(file: SourceFile, contract: Contract) -> FileReport:
    """Hold every row against a table's contract."""
    check = _FileCheck(contract)
    for chunk in _chunks(file, contract):
        check.add(chunk)
    return check.report()


_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some rows: where they stand, their columns, and which values are of another type."""

    places: np.ndarray[Any, np.dtype[np.int64]]
    columns: Mapping[str, pa.Array]
    wrong: Mapping[str, Sequence[int]]
    names: frozenset[str]
    unreadable: tuple[int, ...] = ()


class _FileCheck:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._checks = compile_checks(contract)
        self._problems: dict[tuple[str, str], FileProblem] = {}
        self._seen: set[str] = set()
        self._rows = 0
        self._keys: list[np.ndarray[Any, np.dtype[np.uint64]]] = []
        self._places: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def add(self, chunk: _Chunk) -> None:
        self._rows += len(chunk.places) + len(chunk.unreadable)
        self._seen |= chunk.names
        if chunk.unreadable:
            self._note(_READABLE, "", "one record", len(chunk.unreadable), chunk.unreadable)
        for name, wrong in chunk.wrong.items():
            expected = physical_type(self._contract.schema.field(name).type)
            self._note(Rule.TYPE, name, expected, len(wrong), chunk.places[list(wrong)])
        for check in self._checks:
            self._look(check, chunk)
        wrong_keys = [n for name in self._contract.key for n in chunk.wrong.get(name, ())]
        right = np.delete(np.arange(len(chunk.places)), wrong_keys)
        keys = pa.table({name: chunk.columns[name] for name in self._contract.key})
        self._keys.append(key_digests(self._contract, keys.take(pa.array(right))))
        self._places.append(chunk.places[right])

    def report(self) -> FileReport:
        missing = [f.name for f in self._contract.schema if f.name not in self._seen]
        for name in missing:
            problem = self._problems.pop((Rule.REQUIRED, name), None)
            if problem is not None:
                self._note(Rule.PRESENT, name, "the column", problem.rows, [])
        if not set(missing) & set(self._contract.key):
            self._note_repeated()
        order = {name: n for n, name in enumerate(self._contract.schema.names)}
        found = sorted(self._problems.values(), key=lambda p: order.get(p.column, -1))
        unknown = sorted(self._seen - set(self._contract.schema.names))
        return FileReport(str(self._contract), self._rows, tuple(found), tuple(unknown))

    def _look(self, check: ColumnCheck, chunk: _Chunk) -> None:
        values, places = chunk.columns[check.column], chunk.places
        wrong = chunk.wrong.get(check.column, ())
        if wrong:
            right = np.delete(np.arange(len(places)), list(wrong))
            values, places = values.take(pa.array(right)), places[right]
        finding = check.finding(pa.table({check.column: values}))
        if finding is not None:
            first = places[list(finding.first)]
            self._note(check.rule, check.column, check.expected, finding.rows, first)

    def _note_repeated(self) -> None:
        if not self._keys:
            return
        keys, places = np.concatenate(self._keys), np.concatenate(self._places)
        again = np.ones(len(keys), dtype=bool)
        again[np.unique(keys, return_index=True)[1]] = False
        if again.any():
            columns = ", ".join(self._contract.key)
            self._note(Rule.KEY, columns, "each key once", int(again.sum()), places[again])

    def _note(
        self, rule: str, column: str, expected: str, rows: int, places: Iterable[int]
    ) -> None:
        key = (str(rule), column)
        problem = self._problems.setdefault(key, FileProblem(str(rule), column, expected))
        problem.add(rows, places)


def _chunks(file: SourceFile, contract: Contract) -> Iterator[_Chunk]:
    if file.kind is FileKind.PARQUET:
        yield from _parquet_chunks(file, contract)
        return
    records = _json_records(file) if file.kind is FileKind.JSONL else _csv_records(file)
    read = _READ_TEXT if file.kind is FileKind.CSV else _READ_JSON
    while chunk := list(islice(records, CHUNK_ROWS)):
        yield _of_records(chunk, contract, read)


def _parquet_chunks(file: SourceFile, contract: Contract) -> Iterator[_Chunk]:
    file.columns()  # refuses, in one line, what is no Parquet file
    start = 1
    for batch in pq.ParquetFile(file.path).iter_batches(batch_size=CHUNK_ROWS):
        columns: dict[str, pa.Array] = {}
        wrong: dict[str, Sequence[int]] = {}
        for own in contract.schema:
            if own.name not in batch.schema.names:
                columns[own.name] = pa.nulls(len(batch), own.type)
                continue
            try:
                columns[own.name] = _same_kind(batch.column(own.name), own.type)
            except pa.ArrowInvalid:
                columns[own.name] = pa.nulls(len(batch), own.type)
                wrong[own.name] = range(len(batch))
        places = np.arange(start, start + len(batch))
        yield _Chunk(places, columns, wrong, frozenset(batch.schema.names))
        start += len(batch)


def _same_kind(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast where only the width differs: a number that is text is of another type."""
    families = (pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp, _is_text)
    related = any(of(values.type) and of(kind) for of in families) or values.type == pa.null()
    if values.type != kind and not related and not pa.types.is_list(kind):
        raise pa.ArrowInvalid("another kind")
    return values.cast(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_Record = tuple[int, Mapping[str, Any] | None]
_Read = Mapping[pa.DataType, Callable[[Any], Any]]


def _of_records(chunk: list[_Record], contract: Contract, read: _Read) -> _Chunk:
    rows = [(place, record) for place, record in chunk if record is not None]
    columns: dict[str, pa.Array] = {}
    wrong: dict[str, Sequence[int]] = {}
    for own in contract.schema:
        values: list[Any] = []
        bad: list[int] = []
        convert = read[own.type]
        for position, (_, record) in enumerate(rows):
            value = record.get(own.name)
            try:
                values.append(None if value is None else convert(value))
            except (ValueError, TypeError, KeyError, OverflowError, msgspec.DecodeError):
                values.append(None)
                bad.append(position)
        columns[own.name] = pa.array(values, own.type)
        if bad:
            wrong[own.name] = bad
    return _Chunk(
        places=np.array([place for place, _ in rows], dtype=np.int64),
        columns=columns,
        wrong=wrong,
        names=frozenset(name for _, record in rows for name in record),
        unreadable=tuple(place for place, record in chunk if record is None),
    )


def _json_records(file: SourceFile) -> Iterator[_Record]:
    with file.open() as stream:
        for number, line in enumerate(stream, start=1):
            content = line.removeprefix(_BOM).strip() if number == 1 else line.strip()
            if not content:
                continue
            try:
                record = msgspec.json.decode(content)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                record = None
            yield number, record if isinstance(record, dict) else None


def _csv_records(file: SourceFile) -> Iterator[_Record]:
    for number, record in enumerate(file.records(), start=1):
        if isinstance(record, bytes):
            yield number, None
        else:
            yield number, {name: value or None for name, value in record.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC)


def _numbers(value: Any) -> list[float]:
    return [_number(item) for item in _listed(value)]


def _texts(value: Any) -> list[str]:
    return [_text(item) for item in _listed(value)]


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError
    return number


_READ_JSON: Final[_Read] = {
    pa.string(): _text,
    pa.int64(): _whole,
    pa.int32(): _whole,
    pa.float64(): _number,
    pa.float32(): _number,
    pa.bool_(): _truth,
    pa.date32(): lambda value: date.fromisoformat(_text(value)),
    pa.timestamp("us", tz="UTC"): _moment,
    pa.list_(pa.float32()): _numbers,
    pa.list_(pa.string()): _texts,
}
"""By type: how a value of a JSON line is read; raises where it is of another."""

_READ_TEXT: Final[_Read] = {
    **_READ_JSON,
    pa.int64(): lambda text: _whole(int(text)),
    pa.int32(): lambda text: _whole(int(text)),
    pa.float64(): _finite,
    pa.float32(): _finite,
    pa.bool_(): lambda text: {"true": True, "false": False}[text.lower()],
    pa.list_(pa.float32()): lambda text: _numbers(msgspec.json.decode(text)),
    pa.list_(pa.string()): lambda text: _texts(msgspec.json.decode(text)),
}
"""The same for a cell of CSV, which is text whatever it means."""
