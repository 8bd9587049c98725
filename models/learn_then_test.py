"""Learn then test: the lowest threshold whose error is proven to stay under a limit.

A sample of answers, drawn at random and each known to be right or wrong, is asked one question a
threshold: could this few errors among what it accepts have happened if its error rate were above
`alpha`? The probability of that is an exact binomial tail, for the accepted of a fair sample are a
fair sample of the accepted. Thresholds are asked in an order that was fixed before any answer was
known to be right, and the whole search errs with probability `delta` at most (Angelopoulos et al.,
"Learn then test", 2021).

The order is by the fallback procedure (Wiens and Dmitrienko, 2005), which holds whatever the
thresholds have to do with one another: most of `delta` begins at the top, some waits at a few
places below, and what a rejected hypothesis was tested with goes on to the next. Where the top
fails by bad luck or because the surest answers are worse than others, the search begins again
lower down; plain fixed sequence testing would end there with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, bdtrc

from lakehouse.errors import ConfigurationError

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

STEPS = 100
"""Thresholds asked, evenly spread over what would be accepted."""

_STARTS = 3
"""Places the search begins at; each is further down by the same factor."""

_FIRST_SHARE = 0.7
"""Of `delta`, for the first of them."""

_HEADROOM = 3.0
"""How often the labels that could prove anything at all lie above the first threshold."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What is to be proven: an error rate of at most `alpha`, wrongly with at most `delta`."""

    alpha: float
    delta: float

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not 0 < self.delta < 1:
            msg = f"alpha is {self.alpha} and delta {self.delta}, both must lie between 0 and 1"
            raise ConfigurationError(msg)

    @property
    def fewest(self) -> int:
        """The labels that prove it where not one of them is wrong.

        >>> Limit(alpha=0.05, delta=0.1).fewest
        45
        """
        return int(np.ceil(np.log(self.delta) / np.log1p(-self.alpha)))


@dataclass(frozen=True, slots=True)
class Order:
    """Thresholds from the highest down, and the share of `delta` that begins at each."""

    thresholds: Floats
    shares: Floats


def order_of(scores: Floats, labels: int, limit: Limit) -> Order:
    """Lay out the search over answers that are in no sample: by their scores, nothing else.

    `labels` is the size of the sample. A sample's own scores must not be among `scores`: the order
    would know something of it. Without any, thresholds are spread over the scores there can be.
    """
    known = scores[np.isfinite(scores)]
    accepted = steps_for(labels, limit)
    shares = shares_of(accepted)
    if len(known) == 0:
        return Order(1.0 - accepted, shares)
    cuts: Floats = np.quantile(known, 1.0 - accepted, method="inverted_cdf")
    cuts[accepted >= 1.0] = 0.0
    cuts = np.maximum(cuts, 0.0)
    rising, places = np.unique(-cuts, return_inverse=True)
    thresholds: Floats = -rising
    merged: Floats = np.bincount(places, weights=shares).astype(np.float64)
    return Order(thresholds, merged)


def steps_for(labels: int, limit: Limit) -> Floats:
    """Return what share of the answers each step of a search accepts, by the size of a sample."""
    first = min(1.0, _HEADROOM * limit.fewest / max(labels, 1))
    steps: Floats = np.linspace(first, 1.0, STEPS if first < 1 else 1)
    return steps


def shares_of(accepted: Floats) -> Floats:
    """Return the share of `delta` that begins at each step of what would be accepted, rising."""
    shares = np.zeros(len(accepted))
    starts = np.geomspace(accepted[0], 1.0, _STARTS + 1)[1:-1]
    below = np.unique(np.searchsorted(accepted, starts))
    below = below[(below > 0) & (below < len(accepted))]
    if len(below) == 0:
        shares[0] = 1.0
        return shares
    shares[0] = _FIRST_SHARE
    shares[below] = (1.0 - _FIRST_SHARE) / len(below)
    return shares


def lowest_proven(accepted: Counts, errors: Counts, shares: Floats, limit: Limit) -> Counts:
    """Return the place of the lowest threshold that is proven, -1 where none is.

    The last axis of `accepted` and `errors` goes over thresholds, from the highest down; those
    before it are searches that have nothing to do with one another.
    """
    p_values = at_most(errors, accepted, limit.alpha)
    budget = np.zeros(accepted.shape[:-1])
    lowest = np.full(accepted.shape[:-1], -1, dtype=np.int64)
    for place, share in enumerate(shares):
        budget = budget + share * limit.delta
        proven = p_values[..., place] <= budget
        lowest = np.where(proven, place, lowest)
        budget = np.where(proven, budget, 0.0)
    return lowest


def at_most(errors: Counts, among: Counts, rate: float) -> Floats:
    """Return the probability of so few errors or fewer, at this rate; 1 of nothing."""
    tail = np.asarray(bdtr(errors, np.maximum(among, 1), rate), dtype=np.float64)
    return np.where(among > 0, tail, 1.0)


def at_least(errors: int, among: int, rate: float) -> float:
    """Return the probability of so many errors or more, at this rate; 1 of nothing.

    >>> round(at_least(2, 10, 0.05), 3)
    0.086
    """
    return float(bdtrc(errors - 1, among, rate)) if among else 1.0


def counted(scores: Floats, wrong: npt.NDArray[np.bool_], order: Order) -> tuple[Counts, Counts]:
    """Count the sample's answers, and the wrong ones, that each threshold accepts."""
    by_score = np.argsort(scores, kind="stable")
    ordered, faults = scores[by_score], wrong[by_score]
    below = np.searchsorted(ordered, order.thresholds, side="left")
    faults_below = np.concatenate([[0], np.cumsum(faults)])
    return (
        (len(scores) - below).astype(np.int64),
        (faults_below[-1] - faults_below[below]).astype(np.int64),
    )
