"""Many lines of few shapes read at once, column by column.

Shapes are learned from the lines themselves. Of every line that is taken, each byte around its
values was compared with a line that `decode_event` accepted, and each value with what its field
may say. No other is taken: what it may be is for others to find out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts.raw import SCHEMA_VERSION
from contracts.raw_fields import (
    EVENT_COLUMNS,
    FIELDS,
    MOMENT,
    PRINTABLE,
    RFC3339,
    TEXT_LEN,
    RawField,
)
from contracts.raw_lines import Flags, Lines, Places, is_utf8
from contracts.raw_shapes import Path, Shape, shape_of

Bounds = NDArray[np.int32]

_MOST_SHAPES: Final = 24
"""Shapes that are learned from one block of lines. What has more is no machine's usual hand."""

_COUNT: Final = "^(?:0|[1-9][0-9]{0,14})$"
_SIZE: Final = r"^(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?$"
"""Numbers that leave no doubt: not below zero, in few enough digits for any decoder."""

_HEAD: Final = ("event_id", "ticket_id", "tenant_id", "ts")
_PATHS: Final[dict[str, Path]] = {
    **{name: (name.encode(),) for name in _HEAD},
    **{field.name: (b"data", field.name.encode()) for field in FIELDS},
}
_COUNTED: Final = (b"data", TEXT_LEN.encode())
_FREE: Final = (
    "tenant_id",
    *(field.name for field in FIELDS if not field.allowed and not field.is_number),
)
"""Columns whose texts may hold anything, escapes too. In others an escape is a reason to doubt."""

_UUID_LETTERS: Final = 36
_DASHES: Final = [8, 13, 18, 23]

_strings: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[str])


def read_shaped(lines: Lines) -> tuple[pa.Table, Flags]:
    """Return rows of `EVENT_COLUMNS` and, line by line, whether it is among them; in order."""
    groups = [*_groups(lines)]
    taken = np.zeros(len(lines), bool)
    for group in groups:
        taken[group.places] = True
    if not taken.any():
        return EVENT_COLUMNS.empty_table(), taken
    rows, sure = _Gathering(lines, groups, np.flatnonzero(taken)).columns()
    if not sure.all():
        rows = rows.filter(pa.array(sure))
        taken[taken] = sure
    return rows, taken


@dataclass(frozen=True, slots=True)
class _Group:
    """Lines of a shape, in order. `bounds` has a row for every bound of their pieces."""

    shape: Shape
    places: Places
    bounds: Bounds
    escaped: Flags

    def of(self, fits: Flags) -> _Group:
        """Return those of the lines that fit."""
        if fits.all():
            return self
        return _Group(self.shape, self.places[fits], self.bounds[:, fits], self.escaped[fits])


@dataclass(frozen=True, slots=True)
class _Marks:
    """Where quotation marks stand that are no letters of a text; of a line, the first and how many.

    `escaped` are the lines with escapes; `plain` those that can be told by their marks.
    """

    places: Bounds
    first: Places
    count: Places
    escaped: Flags
    plain: Flags


def _groups(lines: Lines) -> Iterator[_Group]:
    """Learn shapes from lines until none is left, or the rest seems to have none in common."""
    marks = _marks(lines)
    waiting = np.flatnonzero(marks.plain)
    learned = 0
    while waiting.size and learned < _MOST_SHAPES:
        shape = shape_of(lines[int(waiting[0])])
        if shape is None:
            waiting = waiting[1:]
            continue
        group = _of_shape(lines, marks, shape, waiting[marks.count[waiting] == shape.quotes])
        yield group
        learned += 1
        left = np.ones(len(waiting), bool)
        left[np.searchsorted(waiting, group.places)] = False
        left[0] = False
        waiting = waiting[left]


def _marks(lines: Lines) -> _Marks:
    letters = lines.letters
    quotes = letters == ord('"')
    slashes = np.flatnonzero(letters == ord("\\"))
    quotes[slashes[slashes + 1 < len(quotes)] + 1] = False
    doubled = slashes[1:][slashes[1:] == slashes[:-1] + 1]
    controls = np.flatnonzero(letters < ord(" "))
    controls = controls[letters[controls] != ord("\n")]
    plain = ~(lines.holding(doubled) | lines.holding(controls)) & _are_texts(lines)
    places = np.flatnonzero(quotes).astype(np.int32)
    first = np.searchsorted(places, lines.starts.astype(np.int32))
    count = np.diff(first, append=len(places))
    return _Marks(places, first, count, lines.holding(slashes), plain)


def _are_texts(lines: Lines) -> Flags:
    """Tell which lines are UTF-8."""
    flags = np.ones(len(lines), bool)
    if not is_utf8(lines.data):
        wide = lines.holding(np.flatnonzero(lines.letters > ord("\x7f")))
        flags[wide] = [is_utf8(lines[place]) for place in np.flatnonzero(wide).tolist()]
    return flags


