"""What labels are worth: how much a guarantee would accept, had it been proven from more of them.

The error rate along the scores is estimated from the labels there are, samples of any size are
drawn from it, and each is searched as a real one would be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.learn_then_test import Counts, Floats, Limit, lowest_proven, shares_of, steps_for

RANKS = 2000
"""Steps a curve is kept in, from the surest answer to the least sure."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The error rate at each rank of the scores, the surest answers first; `RANKS` of them."""

    rates: Floats

    @property
    def risks(self) -> Floats:
        """The error rate of everything accepted down to each rank."""
        risks: Floats = np.cumsum(self.rates) / np.arange(1, len(self.rates) + 1)
        return risks

    def oracle(self, alpha: float) -> float:
        """Return the most that could be accepted by somebody who knew every error rate."""
        within = np.flatnonzero(self.risks <= alpha)
        return float(within[-1] + 1) / len(self.rates) if len(within) else 0.0


@dataclass(frozen=True, slots=True)
class Searches:
    """What repeated searches found: the share each accepts, and its true error rate (0 of none)."""

    coverage: Floats
    risk: Floats


def curve_of(scores: Floats, wrong: Floats, others: Floats) -> Curve:
    """Estimate the error rate along the scores, which never rises with them (isotonic regression).

    `others` are scores of answers that nobody checked: they say how scores are spread.
    """
    from sklearn.isotonic import IsotonicRegression

    known = np.concatenate([scores, others])
    ranked = np.quantile(known, 1.0 - (np.arange(RANKS) + 0.5) / RANKS, method="inverted_cdf")
    fitted = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(scores, wrong)
    return Curve(np.asarray(fitted.predict(ranked), dtype=np.float64))


def sampled(
    curve: Curve, steps: Floats, labels: int, repeats: int, rng: np.random.Generator
) -> tuple[Counts, Counts]:
    """Draw samples and count what each step accepts, and the errors among it: repeats by steps."""
    ends = ranks_of(steps, curve)
    parts = np.diff(np.concatenate([[0], ends, [len(curve.rates)]])) / len(curve.rates)
    sizes = rng.multinomial(labels, parts, size=repeats)[:, :-1]
    faults = np.concatenate([[0.0], np.cumsum(curve.rates)])
    within = np.diff(faults[np.concatenate([[0], ends])])
    rates = within / np.maximum(np.diff(np.concatenate([[0], ends])), 1)
    errors = rng.binomial(sizes, np.clip(rates, 0.0, 1.0))
    return np.cumsum(sizes, axis=1), np.cumsum(errors, axis=1)


def ranks_of(steps: Floats, curve: Curve) -> Counts:
    """Return how many ranks each share of the answers is."""
    return np.clip(np.round(steps * len(curve.rates)), 1, len(curve.rates)).astype(np.int64)


def search_samples(
    curve: Curve, labels: int, limit: Limit, *, repeats: int, rng: np.random.Generator
) -> Searches:
    """Search samples of `labels` answers for the lowest threshold that is proven."""
    steps = steps_for(labels, limit)
    accepted, errors = sampled(curve, steps, labels, repeats, rng)
    places = lowest_proven(accepted, errors, shares_of(steps), limit)
    return of_places(places, steps, curve)


def of_places(places: Counts, steps: Floats, curve: Curve) -> Searches:
    """Say what the steps that were chosen accept; -1 is none."""
    ends, found = ranks_of(steps, curve), places >= 0
    coverage = np.where(found, ends[places] / len(curve.rates), 0.0)
    return Searches(coverage, np.where(found, curve.risks[ends[places] - 1], 0.0))


def expected_coverage(
    curve: Curve, labels: int, limit: Limit, *, seed: int, repeats: int = 200
) -> float:
    """Return the share of the answers that a guarantee from so many labels accepts on average."""
    rng = np.random.default_rng(seed)
    found = search_samples(curve, labels, limit, repeats=repeats, rng=rng)
    return float(found.coverage.mean())
