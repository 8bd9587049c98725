"""Raw lines into columns: the contract of `contracts.raw`, held against thousands of lines at once.

Most lines share a few shapes, and `contracts.raw_shaped` takes those. Of others Arrow reads as many
as it can in bulk, and what it read is compared with the contract column by column. Only a line that
passes beyond doubt is taken in either way; every other goes to `contracts.raw.decode_event`, which
alone refuses, and alone says why. So all ways accept the same lines, with the same values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from contracts.pqrs import EventType
from contracts.raw import SCHEMA_VERSION, BrokenLineError, decode_event
from contracts.raw_fields import (
    EVENT_COLUMNS,
    FIELDS,
    HEAD,
    MOMENT,
    PRINTABLE,
    RFC3339,
    TEXT_LEN,
    RawField,
)
from contracts.raw_lines import Flags, Lines, Places, is_utf8
from contracts.raw_shaped import read_shaped

_RETRIED_LINES: Final = 200
"""How many lines are tried again together, where a bulk of lines could not be read at once."""


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """What lines became. `rows` has `EVENT_COLUMNS`; its row n is the line at place `places[n]`.

    `refused` holds the places of the other lines, each with its reason.
    """

    rows: pa.Table
    places: Places
    refused: Sequence[tuple[int, str]]


def read_events(lines: Lines) -> ReadEvents:
    """Read lines, none of them blank: exactly what `decode_event` says of each, in less time."""
    rows, taken = read_shaped(lines)
    if taken.all():
        return ReadEvents(rows, np.arange(len(lines)), [])
    others = np.flatnonzero(~taken)
    read = _read_others(lines.at(others))
    refused = sorted((int(others[place]), reason) for place, reason in read.refused)
    return _in_order(
        [
            ReadEvents(rows, np.flatnonzero(taken), refused),
            ReadEvents(read.rows, others[read.places], []),
        ]
    )


def _read_others(lines: Lines) -> ReadEvents:
    """Read lines of any shape."""
    found = _parsed(lines)
    return _in_order([*_taken(lines, found)] if found is not None else [*_winnowed(lines)])


def _in_order(parts: Sequence[ReadEvents]) -> ReadEvents:
    refused = [broken for part in parts for broken in part.refused]
    filled = [part for part in parts if len(part.rows)]
    if len(filled) <= 1:
        own = filled[0] if filled else parts[0]
        return ReadEvents(own.rows, own.places, refused)
    places = np.concatenate([part.places for part in filled])
    order = np.argsort(places)
    rows = pa.concat_tables([part.rows for part in filled]).take(pa.array(order))
    return ReadEvents(rows, places[order], refused)


def _taken(lines: Lines, found: _Parsed) -> Iterator[ReadEvents]:
    """Take what keeps the contract beyond doubt, and have the other lines judged."""
    sure = _sure(found.rows, lines)
    if found.with_others:
        sure &= ~_odd(lines)
    kept = found.rows if sure.all() else found.rows.filter(pa.array(sure))
    yield ReadEvents(_typed(kept), np.flatnonzero(sure), [])
    if not sure.all():
        yield _judged(lines, np.flatnonzero(~sure))


def _winnowed(lines: Lines) -> Iterator[ReadEvents]:
    """Leave out what `decode_event` refuses, which may be one line, and read the rest in bulk."""
    accepted = []
    refused = []
    for place in range(len(lines)):
        try:
            decode_event(lines[place])
            accepted.append(place)
        except BrokenLineError as error:
            refused.append((place, str(error)))
    yield ReadEvents(EVENT_COLUMNS.empty_table(), np.zeros(0, np.int64), refused)
    places = np.array(accepted, np.int64)
    for part in _read(lines.at(places), 0, len(places)):
        yield ReadEvents(part.rows, places[part.places], part.refused)


def _read(lines: Lines, begin: int, end: int) -> Iterator[ReadEvents]:
    """Read lines that `decode_event` accepts: together, else some at a time, else one by one."""
    part = lines.part(begin, end)
    found = _parsed(part)
    if found is not None:
        for taken in _taken(part, found):
            yield ReadEvents(taken.rows, begin + taken.places, taken.refused)
    elif end - begin > _RETRIED_LINES:
        for first in range(begin, end, _RETRIED_LINES):
            yield from _read(lines, first, min(first + _RETRIED_LINES, end))
    else:
        yield _judged(lines, np.arange(begin, end))


def _judged(lines: Lines, places: Places) -> ReadEvents:
    """Ask `decode_event` line by line; what it accepts is written anew, as Arrow can read it."""
    accepted: list[int] = []
    clean: list[bytes] = []
    refused = []
    for place in places.tolist():
        try:
            clean.append(msgspec.json.encode(decode_event(lines[place])))
            accepted.append(place)
        except BrokenLineError as error:
            refused.append((place, str(error)))
    rows = _typed(_columns(b"\n".join(clean), _CLEAN)) if clean else EVENT_COLUMNS.empty_table()
    return ReadEvents(rows, np.array(accepted, np.int64), refused)


def _parse_options(
    head: Sequence[str], *more: tuple[str, pa.DataType], others: str
) -> pj.ParseOptions:
    data = pa.struct([*((field.name, field.kind) for field in FIELDS), *more])
    schema = pa.schema([*((name, pa.string()) for name in (*head, "ts")), ("data", data)])
    return pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others)


_WITHOUT_VERSION: Final = tuple(name for name in HEAD if name != "schema_version")
_COUNTED: Final = (TEXT_LEN, pa.int64())
_STRICT: Final = (
    _parse_options(_WITHOUT_VERSION, _COUNTED, others="error"),
    _parse_options(HEAD, _COUNTED, others="error"),
)
_LENIENT: Final = _parse_options(HEAD, _COUNTED, others="ignore")
_CLEAN: Final = _parse_options(HEAD, others="ignore")


def _columns(data: bytes | memoryview, options: pj.ParseOptions) -> pa.Table:
    """Let Arrow read objects, one after the other; the fields of `data` become columns."""
    whole = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
    table = pj.read_json(pa.py_buffer(data), read_options=whole, parse_options=options)
    nested = table["data"].combine_chunks()
    head = (name for name in table.column_names if name != "data")
    columns = {name: table[name].combine_chunks() for name in head}
    columns["has_data"] = nested.is_valid()
    fields = zip(nested.type.names, nested.flatten(), strict=True)
    return pa.table({**columns, **dict(fields)})


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A row a line. `with_others` where lines may hold fields that the contract does not name."""

    rows: pa.Table
    with_others: bool


