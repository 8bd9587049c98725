"""Which labels may be wrong: confident learning (Northcutt, Jiang and Chuang, JAIR 2021).

A model that never saw a label says how likely each label is. Where it is as sure of another label
as it usually is where that one is right, the given one is in doubt. It is a hint for a second look:
the model may be the one who errs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_ROUNDING = 1e-9
"""A mean of equal numbers may come out a little above them."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """The labels in doubt, the worst first.

    `places` are rows of what was asked about, `instead` the position of the label the model is
    confident of. `own` is how likely it finds the given label, `margin` how much likelier than any
    other: always below zero.
    """

    places: Ints
    instead: Ints
    own: Floats
    margin: Floats


def thresholds(given: Ints, probabilities: Floats) -> Floats:
    """Return how sure the model is of each label on average where it was given.

    A label that nobody gave is never confident.
    """
    found = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(given):
        found[label] = probabilities[given == label, label].mean()
    return found


def confident_joint(given: Ints, probabilities: Floats) -> Ints:
    """Count rows by the label given and the one the model is confident of; without one, no row.

    >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.9, 0.1]])
    >>> confident_joint(np.array([0, 0, 1, 1]), probabilities).tolist()
    [[1, 0], [1, 1]]
    """
    labels = probabilities.shape[1]
    instead = _confident(given, probabilities)
    sure = instead >= 0
    counts = np.zeros((labels, labels), np.int64)
    np.add.at(counts, (given[sure], instead[sure]), 1)
    return counts


def doubts(given: Ints, probabilities: Floats) -> Doubts:
    """Find the labels off the diagonal of the confident joint, by normalized margin.

    One that the model itself finds the likeliest is in no doubt, as in the authors' cleanlab.
    `probabilities` are out of sample: of a model that did not learn from these labels.
    """
    instead = _confident(given, probabilities)
    own = probabilities[np.arange(len(given)), given] if len(given) else np.zeros(0)
    others = probabilities.copy()
    others[np.arange(len(given)), given] = -np.inf
    margin = own - others.max(axis=1, initial=-np.inf)
    places = np.flatnonzero((instead >= 0) & (instead != given) & (margin < 0))
    order = places[np.lexsort((places, margin[places]))]
    return Doubts(order, instead[order], own[order], margin[order])


def _confident(given: Ints, probabilities: Floats) -> Ints:
    """Return the likeliest of the labels that reach their threshold, -1 where none does."""
    reached = probabilities >= thresholds(given, probabilities) - _ROUNDING
    best = np.where(reached, probabilities, -np.inf).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1).astype(np.int64)
