"""How long work will take, and what it will cost, told from a few batches of it: with an interval.

The interval is Student's prediction interval for the sum of m further batches, told from n that
were measured: m*mean +- t * s * m * sqrt(1/m + 1/n), with t of n - 1 degrees of freedom (Hahn and
Meeker, Statistical Intervals, Wiley 1991, chapter 4: the mean of m future observations). It allows
for both doubts: how far the mean of n batches is from the truth, and how far m batches, each with
its own luck, will be from theirs. The finite population is no help here (Cochran, Sampling
Techniques, 1977, chapter 2, would narrow the interval by it): what the pilot measured is done once
more when the work is done, on a machine that is in another mood by then.

What a batch takes whatever its size (models looked up, files written) is told from a few stretches
of one text, and counts once a batch of the work, also where the pilot's stretches are smaller.

Batches are disjoint stretches of the work, drawn at random by the plan's seed. One more is drawn
first and only warms up: what it takes beyond the others is what it takes to load the models, which
is told apart.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit

PILOT_BATCHES = 6
CONFIDENCE = 0.9
_LEAST_TEXTS = 8
_PART = 10
"""A pilot is at most this part of the work, as far as `_LEAST_TEXTS` a batch allow."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An amount that is expected, and the ends between which 90 % of such amounts will be."""

    expected: float
    low: float
    high: float

    def __mul__(self, factor: float) -> Estimate:
        """Say it in another unit."""
        return Estimate(self.expected * factor, self.low * factor, self.high * factor)

    @classmethod
    def exactly(cls, amount: float) -> Estimate:
        """Be sure of an amount."""
        return cls(amount, amount, amount)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How a pilot is cut: texts a batch, and where each begins, the first only to warm up."""

    texts: int
    starts: tuple[int, ...]


def pilot_sizes(texts: int, batch_texts: int, *, seed: int, batches: int = PILOT_BATCHES) -> Sizes:
    """Draw stretches of `texts` texts: whole batches where the work has enough of them.

    They are disjoint, unless there are too few texts: then some are drawn twice.

    >>> pilot_sizes(100_000, 256, seed=1).texts
    256
    >>> pilot_sizes(700, 256, seed=1).texts
    10
    >>> pilot_sizes(1, 256, seed=1)
    Sizes(texts=1, starts=(0, 0, 0, 0, 0, 0, 0))
    """
    wanted = batches + 1
    least = max(1, min(_LEAST_TEXTS, texts // wanted))
    size = min(batch_texts, max(least, texts // (_PART * wanted)))
    places, draw = range(texts // size), random.Random(seed)
    many = len(places) >= wanted
    drawn = draw.sample(places, wanted) if many else draw.choices(places or [0], k=wanted)
    return Sizes(size, tuple(place * size for place in drawn))


def predicted(measured: Sequence[float], further: float) -> Estimate:
    """Predict the sum of `further` batches like those that were measured, two at the least.

    >>> predicted([2.0, 2.0, 2.0], further=10)
    Estimate(expected=20.0, low=20.0, high=20.0)
    >>> found = predicted([1.0, 2.0, 3.0], further=30)
    >>> round(found.low, 1), found.expected, round(found.high, 1)
    (7.0, 60.0, 113.0)
    """
    if further <= 0:
        return Estimate.exactly(0.0)
    count, mean = len(measured), fmean(measured)
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    half = quantile * stdev(measured) * further * math.sqrt(1 / further + 1 / count)
    return Estimate(further * mean, max(0.0, further * mean - half), further * mean + half)


def with_fixed(told: Estimate, fixed: float, measured: Sequence[float]) -> Estimate:
    """Add what is done once, whatever the texts: measured once, and done in another mood again.

    Nothing tells how uneven it is, so it is taken to be as uneven as the stretches, both times.

    >>> with_fixed(Estimate.exactly(10.0), 5.0, [2.0, 2.0, 2.0])
    Estimate(expected=15.0, low=15.0, high=15.0)
    """
    expected = told.expected + fixed
    if not any(measured):
        return Estimate(expected, told.low + fixed, told.high + fixed)
    quantile = float(stdtrit(len(measured) - 1, (1 + CONFIDENCE) / 2))
    half = quantile * math.sqrt(2) * fixed * stdev(measured) / fmean(measured)
    low = expected - math.hypot(told.expected - told.low, half)
    return Estimate(expected, max(0.0, low), expected + math.hypot(told.high - told.expected, half))


def warm_up_seconds(first: float, measured: Sequence[float]) -> float:
    """Say what the first batch took beyond the others: the loading of the models."""
    return max(0.0, first - fmean(measured))


def predicted_work(
    measured: Sequence[float], ones: Sequence[float], *, stretch: int, texts: int, batches: int
) -> Estimate:
    """Predict the sum of work in fewer, larger batches than the stretches that were measured.

    `measured` are of `stretch` texts each, `ones` of one text: what a batch takes whatever its size
    and what a text takes are two unknowns, and both means' doubts go into the interval, with
    degrees of freedom after Welch and Satterthwaite. A batch is taken to be as uneven as a stretch:
    the machine's moods do not even out within one. Nothing is expected that would make a batch less
    than a stretch, or its texts more than as many stretches. Where a stretch is a batch, or one
    text, `ones` play no part and it is `predicted`.

    >>> predicted_work([9.0, 9.0], [2.0, 2.0], stretch=8, texts=100, batches=1)
    Estimate(expected=101.0, low=101.0, high=101.0)
    """
    if not ones or stretch == 1 or stretch * batches >= texts:
        return predicted(measured, texts / stretch)
    of_many, of_one = (texts - batches) / (stretch - 1), (stretch * batches - texts) / (stretch - 1)
    spread, spread_one = stdev(measured) ** 2, stdev(ones) ** 2
    mean = fmean(measured)
    told = of_many * mean + of_one * fmean(ones)
    expected = min(max(told, batches * mean), texts / stretch * mean)
    luck = (expected / mean) ** 2 * spread / batches
    doubts = [
        (of_many**2 * spread / len(measured), len(measured) - 1),
        (of_one**2 * spread_one / len(ones), len(ones) - 1),
        (luck, len(measured) - 1),
    ]
    whole = sum(doubt for doubt, _ in doubts)
    if whole == 0:
        return Estimate.exactly(expected)
    freedom = whole**2 / sum(doubt**2 / degrees for doubt, degrees in doubts)
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(whole)
    return Estimate(expected, max(0.0, expected - half), expected + half)