def _parsed(lines: Lines) -> _Parsed | None:
    """Read lines in bulk, in order. None where a row a line cannot be had for certain.

    Every line begins with a brace and ends with one, and only between two objects can a line end
    stand between such: so there is an object a line at least, and as many rows as lines means one.
    """
    if len(lines) == 0:
        return None
    data = memoryview(lines.data)[lines.starts[0] : lines.ends[-1]]
    letters = np.frombuffer(lines.data, np.uint8)
    braced = (letters[lines.starts] == ord("{")) & (letters[lines.ends - 1] == ord("}"))
    if not braced.all() or not _is_text(data):
        return None
    for options in (*_STRICT, _LENIENT):
        try:
            found = _columns(data, options)
        except pa.ArrowInvalid:
            continue
        whole = len(found) == len(lines)
        return _Parsed(found, with_others=options is _LENIENT) if whole else None
    return None


def _is_text(data: memoryview) -> bool:
    """Tell whether bytes are UTF-8, all of them, and none is zero, at which Arrow stops."""
    return is_utf8(data) and bool(np.frombuffer(data, np.uint8).all())


_UUID: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_SAYS_SCHEMA_VERSION: Final = r"schema_version|\\u00[567]"
"""A line may name the field in escapes, of which its letters take these."""


def _sure(found: pa.Table, lines: Lines) -> Flags:
    """Tell which rows keep the contract beyond doubt."""
    kinds = {kind: _flags(pc.equal(found["event_type"], kind.value)) for kind in EventType}
    sure = np.logical_or.reduce(list(kinds.values())) & _flags(found["has_data"])
    for name in ("event_id", "ticket_id"):
        sure &= _flags(pc.match_substring_regex(found[name], _UUID))
    sure &= _flags(pc.match_substring_regex(found["ts"], RFC3339))
    for field in FIELDS:
        sure &= _field_is_sure(field, found[field.name], kinds)
    sure &= _flags(pc.greater(pc.binary_length(found["external_id"]), 0), absent=True)
    sure &= _flags(pc.greater(pc.binary_length(found["file_type"]), 0), absent=True)
    sure &= _flags(pc.match_substring_regex(found["text"], PRINTABLE), absent=True)
    sure &= _flags(pc.greater_equal(found[TEXT_LEN], 0), absent=True)
    size = found["size_kb"]
    sure &= _flags(pc.and_(pc.is_finite(size), pc.greater_equal(size, 0)), absent=True)
    if "schema_version" in found.column_names:
        sure &= _version_is_sure(found["schema_version"], lines)
    return sure


