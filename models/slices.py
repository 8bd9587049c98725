"""Parts of what is judged: by channel, region, length of the text, month.

A mean hides whom a model fails: each part has its own accuracy, its interval, and where there is a
champion the test of whether the part lost by the change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.comparison import mcnemar_worse
from models.intervals import Interval, wilson

UNKNOWN = "—"
"""The value of a text of which it is not known."""
OTHER = "otros"
_MOST_VALUES = 12
_LENGTHS = ((100, "0–99"), (300, "100–299"), (1_000, "300–999"))
_LONGEST = "≥ 1000"


@dataclass(frozen=True, slots=True)
class Slice:
    """One part. Of the champion only where there is one; `p_worse` is one-sided, between equals."""

    dimension: str
    value: str
    texts: int
    right: int
    interval: Interval
    champion_right: int | None = None
    p_worse: float | None = None

    @property
    def name(self) -> str:
        """The dimension and its value."""
        return f"{self.dimension}={self.value}"

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right / self.texts


def sliced(
    values: Mapping[str, Sequence[str]],
    right: NDArray[np.bool_],
    champion: NDArray[np.bool_] | None,
) -> tuple[Slice, ...]:
    """Judge each part of each dimension; `values` has a value a text, `right` is by text.

    A dimension of many values has its rarest under one name.
    """
    found = []
    for dimension, own in values.items():
        kept = _common(own)
        place = np.array([kept.index(v) if v in kept else len(kept) for v in own], np.int64)
        for number, value in enumerate([*kept, OTHER]):
            inside = place == number
            if inside.any():
                found.append(_slice(dimension, value, inside, right, champion))
    return tuple(found)


def lengths(texts: Sequence[str]) -> list[str]:
    """Name the length of each text, in characters.

    >>> lengths(["Hola", "a" * 100, "a" * 5000])
    ['0–99', '100–299', '≥ 1000']
    """
    return [next((name for most, name in _LENGTHS if len(t) < most), _LONGEST) for t in texts]


def _slice(
    dimension: str,
    value: str,
    inside: NDArray[np.bool_],
    right: NDArray[np.bool_],
    champion: NDArray[np.bool_] | None,
) -> Slice:
    texts, hits = int(inside.sum()), int(right[inside].sum())
    interval = wilson(hits, texts)
    if champion is None:
        return Slice(dimension, value, texts, hits, interval)
    gained = int((right & ~champion)[inside].sum())
    lost = int((champion & ~right)[inside].sum())
    before = int(champion[inside].sum())
    return Slice(dimension, value, texts, hits, interval, before, mcnemar_worse(gained, lost))


def _common(values: Sequence[str]) -> list[str]:
    """Return the values in order of name, without the rarest where there are too many."""
    counts = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    return sorted(value for value, _ in counts[:_MOST_VALUES])
