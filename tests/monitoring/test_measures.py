"""Two numbers for how far apart two samples lie, and what chance makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.metrics import roc_auc_score

from monitoring.measures import (
    auc,
    auc_by_chance,
    category_counts,
    decile_counts,
    domain_auc,
    psi,
    psi_by_chance,
)

COUNTS = st.lists(st.integers(0, 500), min_size=4, max_size=4).map(np.array)


@given(COUNTS, COUNTS)
def test_the_index_is_never_negative_and_does_not_care_which_side_is_which(
    one: np.ndarray, other: np.ndarray
) -> None:
    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))


def test_a_label_that_disappears_moves_the_index_far_but_not_infinitely() -> None:
    assert 0.5 < psi(np.array([80, 20]), np.array([100, 0])) < 2


def test_labels_of_either_side_are_counted_on_both() -> None:
    before, after = category_counts(np.array(["a", "b", "b"]), np.array(["b", "c"]))
    assert before.tolist() == [1, 2, 0]
    assert after.tolist() == [0, 1, 1]


def test_numbers_are_counted_by_the_deciles_of_the_reference() -> None:
    reference = np.arange(100.0)
    before, after = decile_counts(reference, np.full(50, 99.0))
    assert before.tolist() == [10] * 10
    assert after.tolist() == [0] * 9 + [50]


def test_rows_without_a_number_have_a_bin_of_their_own() -> None:
    before, after = decile_counts(np.full(10, 3.0), np.array([3.0, np.nan, np.nan]))
    assert before.tolist() == [10, 0]
    assert after.tolist() == [1, 2]


def test_chance_moves_the_index_as_the_paper_says() -> None:
    random = np.random.default_rng(3)
    shares = np.full(10, 0.1)
    drawn = [
        psi(random.multinomial(400, shares), random.multinomial(200, shares)) for _ in range(2000)
    ]
    limit = psi_by_chance(10, 400, 200, risk=0.05)
    assert limit == pytest.approx(chi2.ppf(0.95, 9) * (1 / 400 + 1 / 200))
    assert 0.02 < np.mean(np.array(drawn) > limit) < 0.08


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
def test_the_area_is_the_one_everybody_computes(rows: list[tuple[bool, int]]) -> None:
    side = np.array([float(one) for one, _ in rows])
    score = np.array([float(value) for _, value in rows])
    if 0 < side.sum() < len(side):
        assert auc(side, score) == pytest.approx(roc_auc_score(side, score))


def test_two_halves_of_one_population_cannot_be_told_apart() -> None:
    rows = np.random.default_rng(1).normal(size=(600, 40))
    found = domain_auc(rows[:300], rows[300:], folds=5, seed=1)
    assert found is not None
    assert found < auc_by_chance(300, 300, risk=0.001)


def test_a_population_that_moved_is_recognised() -> None:
    random = np.random.default_rng(1)
    here, there = random.normal(size=(300, 40)), random.normal(loc=0.25, size=(300, 40))
    found = domain_auc(here, there, folds=5, seed=1)
    assert found is not None
    assert found > 0.8


def test_the_same_seed_gives_the_same_area() -> None:
    random = np.random.default_rng(5)
    here, there = random.normal(size=(80, 8)), random.normal(loc=0.2, size=(70, 8))
    assert domain_auc(here, there, folds=5, seed=4) == domain_auc(here, there, folds=5, seed=4)


def test_too_few_rows_have_no_area() -> None:
    assert domain_auc(np.eye(3), np.eye(9), folds=5, seed=1) is None
