"""Lines in one piece of bytes, and where each of them stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Places = NDArray[np.int64]
Letters = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines in one piece of bytes: where each begins, and where it ends without its line end."""

    data: bytes
    starts: Places
    ends: Places

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, place: int) -> bytes:
        return self.data[self.starts[place] : self.ends[place]]

    @property
    def letters(self) -> Letters:
        """The bytes as numbers."""
        return np.frombuffer(self.data, np.uint8)

    def at(self, places: Places) -> Lines:
        """Return the lines at some places, in a piece of bytes of their own."""
        lengths = self.ends[places] - self.starts[places]
        ends = np.cumsum(lengths + 1) - 1
        return Lines(b"\n".join(self[place] for place in places.tolist()), ends - lengths, ends)

    def part(self, begin: int, end: int) -> Lines:
        """Return the lines from place `begin` to before `end`."""
        return Lines(self.data, self.starts[begin:end], self.ends[begin:end])

    def holding(self, letters: Places) -> Flags:
        """Tell which lines hold at least one of some letters, given by where they stand."""
        flags = np.zeros(len(self), bool)
        line = np.searchsorted(self.starts, letters, side="right") - 1
        flags[line[(line >= 0) & (letters < self.ends[line])]] = True
        return flags


def is_utf8(data: bytes | memoryview) -> bool:
    """Tell whether bytes are UTF-8, all of them."""
    ends = pa.array([0, len(data)], pa.int32()).buffers()[1]
    try:
        pa.StringArray.from_buffers(1, ends, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
