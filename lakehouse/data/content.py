"""The content of a table as one short text: equal rows in any order, files or chunks give it again.

The algorithm, `plata-content-1`, is fixed and written down here, so that a hash outlives the
version of every library. All arithmetic is on unsigned 64-bit words, modulo 2**64.

- `mix` is the finalizer of SplitMix64, and `c(k) = mix((k + 1) * 0x9E3779B97F4A7C15) | 1`.
- A value becomes words: an integer, date, moment or truth value is one word (days, microseconds,
  0 or 1); a double is the word of its bits; a text or a list of numbers is its bytes, eight a word,
  little-endian, the last filled up with zeros.
- Words fold to `f = words[0] * c(0) + words[1] * c(1) + … + length in bytes * 0x9E3779B97F4A7C15`.
- A row is the sum over its columns of `mix(f + seed)`, where `seed` is the first word of the
  SHA-256 of the column's name. A null adds nothing: a column added later changes no earlier row.
- The content is the number of rows, the sum of their `mix(row)` and of their `mix(row + 1)`.

It finds differences that happen. It is no seal against someone who makes them on purpose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakehouse.errors import InputError

ALGORITHM = "plata-content-1"

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_ONE = np.uint64(1)
_WORD = 8
_SIZE_OF_A_NUMBER = np.uint64(_WORD * int(_GOLDEN) % 2**64)
_BATCH_ROWS = 65_536
_SAMPLE = 512


@dataclass(frozen=True, slots=True)
class Content:
    """How many rows, and two sums over them; parts of a table add up to the table."""

    rows: int = 0
    low: int = 0
    high: int = 0

    def __add__(self, other: Content) -> Content:
        """Put two sets of rows together."""
        return Content(
            self.rows + other.rows,
            (self.low + other.low) % 2**64,
            (self.high + other.high) % 2**64,
        )

    @property
    def digest(self) -> str:
        """The content as 32 hexadecimal digits."""
        text = f"{ALGORITHM} {self.rows} {self.low} {self.high}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def content_of(rows: pa.Table | Iterable[pa.RecordBatch], *, but: Collection[str] = ()) -> Content:
    """Hash rows, whatever their order, without the columns `but`.

    >>> one = pa.table({"id": ["a", "b"], "n": [1, 2]})
    >>> content_of(one) == content_of(one.take([1, 0])) == content_of(one, but=["x"])
    True
    >>> content_of(one) == content_of(one.slice(0, 1))
    False
    """
    batches = rows.to_batches(_BATCH_ROWS) if isinstance(rows, pa.Table) else rows
    found = Content()
    for batch in batches:
        each = row_hashes(batch, but=but)
        low, high = mix(each).sum(dtype=np.uint64), mix(each + _ONE).sum(dtype=np.uint64)
        found += Content(len(batch), int(low), int(high))
    return found


def row_hashes(rows: pa.RecordBatch, *, but: Collection[str] = ()) -> Words:
    """Hash each row for itself."""
    hashes = np.zeros(len(rows), np.uint64)
    for name in rows.schema.names:
        if name not in but:
            hashes += _column(rows.column(name), name)
    return hashes


def mix(words: Words) -> Words:
    """Spread the bits of each word over all of it: SplitMix64's finalizer."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def _column(values: pa.Array, name: str) -> Words:
    seed = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    if values.null_count == len(values):
        return _none(len(values))
    mixed = mix(_folded(values, name) + seed)
    if values.null_count:
        mixed *= values.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False)
    return mixed


def _folded(values: pa.Array, name: str) -> Words:
    """Fold each value to one word; what stands for a null does not matter."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        words = _folded(values.dictionary, name)
        return words[values.indices.fill_null(0).to_numpy()] if len(words) else _none(len(values))
    if _is_text(kind):
        return _texts(values, name)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(values)
    return _numbers(values, name) * _coefficients(1) + _SIZE_OF_A_NUMBER


def _numbers(values: pa.Array, name: str) -> Words:
    kind = values.type
    if pa.types.is_floating(kind):
        doubles = values.cast(pa.float64()).fill_null(0.0)
        return doubles.to_numpy(zero_copy_only=False).view(np.uint64)
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
    elif pa.types.is_date(kind):
        values = values.cast(pa.date32()).cast(pa.int32())
    elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        msg = f"column '{name}' is {kind}, which {ALGORITHM} has no words for"
        raise InputError(msg)
    return values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)


def _texts(values: pa.Array, name: str) -> Words:
    plain = values.cast(pa.large_binary())
    if len(plain) > _SAMPLE and pc.count_distinct(plain[:_SAMPLE]).as_py() < _SAMPLE // 8:
        return _folded(plain.dictionary_encode(), name)
    plain = plain.fill_null(b"")
    _, offsets, data = plain.buffers()
    places = np.frombuffer(offsets, np.int64)[plain.offset : plain.offset + len(plain) + 1]
    return _fold(_bytes(data), places)


def _lists(values: pa.Array) -> Words:
    width = values.type.value_type.bit_width // 8
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    elif values.null_count:
        values = values.fill_null([])
    inner = values.flatten()
    lengths = values.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    places = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]) * width
    data = inner.buffers()[1]
    if data is None:
        return _fold(_bytes(None), places)
    start = inner.offset * width
    return _fold(_bytes(data)[start : start + len(inner) * width], places)


def _fold(data: NDArray[np.uint8], places: NDArray[np.int64]) -> Words:
    """Fold the bytes between each two places."""
    lengths = np.diff(places)
    sizes = lengths.astype(np.uint64) * _GOLDEN
    counts = -(-lengths // _WORD)
    longest = int(counts.max(initial=0))
    if longest == 0:
        return sizes
    if lengths.min() == lengths.max():
        return _fold_equal(data[places[0] : places[-1]], len(lengths), longest) + sizes
    ends = np.cumsum(counts)
    firsts = ends - counts
    number = np.arange(ends[-1])
    words = _words_at(data, number * _WORD + np.repeat(places[:-1] - firsts * _WORD, counts))
    filled = counts > 0
    kept = (lengths - (counts - 1) * _WORD)[filled].astype(np.uint64)
    words[ends[filled] - 1] &= np.uint64(2**64 - 1) >> (np.uint64(64) - np.uint64(8) * kept)
    words *= _coefficients(longest)[number - np.repeat(firsts, counts)]
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])
    return running[ends] - running[firsts] + sizes


def _fold_equal(data: NDArray[np.uint8], rows: int, words: int) -> Words:
    """Fold values that all have one length, without asking where each begins."""
    padded = np.zeros((rows, words * _WORD), np.uint8)
    padded[:, : len(data) // rows] = data.reshape(rows, -1)
    folded: Words = (padded.view("<u8") * _coefficients(words)).sum(axis=1, dtype=np.uint64)
    return folded


def _words_at(data: NDArray[np.uint8], positions: NDArray[np.int64]) -> Words:
    padded = np.concatenate([data, np.zeros(_WORD, np.uint8)])
    every = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))
    return every[positions].astype(np.uint64, copy=False)


def _coefficients(count: int) -> Words:
    return mix(np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN) | _ONE


def _bytes(data: pa.Buffer | None) -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)


def _none(count: int) -> Words:
    return np.zeros(count, np.uint64)


def _is_text(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
        )
    )
