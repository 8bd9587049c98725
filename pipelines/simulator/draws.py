"""Chance that is the same on every machine: raw Philox words and integer arithmetic.

The stream of the bit generator is fixed by its definition; numpy's own distributions may change
between releases and use floating point, so none of them is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

MILLION: Final = 1_000_000

_SHIFT = np.uint64(32)


class Draws:
    """One named stream of chance. Streams of different names know nothing of each other.

    >>> Draws(1, "a").below(3, 10).tolist() == Draws(1, "a").below(3, 10).tolist()
    True
    """

    def __init__(self, seed: int, *name: str | int) -> None:
        label = "/".join(map(str, (seed, *name)))
        digest = hashlib.sha256(label.encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def words(self, count: int) -> Words:
        """Return `count` words of 64 random bits."""
        words: Words = self._bits.random_raw(count)
        return words

    def below(self, count: int, bound: int | Ints) -> Ints:
        """Return integers from 0 up to, not including, `bound`, which fits in 31 bits."""
        limit = np.asarray(bound).astype(np.uint64)
        return ((self.words(count) >> _SHIFT) * limit >> _SHIFT).astype(np.int64)

    def between(self, count: int, low: int, high: int) -> Ints:
        """Return integers from `low` to `high`, both included."""
        return self.below(count, high - low + 1) + low

    def happens(self, count: int, per_million: int) -> Flags:
        """Return True as often as `per_million` says."""
        return self.below(count, MILLION) < per_million

    def pick(self, count: int, weights: Sequence[int] | Ints) -> Ints:
        """Return positions in `weights`, each as often as its weight says."""
        upto = np.cumsum(np.asarray(weights, dtype=np.int64))
        return np.searchsorted(upto, self.below(count, int(upto[-1])), side="right")


def uuids(draws: Draws, count: int) -> NDArray[np.uint8]:
    """Return the 16 bytes each of `count` random UUIDs (version 4)."""
    drawn = draws.words(2 * count).astype("<u8", copy=False)
    raw = drawn.view(np.uint8).reshape(count, 16).copy()
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    return raw


def written(raw: NDArray[np.uint8]) -> list[str]:
    """Return UUIDs as text.

    >>> written(np.zeros((1, 16), dtype=np.uint8))
    ['00000000-0000-0000-0000-000000000000']
    """
    text = np.full((len(raw), _UUID_LETTERS), ord("-"), dtype=np.uint8)
    text[:, _HIGH] = _DIGITS[raw >> 4]
    text[:, _HIGH + 1] = _DIGITS[raw & 15]
    whole = text.tobytes().decode("ascii")
    return [whole[at : at + _UUID_LETTERS] for at in range(0, len(whole), _UUID_LETTERS)]


_UUID_LETTERS = 36
_DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_HIGH = np.array([0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34])
