"""Active learning asks about what is in doubt, of every label, and not twice about the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.active import most_telling, uncertainty


def unit(vectors: list[list[float]]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = np.array(vectors, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def chances(*best: tuple[int, float], labels: int = 2) -> np.ndarray[tuple[int, int]]:
    rows = [
        [score if place == label else (1 - score) / (labels - 1) for place in range(labels)]
        for label, score in best
    ]
    return np.array(rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(0, 40), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_as_many_as_asked_are_chosen_none_twice_and_always_the_same(
    texts: int, count: int, labels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    said = random.dirichlet(np.ones(labels), texts)
    space = unit(random.normal(size=(texts, 4)).tolist()) if texts else np.zeros((0, 4), np.float32)
    chosen = most_telling(said, space, count)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, texts)
    assert most_telling(said, space, count).tolist() == chosen.tolist()


def test_the_least_certain_comes_first() -> None:
    said = chances((0, 0.9), (0, 0.55), (0, 0.7), (0, 0.99))
    assert most_telling(said, unit([[1, 0], [0, 1], [1, 1], [-1, 0]]), 1).tolist() == [1]


def test_of_texts_alike_one_is_asked_about() -> None:
    said = chances((0, 0.50), (0, 0.51), (0, 0.60), (0, 0.61))
    space = unit([[1, 0], [1, 0], [0, 1], [1, 0]])
    assert most_telling(said, space, 2).tolist() == [0, 2]


def test_a_label_the_model_is_surer_of_is_asked_about_too() -> None:
    said = chances((0, 0.51), (0, 0.52), (0, 0.53), (1, 0.80), (0, 0.54))
    space = unit([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1], [0.7, 0.3]])
    assert 3 in most_telling(said, space, 2).tolist()


def test_an_answer_that_is_missing_is_the_greatest_doubt() -> None:
    said = np.array([[0.6, 0.4], [np.nan, np.nan]])
    assert uncertainty(said).tolist() == [0.8, 1.0]