def _flags(flags: pa.ChunkedArray, *, absent: bool = False) -> Flags:
    """Return flags as numpy has them, those of a row without value as `absent`."""
    filled: Flags = flags.fill_null(absent).combine_chunks().to_numpy(zero_copy_only=False)
    return filled


def _field_is_sure(
    field: RawField, values: pa.ChunkedArray, kinds: dict[EventType, Flags]
) -> Flags:
    given = _flags(values.is_valid())
    missing = ~given & np.logical_or.reduce([kinds[kind] for kind in field.required] or [~given])
    stray = given & ~np.logical_or.reduce([kinds[kind] for kind in field.kinds])
    unsure = stray | missing if field.required else stray
    if field.allowed:
        allowed = pa.array(list(field.allowed), pa.string())
        unsure |= given & ~_flags(pc.is_in(values, value_set=allowed))
    return ~unsure


def _version_is_sure(versions: pa.ChunkedArray, lines: Lines) -> Flags:
    """A version that is absent is right, one that is null is not, and Arrow reads both alike."""
    right = _flags(pc.equal(versions, SCHEMA_VERSION))
    absent = _flags(versions.is_null())
    if not absent.any():
        return right
    begin, end = int(lines.starts[0]), int(lines.ends[-1])
    if lines.data.find(b"schema_version", begin, end) >= 0 or _has_escapes(lines.data, begin, end):
        places = np.flatnonzero(absent)
        named = pa.array([lines[place] for place in places.tolist()], pa.binary())
        says = pc.match_substring_regex(named, _SAYS_SCHEMA_VERSION)
        absent[places] = ~says.to_numpy(zero_copy_only=False)
    return right | absent


def _has_escapes(data: bytes, begin: int, end: int) -> bool:
    r"""Tell whether a letter may be written as `\u` and its number."""
    letters = np.frombuffer(data, np.uint8)
    slashes = begin + np.flatnonzero(letters[begin:end] == ord("\\"))
    return bool((letters[slashes + 1] == ord("u")).any())


_DEEP: Final = 100
"""An event has two levels. Arrow reads any number of them, `decode_event` some hundreds."""

_DELIMITERS: Final = np.frombuffer(b",]} \t\ri", np.uint8)
"""What may follow a number, and the letter that makes an infinity of `Inf`."""


def _odd(lines: Lines) -> Flags:
    """Tell which lines might hold what Arrow reads and JSON forbids, or nest very deeply."""
    begin = int(lines.starts[0])
    letters = np.frombuffer(lines.data, np.uint8)[begin : int(lines.ends[-1])]
    opens = begin + np.flatnonzero((letters == ord("{")) | (letters == ord("[")))
    no_numbers = begin + _no_numbers(letters)
    odd: Flags = (_within(lines, opens) > _DEEP) | (_within(lines, no_numbers) > 0)
    return odd


def _no_numbers(letters: NDArray[np.uint8]) -> Places:
    """Return where `NaN`, `Inf` or `Infinity` may stand as if they were numbers."""
    found = np.flatnonzero((letters == ord("N")) | (letters == ord("I")))
    found = found[found < len(letters) - 3]
    first, second, third = (letters[found + step] for step in range(3))
    nan = (first == ord("N")) & (second == ord("a")) & (third == ord("N"))
    infinite = (first == ord("I")) & (second == ord("n")) & (third == ord("f"))
    found = found[nan | infinite]
    delimited: Places = found[np.isin(letters[found + 3], _DELIMITERS)]
    return delimited


def _within(lines: Lines, places: Places) -> Places:
    """Count, for every line, the places that lie in it."""
    counts: Places = np.searchsorted(places, lines.ends) - np.searchsorted(places, lines.starts)
    return counts


def _typed(found: pa.Table) -> pa.Table:
    """Give rows that keep the contract their types; an absent version is the one there is."""
    typed = {
        **{name: found[name] for name in found.column_names},
        "ts": found["ts"].cast(MOMENT),
        "schema_version": pa.repeat(pa.scalar(SCHEMA_VERSION), len(found)),
    }
    return pa.table([typed[name] for name in EVENT_COLUMNS.names], schema=EVENT_COLUMNS)
