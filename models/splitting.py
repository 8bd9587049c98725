"""Which labelled texts are kept aside to judge a model, the same ones every time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.text import folded


def first_of_each(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Mark the first of texts that are equal once case, accents and punctuation are dropped.

    >>> first_of_each(["Hay un hueco.", "hay un HUECO", "Otra cosa"]).tolist()
    [True, False, True]
    """
    seen: set[str] = set()
    marks = []
    for text in map(folded, texts):
        marks.append(text not in seen)
        seen.add(text)
    return np.array(marks, np.bool_)


def held_out(
    texts: Sequence[str], truth: NDArray[np.int64], *, share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark `share` of each label's texts, at least one, by a digest of the text and the seed.

    A text keeps its side however rows are ordered. Equal texts must have been dropped before.
    """
    digests = [hashlib.sha256(f"{seed}/{folded(text)}".encode()).hexdigest() for text in texts]
    order = np.argsort(np.array(digests), kind="stable")
    marks = np.zeros(len(texts), np.bool_)
    for label in np.unique(truth):
        own = order[truth[order] == label]
        marks[own[: max(1, round(share * len(own)))]] = True
    return marks
