from __future__ import annotations

import numpy as np
import pytest

from models.evaluation import LabelScore, evaluate
from models.splitting import first_of_each, held_out

LABELS = ("a", "b")


def test_answers_are_counted_by_true_label_and_answer() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]])
    found = evaluate(probabilities, np.array([0, 0, 1, 1]), LABELS)
    assert found.confusion.tolist() == [[2, 0], [1, 1]]
    assert found.accuracy == 0.75
    assert found.labels["b"] == LabelScore(precision=1.0, recall=0.5, f1=2 / 3, support=2)
    assert found.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.6, 0.3]).mean())


def test_calibration_error_is_how_far_scores_are_from_what_came_true() -> None:
    sure = np.array([[0.75, 0.25]] * 4)
    assert evaluate(sure, np.array([0, 0, 0, 1]), LABELS).ece == pytest.approx(0.0)
    assert evaluate(sure, np.array([0, 0, 0, 0]), LABELS).ece == pytest.approx(0.25)


def test_a_label_nobody_chose_scores_nothing() -> None:
    found = evaluate(np.array([[1.0, 0.0]] * 2), np.array([0, 1]), LABELS)
    assert found.labels["b"] == LabelScore(0.0, 0.0, 0.0, 1)


def test_a_text_keeps_its_side_however_rows_are_ordered() -> None:
    texts = [f"texto {n}" for n in range(40)]
    truth = np.arange(40) % 2
    order = np.random.default_rng(3).permutation(40)
    marks = held_out(texts, truth, share=0.25, seed=7)
    shuffled = held_out([texts[n] for n in order], truth[order], share=0.25, seed=7)
    assert (marks[order] == shuffled).all()
    assert [int(marks[truth == label].sum()) for label in (0, 1)] == [5, 5]
    assert (marks != held_out(texts, truth, share=0.25, seed=8)).any()


def test_a_repeated_text_is_kept_once() -> None:
    assert first_of_each(["A b", "a  B!", "c"]).tolist() == [True, False, True]
