"""Whether bytes are UTF-8 text, and what they seem to be where they are not."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass, field

import numpy as np

from contracts.raw_lines import is_utf8

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_HEAD_BYTES = 4096
_MOSTLY = 0.3
_ONLY_WINDOWS = re.compile(rb"[\x80-\x9f]")
_TOLERATED_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """The first line that is not UTF-8: its number from 1, the byte of the file, what it seems."""

    number: int
    offset: int
    encoding: str


@dataclass(slots=True)
class Utf8Check:
    """Follows a text, block of whole lines by block, and counts what is not UTF-8.

    `proper` counts the lines that hold letters beyond ASCII, rightly written.
    """

    lines: int = 0
    broken: int = 0
    proper: int = 0
    first: BrokenLine | None = field(default=None)
    _bytes: int = 0

    def feed(self, block: bytes) -> None:
        """Take up the next lines, whole but for the last of the file."""
        wide = seems_wide(block) if self._bytes == 0 else None
        if wide is not None:
            self.first = self.first or BrokenLine(1, 0, wide)
        if block.isascii():
            self.lines += _count_lines(block)
        elif is_utf8(block):
            lines, proper = _count_lines_beyond_ascii(block)
            self.lines += lines
            self.proper += proper
        else:
            self._line_by_line(block)
        self._bytes += len(block)

    @property
    def is_of_another_encoding(self) -> bool:
        """Whether the whole is written otherwise, and not UTF-8 with a few lines broken."""
        if self.first is None:
            return False
        if self.first.encoding.startswith("UTF"):
            return True
        return self.broken > self.proper and self.broken > self.lines * _TOLERATED_SHARE

    def _line_by_line(self, block: bytes) -> None:
        offset = self._bytes
        for line in io.BytesIO(block):
            self.lines += 1
            try:
                line.decode()
                self.proper += not line.isascii()
            except UnicodeDecodeError as error:
                self.broken += 1
                found = BrokenLine(self.lines, offset + error.start, _one_byte_encoding(line))
                self.first = self.first or found
            offset += len(line)


def seems_wide(head: bytes) -> str | None:
    """Name the encoding of two or four bytes a letter that a text begins in; None for others.

    >>> seems_wide("hola".encode("utf-16-be"))
    'UTF-16BE'
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    begin = head[:_HEAD_BYTES]
    for start, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        letters = begin[start::2]
        if letters.count(0) > len(letters) * _MOSTLY:
            return name
    return None


def _one_byte_encoding(line: bytes) -> str:
    return "WINDOWS-1252" if _ONLY_WINDOWS.search(line) else "ISO-8859-1"


def _count_lines(block: bytes) -> int:
    return block.count(b"\n") + (not block.endswith(b"\n"))


def _count_lines_beyond_ascii(block: bytes) -> tuple[int, int]:
    """Count the lines, and those of them that hold letters beyond ASCII."""
    letters = np.frombuffer(block, np.uint8)
    breaks = np.flatnonzero(letters == ord("\n"))
    starts = np.append(0, breaks[breaks < len(letters) - 1] + 1)
    highest = np.maximum.reduceat(letters, starts)
    return len(starts), int(np.count_nonzero(highest > ord("\x7f")))
