"""A Raw file in blocks of whole lines, each line with its number and its place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from contracts.raw_lines import Lines, Places
from lakehouse.errors import InputError

BLOCK_BYTES = 4 << 20
"""Bytes that are read at once. What comes after the last line end waits for the next block."""

LONGEST_LINE = 64 << 20

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawBlock:
    """The lines of a block that are not blank: their numbers, from 1, and where each begins."""

    lines: Lines
    numbers: Places
    offsets: Places


def raw_blocks(stream: BinaryIO) -> Iterator[RawBlock]:
    """Cut a file into blocks, in order; a byte order mark before the first line is left out.

    The same bytes are always cut at the same places.
    """
    number, offset = 1, 0
    for data in whole_lines(stream):
        lines = _lines(data)
        if offset == 0 and data.startswith(_BOM):
            lines.starts[0] = len(_BOM)
        filled = _filled(lines)
        kept = Lines(data, lines.starts[filled], lines.ends[filled])
        yield RawBlock(kept, number + filled, offset + kept.starts)
        number, offset = number + len(lines), offset + len(data)


def count_filled(data: bytes) -> int:
    """Count the lines that are not blank."""
    return len(_filled(_lines(data)))


def whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Read blocks that end with a line; the last may end without a line end.

    Raises `InputError` at a line longer than `LONGEST_LINE`, so that memory stays bounded.
    """
    held: list[bytes] = []
    read = 0
    while chunk := stream.read(BLOCK_BYTES):
        read += len(chunk)
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join([*held, memoryview(chunk)[:end]])
            held = [chunk[end:]] if end < len(chunk) else []
        else:
            held.append(chunk)
            _require_bearable(sum(map(len, held)), read)
    if held:
        yield b"".join(held)


def _require_bearable(length: int, read: int) -> None:
    if length > LONGEST_LINE:
        msg = (
            f"the line that begins at byte {read - length} is longer than "
            f"{LONGEST_LINE >> 20} MB; expected one record a line"
        )
        raise InputError(msg)


def _lines(data: bytes) -> Lines:
    letters = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(letters == ord("\n"))
    begun = not data.endswith(b"\n")
    ends = np.append(breaks, len(data)) if begun else breaks
    starts = np.zeros(len(ends), np.int64)
    starts[1:] = ends[:-1] + 1
    returned = (ends > starts) & (letters[ends - 1] == ord("\r"))
    return Lines(data, starts, ends - returned)


def _filled(lines: Lines) -> Places:
    """Return the places of lines that are not blank."""
    letters = np.frombuffer(lines.data, np.uint8)
    filled = lines.ends > lines.starts
    begun = np.zeros(len(lines), bool)
    begun[filled] = letters[lines.starts[filled]] > ord(" ")
    for place in np.flatnonzero(filled & ~begun).tolist():
        begun[place] = not lines[place].isspace()
    return np.flatnonzero(begun)
