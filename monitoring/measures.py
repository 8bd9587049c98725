"""How far two samples lie apart: the population stability index, and how well a classifier tells
their embeddings from each other.

Both come with the value that chance alone rarely reaches at the given sample sizes, since twenty
tickets against a hundred differ by much without anything having changed:

- PSI = Σ (p − q) · ln(p / q) over bins, p and q the shares of the current and reference rows. Over
  equal populations it is distributed as χ² with bins − 1 degrees of freedom times (1/n + 1/m)
  (Yurdakul and Naranjo, "Statistical properties of the population stability index", Journal of Risk
  Model Validation 14(4), 2020).
- The ROC-AUC of a classifier trained to tell reference from current, on rows it was not trained on
  (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017): 0.5 where the two
  cannot be told apart. Its spread over equal populations is that of the Mann-Whitney statistic,
  √((n + m + 1) / (12 · n · m)).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri

Floats = NDArray[np.float64]

_SMOOTHING = 0.5
"""Rows added to every bin, so that a bin empty on one side is far, not infinitely far."""
_PENALTY = 0.1
_NEWTON_STEPS = 25


def psi(reference: NDArray[np.int64], current: NDArray[np.int64]) -> float:
    """Return the population stability index of two lists of counts, bin by bin.

    >>> psi(np.array([50, 50]), np.array([50, 50]))
    0.0
    >>> round(psi(np.array([50, 50]), np.array([90, 10])), 2)
    0.85
    """
    q = (reference + _SMOOTHING) / (reference + _SMOOTHING).sum()
    p = (current + _SMOOTHING) / (current + _SMOOTHING).sum()
    return float(((p - q) * np.log(p / q)).sum())


def psi_by_chance(bins: int, reference_rows: int, current_rows: int, *, risk: float) -> float:
    """Return the PSI that equal populations exceed with probability `risk`."""
    if bins < 2:
        return 0.0
    return float(chdtri(bins - 1, risk)) * (1 / reference_rows + 1 / current_rows)


def category_counts(
    reference: NDArray[np.str_], current: NDArray[np.str_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count each value that occurs on either side."""
    values, codes = np.unique(np.concatenate([reference, current]), return_inverse=True)
    return (
        np.bincount(codes[: len(reference)], minlength=len(values)),
        np.bincount(codes[len(reference) :], minlength=len(values)),
    )


def decile_counts(
    reference: Floats, current: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count rows by the deciles of the reference; rows without a number have a bin of their own.

    Equal deciles are one edge, so a feature of few values has fewer bins.
    """
    known = reference[~np.isnan(reference)]
    edges = np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9))) if len(known) else np.empty(0)
    bins = len(edges) + 1

    def counts(values: Floats) -> NDArray[np.int64]:
        placed = np.where(np.isnan(values), bins, np.searchsorted(edges, values, side="right"))
        return np.bincount(placed, minlength=bins + 1)

    before, after = counts(reference), counts(current)
    occupied = (before + after) > 0
    return before[occupied], after[occupied]


def domain_auc(reference: Floats, current: Floats, *, folds: int, seed: int) -> float | None:
    """Say how well a logistic regression tells the rows of two matrices apart, cross-validated.

    The rows of a side should be distinct, or the classifier recognises in one fold what it learned
    by heart in another. None where a side has fewer rows than folds.
    """
    if min(len(reference), len(current)) < folds:
        return None
    rows = np.vstack([reference, current])
    side = np.repeat([0.0, 1.0], [len(reference), len(current)])
    fold = _stratified_folds(len(reference), len(current), folds, seed)
    scores = [
        auc(side[fold == k], _fit(rows[fold != k], side[fold != k]) @ _with_one(rows[fold == k]).T)
        for k in range(folds)
    ]
    return float(np.mean(scores))


def auc(side: Floats, score: Floats) -> float:
    """Return the probability that a row of side 1 scores above one of side 0, ties counted half.

    >>> auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.4, 0.9]))
    0.875
    """
    _, place, times = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2)[place]
    ones = side == 1.0
    n, m = int(ones.sum()), int((~ones).sum())
    return float((ranks[ones].sum() - n * (n + 1) / 2) / (n * m))


def auc_by_chance(reference_rows: int, current_rows: int, *, risk: float) -> float:
    """Return the AUC that equal populations exceed with probability `risk`."""
    n, m = reference_rows, current_rows
    return 0.5 + float(ndtri(1 - risk)) * math.sqrt((n + m + 1) / (12 * n * m))


def _stratified_folds(before: int, after: int, folds: int, seed: int) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(np.arange(rows) % folds) for rows in (before, after)])


def _fit(rows: Floats, side: Floats) -> Floats:
    """Fit a logistic regression by Newton's method: both sides weigh the same, ridge penalty."""
    design = _with_one(rows)
    weight = np.where(side == 1.0, 0.5 / side.sum(), 0.5 / (1.0 - side).sum())
    penalty = np.full(design.shape[1], _PENALTY)
    penalty[-1] = 0.0
    scale = rows.var(axis=0).sum() or 1.0
    ridge = np.diag(penalty * scale / rows.shape[1] + 1e-12)
    beta = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        slope = design.T @ (weight * (chance - side)) + ridge @ beta
        bend = (design * (weight * chance * (1.0 - chance))[:, None]).T @ design + ridge
        step = np.linalg.solve(bend, slope)
        beta -= step
        if float(np.abs(step).max()) < 1e-6:
            break
    return beta


def _with_one(rows: Floats) -> Floats:
    return np.hstack([rows, np.ones((len(rows), 1))])
