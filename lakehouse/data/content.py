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
from collections.abc import Collection, Iterable, Iterator
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
_THIRTY, _TWENTY_SEVEN, _THIRTY_ONE = np.uint64(30), np.uint64(27), np.uint64(31)
_ONE = np.uint64(1)
_WORD = 8
_SIZE_OF_A_NUMBER = np.uint64(_WORD * int(_GOLDEN) % 2**64)
_BATCH_ROWS = 131_072

_FEW = 8
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
        return hashlib.sha256(self.as_text().encode()).hexdigest()[:32]

    def as_text(self) -> str:
        """Write it, with its algorithm, as text that `of_text` reads."""
        return f"{ALGORITHM} {self.rows} {self.low} {self.high}"

    @classmethod
    def of_text(cls, text: str) -> Content | None:
        """Read what `as_text` wrote; None where another algorithm did."""
        algorithm, *numbers = text.split()
        return cls(*map(int, numbers)) if algorithm == ALGORITHM else None


def content_of(rows: pa.Table | Iterable[pa.RecordBatch], *, but: Collection[str] = ()) -> Content:
    """Hash rows, whatever their order, without the columns `but`.

    >>> one = pa.table({"id": ["a", "b"], "n": [1, 2]})
    >>> content_of(one) == content_of(one.take([1, 0])) == content_of(one, but=["x"])
    True
    >>> content_of(one) == content_of(one.slice(0, 1))
    False
    """
    batches = _windows(rows) if isinstance(rows, pa.Table) else rows
    found = Content()
    for batch in batches:
        each = row_hashes(batch, but=but)
        low, high = mix(each).sum(dtype=np.uint64), mix(each + _ONE).sum(dtype=np.uint64)
        found += Content(len(batch), int(low), int(high))
    return found


def _windows(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    """Cut rows into few large batches, however many chunks they come in: each batch costs."""
    for start in range(0, len(rows), _BATCH_ROWS):
        yield from rows.slice(start, _BATCH_ROWS).combine_chunks().to_batches()


def row_hashes(rows: pa.RecordBatch, *, but: Collection[str] = ()) -> Words:
    """Hash each row for itself."""
    hashes = np.zeros(len(rows), np.uint64)
    for name in rows.schema.names:
        if name not in but:
            _add_column(hashes, rows.column(name), name)
    return hashes


def mix(words: Words) -> Words:
    """Spread the bits of each word over all of it: SplitMix64's finalizer."""
    mixed = words >> _THIRTY
    mixed ^= words
    mixed *= _FIRST
    mixed ^= mixed >> _TWENTY_SEVEN
    mixed *= _SECOND
    mixed ^= mixed >> _THIRTY_ONE
    return mixed


def _add_column(hashes: Words, values: pa.Array, name: str) -> None:
    """Add what each value of a column says of its row; a null says nothing."""
    values = _as_told(values)
    if values.null_count == len(values):
        return
    if values.null_count == 0:
        hashes += _mixed(values, name)
    else:
        filled = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
        hashes[filled] += _mixed(values.drop_null(), name)


def _as_told(values: pa.Array) -> pa.Array:
    """Return texts as bytes with wide offsets, and a dictionary only where it has no null."""
    if pa.types.is_dictionary(values.type) and values.dictionary.null_count:
        values = values.dictionary_decode()
    return values.cast(pa.large_binary()) if _is_text(values.type) else values


def _mixed(values: pa.Array, name: str) -> Words | np.uint64:
    """Give the word of each value, none of which is null; one word where all are the same."""
    kind = values.type
    if pa.types.is_large_binary(kind):
        if _is_one_value(values):
            return np.uint64(_with_seed(_texts(values[:1]), name)[0])
        if not _repeats(values):
            return _with_seed(_texts(values), name)
        values = values.dictionary_encode()
    if pa.types.is_dictionary(values.type):
        words = _mixed(_as_told(values.dictionary), name)
        return words if isinstance(words, np.uint64) else words[values.indices.to_numpy()]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _with_seed(_lists(values), name)
    return _with_seed(_numbers(values, name) * _coefficients(1) + _SIZE_OF_A_NUMBER, name)


def _with_seed(folded: Words, name: str) -> Words:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return mix(folded + np.uint64(seed))


def _numbers(values: pa.Array, name: str) -> Words:
    kind = values.type
    if pa.types.is_floating(kind):
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False).view(np.uint64)
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
    elif pa.types.is_date(kind):
        values = values.cast(pa.date32()).cast(pa.int32())
    elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        msg = f"column '{name}' is {kind}, which {ALGORITHM} has no words for"
        raise InputError(msg)
    return values.cast(pa.int64()).to_numpy(zero_copy_only=False).view(np.uint64)