def _of_shape(lines: Lines, marks: _Marks, shape: Shape, places: Places) -> _Group:
    """Return which of some lines are of a shape."""
    if _has_strangers(shape):  # nobody looks at escapes in texts that no column takes
        places = places[~marks.escaped[places]]
    bounds = np.empty((shape.bounds, len(places)), np.int32)
    first = marks.first[places]
    bounds[0], bounds[-1] = lines.starts[places], lines.ends[places]
    for row, edge in enumerate(shape.edges, start=1):
        begin = bounds[-1] if edge.quote is None else marks.places.take(first + edge.quote)
        np.add(begin, edge.distance, out=bounds[row])
    lengths = bounds[1:] - bounds[:-1]
    fixed = np.array([[len(piece)] for piece in shape.fixed])
    fits = (lengths[::2] == fixed).all(axis=0) & (lengths[1::2] >= 0).all(axis=0)
    group = _Group(shape, places, bounds, marks.escaped[places]).of(fits)
    group = group.of(_around_is_right(lines, group))
    for piece in shape.numbers:
        form = _COUNT if shape.pieces.get(_COUNTED) == piece else _SIZE
        numbers = _texts(lines, group.bounds[piece], group.bounds[piece + 1])
        group = group.of(_flags(pc.match_substring_regex(numbers, form)))
    return group


def _columns_of(shape: Shape) -> dict[str, int]:
    """Name the columns that a shape has values for, each with its piece."""
    names = {*_HEAD, *(field.name for field in FIELDS if shape.kind in field.kinds)}
    return {
        name: shape.pieces[path]
        for name, path in _PATHS.items()
        if name in names and path in shape.pieces
    }


def _has_strangers(shape: Shape) -> bool:
    """Tell whether texts stand in a shape that no column takes."""
    return bool({*shape.pieces.values()} - {*_columns_of(shape).values(), *shape.numbers})


def _texts(lines: Lines, begins: Bounds, ends: Bounds) -> pa.StringArray:
    """Copy parts of the bytes, in order and none within another, as texts."""
    if not len(begins):
        return pa.array([], pa.string())
    bounds = np.ravel(np.column_stack((begins, ends)))
    return _between(lines, bounds).take(pa.array(np.arange(0, len(bounds), 2, dtype=np.uint32)))


def _between(lines: Lines, bounds: Bounds) -> pa.StringArray:
    """See bytes as texts, from each bound to the next."""
    data = pa.py_buffer(lines.data)
    return pa.StringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), data)


def _around_is_right(lines: Lines, group: _Group) -> Flags:
    """Compare what stands around the values with the shape, byte by byte."""
    size, count = group.bounds.shape
    if not count:
        return np.ones(0, bool)
    pieces = _between(lines, np.ascontiguousarray(group.bounds.T).ravel())
    lines_begin = np.arange(0, size * count, size, dtype=np.uint32)
    fixed = lines_begin[:, np.newaxis] + np.arange(0, size, 2, dtype=np.uint32)
    found = pieces.take(pa.array(fixed.ravel()))
    around = np.frombuffer(b"".join(group.shape.fixed), np.uint8)
    letters = np.frombuffer(found.buffers()[2], np.uint8)[: count * len(around)]
    same = letters.reshape(count, len(around)) == around
    return np.ones(count, bool) if same.all() else same.all(axis=1)


