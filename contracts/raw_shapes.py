"""The shapes that event lines are written in.

Whoever writes events writes a few kinds of line over and over: the same names in the same order,
with other values between. A line that `decode_event` accepts is parted into its values and what
stands around them; a line with the very same bytes around its values has the same fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from contracts.pqrs import EventType
from contracts.raw import BrokenLineError, decode_event

Path = tuple[bytes, ...]
"""The names of the fields on the way down to a value."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NUMBER: Final = re.compile(rb":[ \t]*(-?[0-9][0-9.eE+-]*)")
_PART_OF_SHAPE: Final = ((b"event_type",), (b"schema_version",))


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a value begins or ends: bytes from a quotation mark, else (None) from the line's end.

    Quotation marks of a line are counted from 0, without those that are escaped.
    """

    quote: int | None
    distance: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What lines of a shape share: their pieces are fixed and values in turns, fixed at both ends.

    `pieces` names the piece of every value by its path; `numbers` are those that are no texts.
    """

    kind: EventType
    quotes: int
    edges: tuple[Edge, ...]
    fixed: tuple[bytes, ...]
    pieces: Mapping[Path, int]
    numbers: tuple[int, ...]

    @property
    def bounds(self) -> int:
        """How many bounds its pieces have."""
        return len(self.edges) + 2


def shape_of(line: bytes) -> Shape | None:
    """Return the shape of an event. None where it is none, holds a list, or a name twice."""
    try:
        event = decode_event(line)
    except BrokenLineError:
        return None
    strings = [found.span() for found in _STRING.finditer(line)]
    try:
        values = [*_values(line, strings)]
    except _NoShapeError:
        return None
    bounds = [0, *(bound for value in values for bound in value.span), len(line)]
    return Shape(
        kind=EventType(str(event.__struct_config__.tag)),
        quotes=2 * len(strings),
        edges=tuple(edge for value in values for edge in value.edges),
        fixed=tuple(line[bounds[at] : bounds[at + 1]] for at in range(0, len(bounds), 2)),
        pieces={value.path: 2 * at + 1 for at, value in enumerate(values)},
        numbers=tuple(2 * at + 1 for at, value in enumerate(values) if value.is_number),
    )


class _NoShapeError(Exception):
    """A line whose values do not stand at places of their own."""


@dataclass(frozen=True, slots=True)
class _Value:
    path: Path
    span: tuple[int, int]
    edges: tuple[Edge, Edge]
    is_number: bool = False


def _values(line: bytes, strings: list[tuple[int, int]]) -> Iterator[_Value]:
    """Find texts and numbers in JSON that is whole, in order, each between two edges."""
    above = [b""]
    named: set[Path] = set()
    name = b""
    ends = [begin for begin, _ in strings[1:]] + [len(line)]
    for number, ((begin, end), following) in enumerate(zip(strings, ends, strict=True)):
        between = line[end:following]
        if b"[" in between:
            raise _NoShapeError
        path = (*above[1:], name)
        if between.lstrip().startswith(b":"):
            name = line[begin + 1 : end - 1]
            path = (*above[1:], name)
            if path in named or b"\\" in name:
                raise _NoShapeError
            named.add(path)
            found = _NUMBER.match(between)
            if found is not None:
                first, last = (end + place for place in found.span(1))
                is_last = number + 1 == len(strings)
                until = Edge(None if is_last else 2 * number + 2, last - following)
                edges = Edge(2 * number + 1, first - end + 1), until
                yield _Value(path, (first, last), edges, is_number=True)
        elif path not in _PART_OF_SHAPE:
            edges = Edge(2 * number, 1), Edge(2 * number + 1, 0)
            yield _Value(path, (begin + 1, end - 1), edges)
        for letter in between:
            if letter == ord("{"):
                above.append(name)
            elif letter == ord("}"):
                above.pop()
