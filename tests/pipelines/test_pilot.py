from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pipelines.pilot import (
    CONFIDENCE,
    PILOT_BATCHES,
    Estimate,
    pilot_sizes,
    predicted,
    predicted_work,
    warm_up_seconds,
    with_fixed,
)

REPEATS = 1_000
BATCH = 256


def covered(seed: int, batches: int, texts_sigma: float, mood_sigma: float) -> int:
    """Count the repeats in which the work took what its pilot said.

    A text's cost is log-normal, as lengths are; a batch is done in a mood of its own, and once
    more in another when the work is done.
    """
    random = np.random.default_rng(seed)
    hits = 0
    for _ in range(REPEATS):
        costs = random.lognormal(0.0, texts_sigma, (batches, BATCH)).sum(axis=1)
        drawn = random.choice(batches, min(PILOT_BATCHES, batches), replace=False)
        pilot = costs[drawn] * random.lognormal(0.0, mood_sigma, len(drawn))
        real = float((costs * random.lognormal(0.0, mood_sigma, batches)).sum())
        told = predicted(list(pilot), batches)
        hits += told.low <= real <= told.high
    return hits


@pytest.mark.parametrize("batches", [6, 20, 400])
@pytest.mark.parametrize(
    ("texts_sigma", "mood_sigma"), [(0.5, 0.0), (1.0, 0.02), (0.8, 0.1), (0.3, 0.3)]
)
def test_nine_of_ten_intervals_hold_what_the_work_took(
    batches: int, texts_sigma: float, mood_sigma: float
) -> None:
    hits = covered(7, batches, texts_sigma, mood_sigma)
    fewest = int(binom.ppf(0.001, REPEATS, CONFIDENCE))
    assert hits >= fewest


def test_an_interval_is_not_wide_because_it_knows_nothing() -> None:
    hits = covered(3, 400, 0.8, 0.1)
    assert hits <= int(binom.ppf(0.999, REPEATS, 0.93))


@given(st.integers(0, 200_000), st.integers(0, 50))
def test_a_pilot_stays_within_the_work_and_is_drawn_the_same_again(texts: int, seed: int) -> None:
    sizes = pilot_sizes(texts, BATCH, seed=seed)
    assert sizes == pilot_sizes(texts, BATCH, seed=seed)
    assert len(sizes.starts) == PILOT_BATCHES + 1
    assert all(0 <= start <= max(0, texts - sizes.texts) for start in sizes.starts)
    assert 1 <= sizes.texts <= BATCH
    if texts >= 8 * (PILOT_BATCHES + 1):
        assert len(set(sizes.starts)) == PILOT_BATCHES + 1


@pytest.mark.parametrize(("texts", "batches"), [(300, 2), (3_000, 12)])
@pytest.mark.parametrize("a_batch", [0.0, 5.0, 40.0])
@pytest.mark.parametrize("mood_sigma", [0.02, 0.1])
def test_the_interval_holds_too_where_the_pilots_stretches_are_smaller_than_batches(
    texts: int, batches: int, a_batch: float, mood_sigma: float
) -> None:
    random, hits = np.random.default_rng(11), 0
    stretch = pilot_sizes(texts, BATCH, seed=1).texts
    for _ in range(REPEATS):

        def took(size: int, count: int) -> list[float]:
            costs = random.lognormal(0.0, 0.6, (count, size)).sum(axis=1) + a_batch
            moods = random.lognormal(0.0, mood_sigma, count)
            return [float(cost) for cost in costs * moods]

        told = predicted_work(
            took(stretch, PILOT_BATCHES),
            took(1, PILOT_BATCHES),
            stretch=stretch,
            texts=texts,
            batches=batches,
        )
        hits += told.low <= sum(took(texts // batches, batches)) <= told.high
    assert hits >= int(binom.ppf(0.001, REPEATS, CONFIDENCE))


@pytest.mark.parametrize("fixed", [30.0, 300.0, 3_000.0])
@pytest.mark.parametrize("mood_sigma", [0.02, 0.1])
def test_the_interval_holds_too_where_most_of_the_work_is_done_once_whatever_the_texts(
    fixed: float, mood_sigma: float
) -> None:
    random, hits = np.random.default_rng(5), 0

    def moods(count: int) -> list[float]:
        return [float(mood) for mood in random.lognormal(0.0, mood_sigma, count)]

    for _ in range(REPEATS):
        pilot = [10.0 * mood for mood in moods(PILOT_BATCHES)]
        told = with_fixed(predicted(pilot, 3), fixed * moods(1)[0], pilot)
        real = sum(10.0 * mood for mood in moods(3)) + fixed * moods(1)[0]
        hits += told.low <= real <= told.high
    assert hits >= int(binom.ppf(0.001, REPEATS, CONFIDENCE))


def test_nothing_to_do_takes_nothing() -> None:
    assert predicted([1.0, 2.0], further=0) == Estimate(0.0, 0.0, 0.0)


def test_no_end_of_an_interval_is_below_nothing() -> None:
    assert predicted([0.1, 9.0], further=3).low == 0.0


def test_only_what_the_first_batch_took_beyond_the_others_is_loading() -> None:
    assert warm_up_seconds(5.0, [1.0, 2.0]) == 3.5
    assert warm_up_seconds(1.0, [1.0, 2.0]) == 0.0


def test_stretches_of_one_text_say_nothing_of_what_a_batch_takes() -> None:
    """A machine that was slow in the pilot leaves no time for more than single texts."""
    found = predicted_work([1.0, 3.0], [1.0, 1.0], stretch=1, texts=12, batches=1)
    assert found == predicted([1.0, 3.0], 12.0)