def _repeats(values: pa.Array) -> bool:
    sample = values[:_SAMPLE]
    return len(values) > _SAMPLE and pc.count_distinct(sample).as_py() < _SAMPLE // 8


def _is_one_value(values: pa.Array) -> bool:
    """Tell whether all values are the same, at the cost of a look where they are not."""
    places = _places(values)
    length = int(places[1] - places[0])
    data = values.buffers()[2]
    if int(places[-1] - places[0]) != length * len(values) or data is None:
        return False
    size = length * (len(values) - 1)
    first, rest = data.slice(int(places[0]), size), data.slice(int(places[1]), size)
    return bool(first.equals(rest)) and bool((np.diff(places) == length).all())


def _texts(values: pa.Array) -> Words:
    return _fold(_bytes(values.buffers()[2]), _places(values))


def _places(values: pa.Array) -> NDArray[np.int64]:
    offsets: NDArray[np.int64] = np.frombuffer(values.buffers()[1], np.int64)
    return offsets[values.offset : values.offset + len(values) + 1]


def _lists(values: pa.Array) -> Words:
    width = values.type.value_type.bit_width // 8
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    inner = values.flatten()
    lengths = values.value_lengths().to_numpy(zero_copy_only=False)
    places = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]) * width
    data = inner.buffers()[1]
    if data is None:
        return _fold(_bytes(None), places)
    start = inner.offset * width
    return _fold(_bytes(data)[start : start + len(inner) * width], places)


def _fold(data: NDArray[np.uint8], places: NDArray[np.int64]) -> Words:
    """Fold the bytes between each two places: the first word of every value, then the second, …"""
    lengths = np.diff(places)
    folded = lengths.astype(np.uint64) * _GOLDEN
    if not len(lengths) or int(lengths.max()) == 0:
        return folded
    own = np.concatenate([data[places[0] : places[-1]], np.zeros(_WORD, np.uint8)])
    starts, whole = places[:-1] - places[0], lengths // _WORD
    coefficients = _coefficients(int(whole.max()) + 1)
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest == longest:
        for number in range(longest // _WORD):
            words = np.ndarray((len(lengths),), "<u8", own, number * _WORD, (longest,))
            folded += words * coefficients[number]
    else:
        folded += _whole_words(own, starts, whole, coefficients)
    return folded + _last_words(own, starts, lengths, whole, coefficients)


def _whole_words(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    coefficients: Words,
) -> Words:
    """Sum up the words that are whole. The longest values come first, so that those which still
    have a word of some number stand together.
    """
    order = np.argsort(-counts, kind="stable")
    at, left = starts[order], counts[order]
    longer = len(left) - np.cumsum(np.bincount(left))
    every = np.ndarray((len(data) - _WORD + 1,), "<u8", data, strides=(1,))
    sums = np.zeros(len(starts), np.uint64)
    number, most = 0, int(left[0])
    while number < most and longer[number] > _FEW:
        some = longer[number]
        sums[:some] += every[at[:some] + number * _WORD] * coefficients[number]
        number += 1
    for place in range(int(longer[number]) if number < most else 0):
        count = int(left[place]) - number
        words = np.ndarray((count,), "<u8", data, int(at[place]) + number * _WORD)
        sums[place : place + 1] += (words * coefficients[number:][:count]).sum(dtype=np.uint64)
    found = np.empty_like(sums)
    found[order] = sums
    return found


def _last_words(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    whole: NDArray[np.int64],
    coefficients: Words,
) -> Words:
    """Give the word of the bytes that fill none, filled up with zeros; 0 where there are none."""
    every = np.ndarray((len(data) - _WORD + 1,), "<u8", data, strides=(1,))
    kept = (lengths - whole * _WORD).astype(np.uint64)
    masks = (_ONE << (kept * np.uint64(_WORD))) - _ONE
    return (every[starts + whole * _WORD] & masks) * coefficients[whole]


def _coefficients(count: int) -> Words:
    return mix(np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN) | _ONE


def _bytes(data: pa.Buffer | None) -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)


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