class _Gathering:
    """Gathers values of all groups column by column, and doubts what is not right for certain."""

    def __init__(self, lines: Lines, groups: Sequence[_Group], places: Places) -> None:
        self._lines = lines
        self._groups = groups
        self._count = len(places)
        self._rows = [np.searchsorted(places, group.places) for group in groups]
        self._pieces = [_columns_of(group.shape) for group in groups]
        self._sure = np.ones(len(places), bool)

    def columns(self) -> tuple[pa.Table, Flags]:
        """Return all columns, and which rows keep the contract beyond doubt."""
        kind = np.empty(self._count, np.int8)
        for number, rows in enumerate(self._rows):
            kind[rows] = number
        kinds = pa.array([group.shape.kind.value for group in self._groups], pa.string())
        columns = {
            "event_type": kinds.take(pa.array(kind)),
            "schema_version": pa.repeat(pa.scalar(SCHEMA_VERSION), self._count),
            **{name: self._ids(name) for name in ("event_id", "ticket_id")},
            "ts": self._moments(),
            "tenant_id": self._column("tenant_id"),
            **{field.name: self._column(field.name, field) for field in FIELDS},
        }
        rows = pa.table([columns[name] for name in EVENT_COLUMNS.names], schema=EVENT_COLUMNS)
        return rows, self._sure

    def _ids(self, name: str) -> pa.Array:
        rows, ids = self._values(name)
        self._doubt(rows, _are_uuids(ids))
        return ids

    def _moments(self) -> pa.Array:
        rows, moments = self._values("ts")
        right = _flags(pc.match_substring_regex(moments, RFC3339))
        self._doubt(rows, right)
        known = moments if right.all() else pc.if_else(pa.array(right), moments, None)
        return known.cast(MOMENT)

    def _column(self, name: str, field: RawField | None = None) -> pa.Array:
        rows, values = self._values(name)
        if field is not None:
            self._doubt(rows, _are_right(field, values))
            values = values.cast(field.kind)
        return _spread(values, rows, self._count)

    def _doubt(self, rows: Places, right: Flags) -> None:
        if not right.all():
            self._sure[rows[~right]] = False

    def _values(self, name: str) -> tuple[Places, pa.Array]:
        """Return the texts of a column, and the rows that have one."""
        begins, ends = np.zeros((2, self._count), np.int32)
        given, escaped = np.zeros((2, self._count), bool)
        for group, rows, pieces in zip(self._groups, self._rows, self._pieces, strict=True):
            if name in pieces:
                begins[rows] = group.bounds[pieces[name]]
                ends[rows] = group.bounds[pieces[name] + 1]
                given[rows] = True
                escaped[rows] = group.escaped
        rows = np.flatnonzero(given)
        values = _texts(self._lines, begins[rows], ends[rows])
        if name not in _FREE or not escaped.any():
            return rows, values
        values, read = _unescaped(values, escaped[rows])
        self._doubt(rows, read)
        return rows, values


def _spread(values: pa.Array, rows: Places, count: int) -> pa.Array:
    """Give values their rows among others that have none."""
    if len(rows) == count:
        return values
    if not len(rows):
        return pa.nulls(count, values.type)
    given = np.zeros(count, bool)
    given[rows] = True
    validity = pa.py_buffer(np.packbits(given, bitorder="little"))
    if not pa.types.is_string(values.type):
        numbers = np.zeros(count, np.float64)
        numbers[rows] = values.to_numpy()
        return pa.Array.from_buffers(values.type, count, [validity, pa.py_buffer(numbers)])
    lengths = np.zeros(count + 1, np.int32)
    lengths[rows + 1] = np.diff(np.frombuffer(values.buffers()[1], np.int32)[: len(rows) + 1])
    bounds = pa.py_buffer(np.cumsum(lengths, dtype=np.int32))
    return pa.StringArray.from_buffers(count, bounds, values.buffers()[2], validity)


def _unescaped(values: pa.Array, escaped: Flags) -> tuple[pa.Array, Flags]:
    """Read the escapes of texts as `decode_event` does, and tell which rows could be read."""
    read = np.ones(len(values), bool)
    places = np.flatnonzero(escaped)
    some = values.take(pa.array(places))
    holds = _flags(pc.match_substring(some, "\\"))
    if not holds.any():
        return values, read
    places = places[holds]
    texts = some.filter(pa.array(holds)).cast(pa.binary()).to_pylist()
    try:
        plain = pa.array(_strings.decode(b'["' + b'","'.join(texts) + b'"]'), pa.string())
    except (msgspec.DecodeError, UnicodeError):
        plain = pa.repeat("", len(places))
        read[places] = False
    replaced = np.zeros(len(values), bool)
    replaced[places] = True
    return pc.replace_with_mask(values, pa.array(replaced), plain), read


def _are_uuids(values: pa.Array) -> Flags:
    """Tell which texts are UUIDs in their usual form: 36 letters, lower case."""
    sized = _flags(pc.equal(pc.binary_length(values), _UUID_LETTERS))
    whole = values if sized.all() else values.filter(pa.array(sized))
    letters = np.frombuffer(whole.buffers()[2] or b"", np.uint8)[: len(whole) * _UUID_LETTERS]
    letters = letters.reshape(len(whole), _UUID_LETTERS)
    right = (letters - np.uint8(ord("0")) < 10) | (letters - np.uint8(ord("a")) < 6)
    right[:, _DASHES] = letters[:, _DASHES] == ord("-")
    if not right.all():
        sized[sized] = right.all(axis=1)
    return sized


def _are_right(field: RawField, values: pa.Array) -> Flags:
    """Tell which texts a field may hold beyond doubt."""
    if field.allowed:
        allowed = pa.array([str(value) for value in field.allowed], pa.string())
        return _flags(pc.is_in(values, value_set=allowed))
    if field.name == "text":
        return _flags(pc.match_substring_regex(values, PRINTABLE))
    if field.required:
        return _flags(pc.greater(pc.binary_length(values), 0))
    return np.ones(len(values), bool)


def _flags(values: pa.Array) -> Flags:
    flags: Flags = values.to_numpy(zero_copy_only=False)
    return flags
