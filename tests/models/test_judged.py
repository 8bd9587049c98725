"""What is said of a challenger on one set of texts, and of its parts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from models.classifier import Probabilities
from models.gates import GatePolicy, Measures, TaskMeasures, judge
from models.judged import judged
from models.slices import OTHER, lengths, sliced

LABELS = ("peticion", "queja")
TRUTH = np.arange(80) % 2
CHANNELS = ["chat" if n < 20 else "email" for n in range(80)]


def sure_of(answers: NDArray[np.int64], score: float = 0.9) -> Probabilities:
    table: Probabilities = np.full((len(answers), 2), 1 - score)
    table[np.arange(len(answers)), answers] = score
    return table


def wrong_at(*places: int) -> NDArray[np.int64]:
    answers = TRUTH.copy()
    answers[list(places)] = 1 - answers[list(places)]
    return answers


def test_a_challenger_that_fails_one_channel_is_found_out_by_its_slices() -> None:
    """Right in 72 of 80, the champion in 70: better in all, and worse in every chat it lost."""
    new, old = wrong_at(*range(8)), wrong_at(*range(70, 80))
    found = judged(
        "file",
        TRUTH,
        sure_of(new),
        sure_of(old),
        labels=LABELS,
        slices={"canal": CHANNELS},
        seed=1,
    )
    assert found.comparison is not None
    assert found.comparison.macro_f1_lift > 0
    chat, email = found.slices
    assert (chat.name, chat.texts, chat.right, chat.champion_right) == ("canal=chat", 20, 12, 20)
    assert chat.p_worse == pytest.approx(0.5**8)
    assert email.p_worse == 1.0
    task = TaskMeasures(
        task="tipo",
        challenger="",
        champion="",
        texts=found.texts,
        macro_f1=found.challenger.macro_f1,
        champion_macro_f1=0.0,
        lift_low=0.0,
        lift_high=0.0,
        p_better=0.0,
        ece=0.0,
        seconds=0.0,
        champion_seconds=0.0,
        slices=found.slice_measures(),
    )
    verdict = judge(GatePolicy(slice_loss_at_most=0.05), Measures(tasks=(task,)))
    assert [gate.name for gate in verdict.failed] == ["tipo: slices"]
    assert "canal=chat 1.000 → 0.600 (20 texts" in verdict.failed[0].found


def test_without_a_champion_nothing_is_compared() -> None:
    found = judged(
        "audit", TRUTH, sure_of(TRUTH), None, labels=LABELS, slices={"canal": CHANNELS}, seed=1
    )
    assert (found.champion, found.comparison) == (None, None)
    assert found.slice_measures() == ()
    assert "lift/macro_f1" not in found.metrics()
    assert found.accuracy.low < 1.0 == found.accuracy.high


def test_all_figures_are_plain_values_and_the_same_every_time() -> None:
    def figures() -> str:
        found = judged(
            "file",
            TRUTH,
            sure_of(wrong_at(1, 5, 9), 0.8),
            sure_of(wrong_at(2, 5)),
            labels=LABELS,
            slices={"canal": CHANNELS},
            seed=1,
        )
        return json.dumps(found.as_dict())

    assert figures() == figures()
    values = json.loads(figures())
    assert values["metrics"]["macro_f1_low"] < values["metrics"]["macro_f1"]
    (part,) = values["calibration"]
    assert (part["low"], part["texts"], part["accuracy"]) == (0.8, 80, 77 / 80)
    assert part["mean_score"] == pytest.approx(0.8)


def test_every_text_is_in_one_part_of_each_dimension_and_the_rarest_share_one() -> None:
    values = {"region": [f"r{n % 40:02d}" if n >= 40 else "r00" for n in range(80)]}
    parts = sliced(values, TRUTH == 0, None)
    assert sum(part.texts for part in parts) == 80
    assert len(parts) == 13
    assert parts[-1].value == OTHER
    assert parts[0].texts == 41


def test_lengths_are_cut_at_the_same_places_for_everyone() -> None:
    texts = ["a" * n for n in (0, 99, 100, 299, 300, 999, 1000)]
    assert lengths(texts) == [
        *("0–99", "0–99", "100–299", "100–299", "300–999", "300–999", "≥ 1000")
    ]
