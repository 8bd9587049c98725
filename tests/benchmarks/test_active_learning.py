"""The ways to choose labels are compared fairly: same start, same numbers, repeat by repeat."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.active_learning import MARGIN, RANDOM, WAYS, compared, curves, simulated
from benchmarks.real_sets import RealSet


def made(texts: int = 210) -> tuple[RealSet, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Texts of three labels, whose vectors lie around one point a label."""
    random = np.random.default_rng(7)
    truth = np.arange(texts) % 3
    vectors = np.eye(3)[truth] + random.normal(scale=0.6, size=(texts, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = tuple(f"texto {n}" for n in range(texts))
    blank = np.array([""] * texts)
    one = RealSet("made", words, ("a", "b", "c"), truth, np.arange(texts), blank)
    return one, vectors.astype(np.float32)


def test_all_ways_begin_with_the_same_labels_and_ask_for_the_same_numbers() -> None:
    sizes, scores = simulated(*made(), repeats=2)
    assert sizes == (50, 100)
    assert list(scores) == list(WAYS)
    first = scores[RANDOM][:, 0].tolist()
    assert all(rows.shape == (2, 2) and rows[:, 0].tolist() == first for rows in scores.values())


def test_areas_are_held_against_those_of_the_same_repeat() -> None:
    sizes = (50, 100, 200)
    base = np.array([[0.2, 0.4, 0.6], [0.3, 0.5, 0.7]])
    lines = compared("made", sizes, {RANDOM: base, MARGIN: base, "twice": 2 * base})
    twice = lines[2]
    assert twice.over_random.mean == twice.over_margin.mean == pytest.approx(2.0)
    assert twice.over_random.low == pytest.approx(2.0)
    assert lines[0].of_labels == 100
    assert lines[0].random_labels == pytest.approx(100)
    assert twice.random_labels is None


def test_a_curve_has_a_mean_and_an_interval_at_every_number_of_labels() -> None:
    points = curves("made", (50, 100), {RANDOM: np.array([[0.2, 0.4], [0.4, 0.4]])})
    assert [p.labels for p in points] == [50, 100]
    assert [p.macro_f1 for p in points] == pytest.approx([0.3, 0.4])
    assert points[0].low < 0.3 < points[0].high
    assert points[1].low == points[1].high == 0.4
