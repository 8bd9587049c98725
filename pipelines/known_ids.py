"""The event ids that were seen before, in 16 bytes each, and which of a batch are new to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.raw_lines import Flags

Words = NDArray[np.uint64]

_ID_LETTERS = 36
_ODD = np.uint64(0x9E3779B97F4A7C15)
_NIBBLES = np.zeros(256, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_DIGITS = np.array([place for place in range(_ID_LETTERS) if place not in (8, 13, 18, 23)])


@dataclass(frozen=True, slots=True)
class _Ids:
    """Ids as two words each, which name an id together: sorted by the first, which nearly does."""

    mixed: Words
    low: Words

    def __len__(self) -> int:
        return len(self.mixed)

    def take(self, places: NDArray[np.int64] | Flags) -> _Ids:
        return _Ids(self.mixed[places], self.low[places])

    def sorted(self) -> _Ids:
        return self.take(np.argsort(self.mixed))

    def holds(self, other: _Ids) -> Flags:
        """Tell which of the others are among these."""
        found = np.zeros(len(other), bool)
        asked = np.arange(len(other))
        place = np.searchsorted(self.mixed, other.mixed)
        while asked.size:
            within = place < len(self)
            asked, place = asked[within], place[within]
            alike = self.mixed[place] == other.mixed[asked]
            asked, place = asked[alike], place[alike]
            found[asked[self.low[place] == other.low[asked]]] = True
            place = place + 1
        return found


class KnownIds:
    """A growing set of UUIDs, kept as sorted runs, each at least twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[_Ids] = []

    def add(self, ids: pa.Array) -> None:
        """Add UUIDs in their usual form: 36 letters, lower case."""
        self._keep(_as_words(ids).sorted())

    def admit(self, ids: pa.Array) -> Flags:
        """Tell which ids are neither known nor earlier among `ids`, and know them from now on."""
        words = _as_words(ids)
        order = np.argsort(words.mixed)
        if (words.mixed[order[1:]] == words.mixed[order[:-1]]).any():
            order = np.lexsort((words.low, words.mixed))  # equal ids in the order they came in
        ordered = words.take(order)
        fresh = ~_follows_its_equal(ordered)
        for run in self._runs:
            fresh &= ~run.holds(ordered)
        self._keep(ordered.take(fresh))
        admitted = np.empty(len(words), bool)
        admitted[order] = fresh
        return admitted

    def _keep(self, ids: _Ids) -> None:
        """Keep sorted ids, together with runs that are not much longer."""
        while self._runs and len(self._runs[-1]) < 2 * len(ids):
            last = self._runs.pop()
            mixed = np.concatenate([last.mixed, ids.mixed])
            ids = _Ids(mixed, np.concatenate([last.low, ids.low])).sorted()
        if len(ids):
            self._runs.append(ids)


def _as_words(ids: pa.Array) -> _Ids:
    """Read 128 bits as two words. Mixing the first keeps the pair unique, as its factor is odd."""
    if not len(ids):
        return _Ids(np.empty(0, np.uint64), np.empty(0, np.uint64))
    bounds = np.frombuffer(ids.buffers()[1], np.int32)[ids.offset :]
    letters = np.frombuffer(ids.buffers()[2], np.uint8)[bounds[0] : bounds[len(ids)]]
    digits = _NIBBLES[letters.reshape(len(ids), _ID_LETTERS)[:, _DIGITS]]
    pairs = np.ascontiguousarray(digits[:, ::2] << 4 | digits[:, 1::2])
    words = pairs.view(">u8").astype(np.uint64)
    return _Ids(words[:, 0] * _ODD + words[:, 1], words[:, 1].copy())


def _follows_its_equal(ids: _Ids) -> Flags:
    follows = np.zeros(len(ids), bool)
    follows[1:] = (ids.mixed[1:] == ids.mixed[:-1]) & (ids.low[1:] == ids.low[:-1])
    return follows
