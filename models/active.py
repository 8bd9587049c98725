"""Active learning: whose labels would teach the next model most.

An answer that could as well have been another is worth a label; of texts that are alike, one is
enough; and no label is forgotten because the others are asked about more. Reads probabilities and
vectors alone; calls no model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.classifier import Probabilities, best

_SHORTLIST = 2
"""How many candidates there are for each choice. Trials with more diversity taught no more, and
texts in crowded places first taught less than labels drawn at random (benchmarks/README.md)."""


def uncertainty(probabilities: Probabilities) -> NDArray[np.float64]:
    """Return one minus the margin between the two best labels; no answer is the greatest doubt.

    >>> uncertainty(np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [np.nan] * 3])).round(2).tolist()
    [1.0, 0.2, 1.0]
    """
    known = np.where(np.isnan(probabilities), 0.0, probabilities)
    ordered = np.sort(known, axis=1)
    found: NDArray[np.float64] = 1.0 - (ordered[:, -1] - ordered[:, -2])
    return found


def most_telling(
    probabilities: Probabilities, vectors: NDArray[np.float32], count: int
) -> NDArray[np.int64]:
    """Choose the positions of up to `count` texts, the most telling first.

    The same is chosen however often it is asked.
    """
    listed = shortlist(probabilities, count)
    return listed[unlike_one_another(vectors[listed], count)]


def shortlist(probabilities: Probabilities, count: int) -> NDArray[np.int64]:
    """Return the positions of the texts to choose `count` from: by doubt, each label in turn."""
    order = _label_by_label(uncertainty(probabilities), best(probabilities))
    return order[: _SHORTLIST * count]


def unlike_one_another(vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Choose the first, then always the one farthest from all that were chosen (k-centre).

    Vectors have length one.
    """
    space = vectors.astype(np.float64)
    chosen: list[int] = []
    nearest = np.full(len(space), np.inf)
    for _ in range(min(count, len(space))):
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, 2.0 - 2.0 * space @ space[chosen[-1]])
    return np.asarray(chosen, np.int64)


def _label_by_label(doubt: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order texts by doubt, taking one of each label in turn; the label is what was answered."""
    rank = np.empty(len(doubt), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        rank[own[np.argsort(-doubt[own], kind="stable")]] = np.arange(len(own))
    return np.asarray(np.lexsort((-doubt, rank)), np.int64)
