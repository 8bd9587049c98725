"""How sure a figure is: Wilson's interval for a share, the stratified bootstrap for macro-F1.

- A share's interval is Wilson's score interval (E. B. Wilson, "Probable inference, the law of
  succession, and statistical inference", JASA 22, 1927): right also near 0 and 1.
- Macro-F1 is the mean of the labels' F1 = 2·hits / (said + true). Its interval is the percentile
  bootstrap (B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13) with
  as many texts of each label as there are: the answers to the texts of a label are drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

CONFIDENCE = 0.95
REPLICATES = 2_000


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies with 95 % confidence."""

    low: float
    high: float


def wilson(hits: int, trials: int) -> Interval:
    """Bound a share; nothing tried leaves everything possible.

    >>> found = wilson(9, 10)
    >>> round(found.low, 3), round(found.high, 3)
    (0.596, 0.982)
    """
    if trials == 0:
        return Interval(0.0, 1.0)
    z = float(ndtri((1 + CONFIDENCE) / 2))
    middle = (hits + z**2 / 2) / (trials + z**2)
    half = z / (trials + z**2) * (hits * (trials - hits) / trials + z**2 / 4) ** 0.5
    return Interval(middle - half if hits else 0.0, middle + half if hits < trials else 1.0)


def macro_f1_interval(confusion: NDArray[np.int64], *, seed: int) -> Interval:
    """Bound the macro-F1 of a table of confusions, the true label by row."""
    random = np.random.default_rng(seed)
    drawn = np.zeros((REPLICATES, *confusion.shape), np.int64)
    for row, answers in enumerate(confusion):
        total = int(answers.sum())
        if total:
            drawn[:, row] = random.multinomial(total, answers / total, size=REPLICATES)
    hits = np.diagonal(drawn, axis1=1, axis2=2)
    return percentiles(macro_f1(hits, drawn.sum(axis=1), drawn.sum(axis=2)))


def macro_f1(
    hits: NDArray[np.generic], said: NDArray[np.generic], true: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Average the labels' F1 over the last axis; a label neither said nor true counts as 0."""
    either = np.asarray(said, np.float64) + np.asarray(true, np.float64)
    scores = 2 * np.asarray(hits, np.float64) / np.maximum(either, 1)
    return np.asarray(scores.mean(axis=-1), np.float64)


def percentiles(replicates: NDArray[np.float64]) -> Interval:
    """Cut off the outer replicates, as many on either side."""
    beyond = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicates, [beyond, 1 - beyond])
    return Interval(float(low), float(high))
