"""Paired tests and intervals: against exact values, and by how often they keep their promise."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import bdtr
from scipy.stats import binom, binomtest

from models.comparison import EXCHANGES, Comparison, Places, compare, mcnemar, mcnemar_worse
from models.evaluation import evaluate
from models.intervals import macro_f1_interval, wilson

REPEATS = 200


def answered(truth: Places, random: np.random.Generator, *, right: float, labels: int) -> Places:
    """Answer at random, right with the given chance."""
    hit = random.random(len(truth)) < right
    return np.where(hit, truth, (truth + random.integers(1, labels, len(truth))) % labels)


def scored(truth: Places, answers: Places, labels: int) -> float:
    sure: NDArray[np.float64] = np.eye(labels)[answers]
    return evaluate(sure, truth, tuple(map(str, range(labels)))).macro_f1


def promised(kept: int, chance: float) -> bool:
    """Whether so many of REPEATS are what a promise of `chance` brings in all but 1 of 1,000."""
    return bool(binom.ppf(0.0005, REPEATS, chance) <= kept <= binom.ppf(0.9995, REPEATS, chance))


@pytest.mark.parametrize(("gained", "lost"), list(product((0, 1, 3, 8, 25), (0, 2, 8, 31))))
def test_mcnemars_test_is_the_exact_binomial(gained: int, lost: int) -> None:
    total = gained + lost
    both = binomtest(gained, total).pvalue if total else 1.0
    worse = binomtest(lost, total, alternative="greater").pvalue if total else 1.0
    assert mcnemar(gained, lost) == pytest.approx(both)
    assert mcnemar_worse(gained, lost) == pytest.approx(worse)


@given(st.integers(0, 200), st.integers(1, 200))
def test_a_share_lies_in_its_interval(hits: int, more: int) -> None:
    found = wilson(hits, hits + more)
    assert 0 <= found.low <= hits / (hits + more) <= found.high < 1


def test_wilsons_interval_is_the_one_of_scipy() -> None:
    theirs = binomtest(83, 100).proportion_ci(method="wilson")
    ours = wilson(83, 100)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_of_nothing_tried_everything_is_possible() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


def test_exchanging_answers_finds_what_counting_every_exchange_finds() -> None:
    """Four answers differ, so 16 exchanges do: all are counted, with scikit-learn's macro-F1."""
    from sklearn.metrics import f1_score

    truth = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    new = np.array([0, 0, 1, 1, 1, 1, 2, 2, 0])
    old = np.array([0, 1, 1, 1, 0, 2, 2, 0, 0])

    def lift(one: Places, other: Places) -> float:
        options = {"labels": [0, 1, 2], "average": "macro", "zero_division": 0}
        return float(f1_score(truth, one, **options) - f1_score(truth, other, **options))

    whole = lift(new, old)
    differ = np.flatnonzero(new != old)
    every = []
    for coins in product((False, True), repeat=len(differ)):
        swap = np.zeros(len(truth), np.bool_)
        swap[differ] = coins
        every.append(lift(np.where(swap, old, new), np.where(swap, new, old)))
    one_sided = np.mean([value >= whole - 1e-12 for value in every])
    two_sided = np.mean([abs(value) >= abs(whole) - 1e-12 for value in every])
    found = compare(truth, new, old, labels=3, seed=1)
    spread = 4 * (0.25 / EXCHANGES) ** 0.5
    assert found.macro_f1_lift == pytest.approx(whole)
    assert found.p_better == pytest.approx(one_sided, abs=spread)
    assert found.p_macro_f1 == pytest.approx(two_sided, abs=spread)
    assert (found.only_challenger, found.only_champion) == (4, 0)


def test_macro_f1s_interval_holds_the_truth_as_often_as_it_says() -> None:
    """The truth is the macro-F1 over so many texts that chance no longer matters."""
    random = np.random.default_rng(11)
    shares = np.array([0.6, 0.3, 0.1])
    chances = np.array([[0.8, 0.15, 0.05], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])

    def table(texts: int) -> NDArray[np.int64]:
        return np.array(
            [random.multinomial(n, p) for n, p in zip(shares * texts, chances, strict=True)]
        )

    def macro(confusion: NDArray[np.int64]) -> float:
        hits, said, true = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
        return float((2 * hits / (said + true)).mean())

    truth = macro(table(50_000_000))
    found = [macro_f1_interval(table(300), seed=n) for n in range(REPEATS)]
    kept = sum(interval.low <= truth <= interval.high for interval in found)
    assert promised(kept, 0.95)


