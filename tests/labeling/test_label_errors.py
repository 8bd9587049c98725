"""Labels are doubted where a model that never saw them is confident of another."""

from __future__ import annotations

import numpy as np
import pytest

from labeling.label_errors import confident_joint, doubts, thresholds


def test_thresholds_are_the_mean_confidence_where_a_label_was_given() -> None:
    given = np.array([0, 0, 1])
    probabilities = np.array([[0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.5, 0.4, 0.1]])
    assert thresholds(given, probabilities).tolist() == [pytest.approx(0.7), 0.4, np.inf]


def test_a_flipped_label_is_doubted_and_the_others_are_not() -> None:
    truth = np.array([0, 1, 2] * 20)
    probabilities = np.full((60, 3), 0.1)
    probabilities[np.arange(60), truth] = 0.8
    given = truth.copy()
    given[[7, 30]] = (given[[7, 30]] + 1) % 3
    found = doubts(given, probabilities)
    assert sorted(found.places) == [7, 30]
    assert (found.instead == truth[found.places]).all()
    assert found.margin.tolist() == [pytest.approx(-0.7)] * 2


def test_the_worst_comes_first() -> None:
    given = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    sure = [0.9, 0.9, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1]
    probabilities = np.array([[value, 1 - value] for value in sure])
    assert doubts(given, probabilities).places[0] == 3


def test_a_confident_joint_counts_only_confident_rows() -> None:
    given = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.1, 0.9]])
    assert confident_joint(given, probabilities).tolist() == [[1, 1], [1, 1]]


def test_no_labels_give_no_doubts() -> None:
    assert len(doubts(np.zeros(0, np.int64), np.zeros((0, 3))).places) == 0


def test_a_hint_does_not_depend_on_the_order_of_rows() -> None:
    random = np.random.default_rng(4)
    probabilities = random.dirichlet(np.ones(4), 200)
    given = random.integers(0, 4, 200)
    shuffled = random.permutation(200)
    found = doubts(given[shuffled], probabilities[shuffled])
    assert set(shuffled[found.places]) == set(doubts(given, probabilities).places)
