"""A Raw file in blocks of whole lines, each line with its number and its place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from contracts.raw_columns import Lines, Places

BLOCK_BYTES = 4 << 20
"""Bytes that are read at once. What comes after the last line end waits for the next block."""

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
    for data in _whole_lines(stream):
        letters = np.frombuffer(data, np.uint8)
        breaks = np.flatnonzero(letters == ord("\n"))
        starts = np.concatenate([np.zeros(1, np.int64), breaks + 1])
        ends = np.append(breaks, len(data))
        if breaks.size and breaks[-1] == len(data) - 1:
            starts, ends = starts[:-1], ends[:-1]
        numbers = number + np.arange(len(starts))
        if offset == 0 and data.startswith(_BOM):
            starts[0] = len(_BOM)
        returned = (ends > starts) & (letters[ends - 1] == ord("\r"))
        lines = Lines(data, starts, ends - returned)
        filled = _filled(lines)
        yield RawBlock(
            Lines(data, starts[filled], lines.ends[filled]),
            numbers[filled],
            offset + starts[filled],
        )
        number, offset = number + len(breaks), offset + len(data)


def _whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    held: list[bytes] = []
    while chunk := stream.read(BLOCK_BYTES):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join([*held, memoryview(chunk)[:end]])
            held = [chunk[end:]] if end < len(chunk) else []
        else:
            held.append(chunk)
    if held:
        yield b"".join(held)


def _filled(lines: Lines) -> Places:
    """Return the places of lines that are not blank."""
    letters = np.frombuffer(lines.data, np.uint8)
    filled = lines.ends > lines.starts
    begun = np.zeros(len(lines), bool)
    begun[filled] = letters[lines.starts[filled]] > ord(" ")
    for place in np.flatnonzero(filled & ~begun).tolist():
        begun[place] = not lines[place].isspace()
    return np.flatnonzero(begun)