def compared(random: np.random.Generator, *, right: float, before: float, seed: int) -> Comparison:
    truth = random.choice(3, 240, p=[0.5, 0.3, 0.2])
    new = answered(truth, random, right=right, labels=3)
    old = answered(truth, random, right=before, labels=3)
    return compare(truth, new, old, labels=3, seed=seed)


def test_equals_look_unequal_as_seldom_as_the_test_says() -> None:
    random = np.random.default_rng(5)
    found = [compared(random, right=0.75, before=0.75, seed=n) for n in range(REPEATS)]
    assert promised(sum(one.p_macro_f1 <= 0.05 for one in found), 0.05)
    assert promised(sum(one.p_better <= 0.05 for one in found), 0.05)
    assert promised(sum(one.interval.low <= 0 <= one.interval.high for one in found), 0.95)
    exact = sum(one.p_accuracy <= 0.05 for one in found)
    assert exact <= binom.ppf(0.9995, REPEATS, 0.05)


def test_a_clearly_better_model_is_found_out() -> None:
    random = np.random.default_rng(6)
    found = [compared(random, right=0.90, before=0.75, seed=n) for n in range(REPEATS)]
    assert sum(one.p_better <= 0.05 for one in found) > 0.9 * REPEATS


def test_the_same_texts_give_the_same_figures_whatever_their_order() -> None:
    random = np.random.default_rng(7)
    truth = random.integers(0, 4, 120)
    new = answered(truth, random, right=0.8, labels=4)
    old = answered(truth, random, right=0.7, labels=4)
    order = random.permutation(120)
    once = compare(truth, new, old, labels=4, seed=3)
    assert compare(truth[order], new[order], old[order], labels=4, seed=3) == once
    assert compare(truth, new, old, labels=4, seed=4) != once


def test_a_comparison_the_other_way_round_is_the_same_with_its_sign_changed() -> None:
    random = np.random.default_rng(8)
    truth = random.integers(0, 3, 150)
    new = answered(truth, random, right=0.8, labels=3)
    old = answered(truth, random, right=0.7, labels=3)
    one, other = (compare(truth, a, b, labels=3, seed=3) for a, b in ((new, old), (old, new)))
    assert one.macro_f1_lift == pytest.approx(-other.macro_f1_lift)
    assert one.macro_f1_lift == pytest.approx(scored(truth, new, 3) - scored(truth, old, 3))
    assert one.p_accuracy == other.p_accuracy
    assert one.p_macro_f1 == pytest.approx(other.p_macro_f1, abs=0.03)


def test_answers_that_are_equal_prove_nothing() -> None:
    truth = np.arange(30) % 3
    found = compare(truth, truth, truth, labels=3, seed=1)
    assert (found.p_accuracy, found.p_macro_f1, found.p_better) == (1.0, 1.0, 1.0)
    assert (found.interval.low, found.interval.high) == (0.0, 0.0)


def test_texts_repeated_in_groups_prove_no_more_than_one_of_each() -> None:
    """Twelve texts, each there nine times: row by row it cannot be chance, by group it may."""
    truth = np.arange(12) % 2
    old = truth.copy()
    old[:4] = 1 - old[:4]
    repeated = [np.repeat(column, 9) for column in (truth, truth, old)]
    groups = np.repeat(np.arange(12), 9)
    by_row = compare(*repeated, labels=2, seed=1)
    by_group = compare(*repeated, labels=2, seed=1, groups=groups)
    assert by_row.p_better < 0.001
    assert by_group.p_better == pytest.approx(float(bdtr(0, 4, 0.5)), abs=0.02)
    assert by_group.interval.high - by_group.interval.low > 2 * (
        by_row.interval.high - by_row.interval.low
    )
