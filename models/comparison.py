"""Two models on the same texts: how much better one is, and whether that may be chance.

- Accuracy: McNemar's test, exact (Q. McNemar, "Note on the sampling error of the difference between
  correlated proportions or percentages", Psychometrika 12, 1947; recommended for classifiers by
  T. G. Dietterich, Neural Computation 10, 1998). Of the texts that only one of the two answers
  right, equals share each half.
- Macro-F1: approximate randomisation (E. W. Noreen, "Computer-Intensive Methods for Testing
  Hypotheses", 1989; A. Yeh, "More accurate tests for the statistical significance of result
  differences", COLING 2000). Between equals it does not matter whose answer is whose, so answers
  are exchanged by coin, and p = (1 + lifts at least as large) / (1 + exchanges). The interval of
  the lift is the paired bootstrap's: texts are drawn again, each with both its answers.

Texts that nearly repeat each other say the same thing twice. Given `groups`, answers are exchanged
and drawn a group at a time (the cluster bootstrap: A. C. Davison and D. V. Hinkley, "Bootstrap
Methods and their Application", 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from models.intervals import REPLICATES, Interval, macro_f1, percentiles

EXCHANGES = 10_000
_AT_A_TIME = 1_000

Places = NDArray[np.int64]
"""Positions of labels, one a text."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger beside a champion. Lifts are the challenger's figure less the champion's.

    `only_challenger` and `only_champion` count the texts that one of them alone answered right.
    `p_accuracy` and `p_macro_f1` are two-sided: the chance of a difference this large, either way,
    between equals. `p_better` is one-sided: of a lift this large.
    """

    texts: int
    accuracy_lift: float
    only_challenger: int
    only_champion: int
    p_accuracy: float
    macro_f1_lift: float
    interval: Interval
    p_macro_f1: float
    p_better: float


def compare(
    truth: Places,
    challenger: Places,
    champion: Places,
    *,
    labels: int,
    seed: int,
    groups: Places | None = None,
) -> Comparison:
    """Compare two models' answers, given as positions of labels, to the same texts."""
    right, right_before = challenger == truth, champion == truth
    gained, lost = int((right & ~right_before).sum()), int((right_before & ~right).sum())
    units = _Units.of(truth, challenger, champion, labels, groups)
    lift = float(units.lifts(units.counts[None, :].astype(np.float64))[0])
    random = np.random.default_rng(seed)
    exchanged = np.concatenate(list(units.exchanged(random)))
    drawn = np.concatenate(list(units.drawn_again(random)))
    return Comparison(
        texts=len(truth),
        accuracy_lift=float((gained - lost) / len(truth)),
        only_challenger=gained,
        only_champion=lost,
        p_accuracy=mcnemar(gained, lost),
        macro_f1_lift=lift,
        interval=percentiles(drawn),
        p_macro_f1=_share_of(np.abs(exchanged) >= abs(lift) - 1e-12),
        p_better=_share_of(exchanged >= lift - 1e-12),
    )


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of so many texts gained and lost.

    >>> mcnemar(0, 0), mcnemar(5, 0), round(mcnemar(10, 2), 4)
    (1.0, 0.0625, 0.0386)
    """
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def mcnemar_worse(gained: int, lost: int) -> float:
    """Return the chance that equals lose at least so many of the texts they do not share.

    >>> mcnemar_worse(0, 5), mcnemar_worse(3, 0)
    (0.03125, 1.0)
    """
    return float(bdtr(gained, gained + lost, 0.5))


def _share_of(as_large: NDArray[np.bool_]) -> float:
    return float((1 + as_large.sum()) / (1 + len(as_large)))


@dataclass(frozen=True, slots=True)
class _Units:
    """What is exchanged and drawn as one, and how often it is there.

    Without groups, the texts of one true label and one pair of answers, which are alike; they are
    drawn within their true label, the `stratum`. With groups, each group once, and one stratum.
    The matrices have a row a unit: hits and answers of either model by label, and true labels.
    """

    counts: Places
    stratum: Places
    hits: NDArray[np.float64]
    said: NDArray[np.float64]
    hits_before: NDArray[np.float64]
    said_before: NDArray[np.float64]
    true: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        truth: Places,
        challenger: Places,
        champion: Places,
        labels: int,
        groups: Places | None,
    ) -> _Units:
        if groups is None:
            rows = np.stack([truth, challenger, champion], axis=1)
            kinds, counts = np.unique(rows, axis=0, return_counts=True)
            truth, challenger, champion = kinds.T
            place, stratum = np.arange(len(kinds)), truth
        else:
            _, place = np.unique(groups, return_inverse=True)
            counts = np.ones(int(place.max()) + 1, np.int64)
            stratum = np.zeros_like(counts)

        def by_label(named: Places, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
            table = np.zeros((len(counts), labels))
            np.add.at(table, (place[counted], named[counted]), 1)
            return table

        all_ = np.ones(len(truth), np.bool_)
        return cls(
            counts,
            stratum,
            by_label(challenger, challenger == truth),
            by_label(challenger, all_),
            by_label(champion, champion == truth),
            by_label(champion, all_),
            by_label(truth, all_),
        )

    def lifts(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the lift where each unit is there as often as its weight says, a row a draw."""
        true = weights @ self.true
        return macro_f1(weights @ self.hits, weights @ self.said, true) - macro_f1(
            weights @ self.hits_before, weights @ self.said_before, true
        )

    def exchanged(self, random: np.random.Generator) -> Iterator[NDArray[np.float64]]:
        """Yield the lifts after exchanging the two models' answers by coin."""
        hits, said = self.hits - self.hits_before, self.said - self.said_before
        counts = self.counts.astype(np.float64)
        true = counts @ self.true
        for size in _sizes(EXCHANGES):
            swapped = random.binomial(self.counts, 0.5, size=(size, len(self.counts)))
            gone = swapped.astype(np.float64)
            yield macro_f1(
                counts @ self.hits - gone @ hits, counts @ self.said - gone @ said, true
            ) - macro_f1(
                counts @ self.hits_before + gone @ hits,
                counts @ self.said_before + gone @ said,
                true,
            )

    def drawn_again(self, random: np.random.Generator) -> Iterator[NDArray[np.float64]]:
        """Yield the lifts of samples of the same size, drawn with replacement."""
        for size in _sizes(REPLICATES):
            weights = np.zeros((size, len(self.counts)))
            for stratum in np.unique(self.stratum):
                own = np.flatnonzero(self.stratum == stratum)
                total = int(self.counts[own].sum())
                weights[:, own] = random.multinomial(total, self.counts[own] / total, size=size)
            yield self.lifts(weights)


def _sizes(total: int) -> Iterator[int]:
    for start in range(0, total, _AT_A_TIME):
        yield min(_AT_A_TIME, total - start)
