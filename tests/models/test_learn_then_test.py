"""The search for a threshold keeps its promise: by simulation, and beside MAPIE's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from lakehouse.errors import ConfigurationError
from models.label_value import RANKS, Curve, curve_of, expected_coverage, search_samples
from models.learn_then_test import (
    STEPS,
    Limit,
    Order,
    at_least,
    at_most,
    counted,
    lowest_proven,
    order_of,
    shares_of,
    steps_for,
)

LIMIT = Limit(alpha=0.05, delta=0.1)
REPEATS = 400
RANK = (np.arange(RANKS) + 0.5) / RANKS

CURVES = {
    "rising": 0.55 * RANK**2,
    "worst at the top": np.where(RANK < 0.02, 0.3, 0.5 * RANK**2),
    "just too wrong everywhere": np.full(RANKS, 0.0501),
    "up and down": 0.05 + 0.03 * np.sin(RANK * 12),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("labels", [250, 2500])
def test_the_promise_is_broken_no_more_often_than_it_may_be(name: str, labels: int) -> None:
    found = search_samples(
        Curve(CURVES[name]), labels, LIMIT, repeats=REPEATS, rng=np.random.default_rng(5)
    )
    broken = int((found.risk > LIMIT.alpha).sum())
    assert broken <= binom.ppf(0.9999, REPEATS, LIMIT.delta)


def test_with_many_labels_nearly_all_is_accepted_that_could_be() -> None:
    curve = Curve(CURVES["rising"])
    reached = expected_coverage(curve, 5000, LIMIT, seed=1)
    assert 0.85 < reached / curve.oracle(LIMIT.alpha) <= 1.0


def test_a_few_wrong_answers_at_the_top_do_not_end_the_search() -> None:
    curve, rng = Curve(np.where(RANK < 0.02, 0.15, 0.5 * RANK**2)), np.random.default_rng(2)
    found = search_samples(curve, 5000, LIMIT, repeats=100, rng=rng)
    assert found.coverage.mean() > 0.7 * curve.oracle(LIMIT.alpha)


def test_more_labels_accept_more() -> None:
    curve = Curve(CURVES["rising"])
    told = [expected_coverage(curve, labels, LIMIT, seed=1) for labels in (250, 1000, 4000)]
    assert told == sorted(told)
    assert told[0] < told[-1]


def test_a_limit_lies_between_nothing_and_everything() -> None:
    with pytest.raises(ConfigurationError, match=r"alpha is 0 and delta 0\.1"):
        Limit(0, 0.1)


def test_too_few_labels_prove_nothing() -> None:
    scores, wrong = np.linspace(0, 1, LIMIT.fewest - 1), np.zeros(LIMIT.fewest - 1, bool)
    order = order_of(np.linspace(0, 1, 50), len(scores), LIMIT)
    accepted, errors = counted(scores, wrong, order)
    assert lowest_proven(accepted, errors, order.shares, LIMIT) == -1


def test_just_enough_labels_without_an_error_accept_everything() -> None:
    scores, wrong = np.linspace(0, 1, LIMIT.fewest), np.zeros(LIMIT.fewest, bool)
    order = order_of(np.linspace(0, 1, 50), len(scores), LIMIT)
    accepted, errors = counted(scores, wrong, order)
    place = lowest_proven(accepted, errors, order.shares, LIMIT)
    assert order.thresholds[place] == 0.0


@given(st.integers(1, 20_000), st.lists(st.floats(0, 1), max_size=40))
def test_an_order_falls_and_spends_delta_once(labels: int, scores: list[float]) -> None:
    order = order_of(np.array(scores), labels, LIMIT)
    assert (np.diff(order.thresholds) < 0).all()
    assert order.shares.sum() == pytest.approx(1.0)
    assert len(order.thresholds) == len(order.shares) <= STEPS


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_counts_are_those_of_looking_at_every_answer(answers: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in answers])
    wrong = np.array([fault for _, fault in answers], dtype=np.bool_)
    order = Order(np.array([0.9, 0.5, 0.0]), np.array([1.0, 0.0, 0.0]))
    accepted, errors = counted(scores, wrong, order)
    for place, cut in enumerate(order.thresholds):
        assert accepted[place] == sum(score >= cut for score, _ in answers)
        assert errors[place] == sum(score >= cut and fault for score, fault in answers)


def test_a_search_that_starts_in_one_place_is_fixed_sequence_testing() -> None:
    accepted = np.array([100, 200, 300, 400])
    errors = np.array([0, 30, 1, 1])
    shares = np.array([1.0, 0.0, 0.0, 0.0])
    assert lowest_proven(accepted, errors, shares, LIMIT) == 0


def test_a_search_begins_again_where_some_of_delta_waits() -> None:
    accepted = np.array([100, 200, 300, 400])
    errors = np.array([0, 30, 1, 1])
    shares = np.array([0.5, 0.0, 0.5, 0.0])
    assert lowest_proven(accepted, errors, shares, LIMIT) == 3


def test_a_curve_follows_the_errors_it_was_shown() -> None:
    rng = np.random.default_rng(3)
    scores = rng.uniform(size=20_000)
    wrong = (rng.uniform(size=20_000) < 0.4 * (1 - scores)).astype(float)
    curve = curve_of(scores, wrong, rng.uniform(size=5000))
    assert np.abs(curve.rates - 0.4 * RANK).mean() < 0.02
    assert (np.diff(curve.rates) >= 0).all()


def test_an_excess_of_errors_is_told_from_bad_luck() -> None:
    assert at_least(11, 200, 0.05) > 0.1
    assert at_least(25, 200, 0.05) < 0.001
    assert at_least(0, 0, 0.05) == 1.0


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.1, 0.2]))
def test_mapie_proves_the_same_thresholds_by_fixed_sequence_testing(
    seed: int, alpha: float
) -> None:
    """MAPIE counts one error more where its sum of them is no whole number by a rounding."""
    from mapie.risk_control import BinaryClassificationController, precision

    rng = np.random.default_rng(seed)
    scores = rng.beta(4, 1, size=600)
    right = rng.uniform(size=600) < scores**0.5
    order = Order(np.linspace(0.98, 0.02, 49), np.eye(1, 49)[0])
    theirs = BinaryClassificationController(
        lambda x: np.column_stack([1 - x[:, 0], x[:, 0]]),
        precision,
        1 - alpha,
        confidence_level=0.9,
        list_predict_params=order.thresholds,
        fwer_method="fixed_sequence",
    )
    theirs.calibrate(scores.reshape(-1, 1), right.astype(int))
    proven = len(theirs.valid_predict_params)
    limit, (accepted, errors) = Limit(alpha, 0.1), counted(scores, ~right, order)
    told = np.asarray(theirs.p_values).ravel()
    assert (told >= at_most(errors, accepted, alpha) - 1e-12).all()
    assert (told <= at_most(errors + 1, accepted, alpha) + 1e-12).all()
    most = int(lowest_proven(accepted, errors, order.shares, limit)) + 1
    least = int(lowest_proven(accepted, errors + 1, order.shares, limit)) + 1
    assert least <= proven <= most


def test_the_first_step_can_prove_something() -> None:
    for labels in (100, 1000, 10_000):
        steps = steps_for(labels, LIMIT)
        assert steps[0] * labels >= min(labels, 2 * LIMIT.fewest) - 1
        assert shares_of(steps)[0] >= 0.5
