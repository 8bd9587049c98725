"""The benchmark of guarantees counts what it says: who keeps a promise, and who does not."""

from __future__ import annotations

import numpy as np

from benchmarks.routing import (
    SEARCHES,
    TERMS,
    Line,
    grouped,
    simulated,
    withdrawals,
)
from models.learn_then_test import Limit

LIMIT = Limit(0.1, 0.1)
STEPS = np.array([0.2, 0.4, 0.6])


def test_only_the_plug_in_threshold_breaks_its_promise_more_often_than_it_may() -> None:
    lines = list(simulated(40))
    assert {line.search for line in lines if not line.kept} == {"plug-in"}
    most = [line for line in lines if line.labels == 5000 and line.curve == "82 % right"]
    reach = {line.search: line.reach for line in most if (line.alpha, line.delta) == (0.1, 0.1)}
    assert reach["plata"] > 0.9
    assert reach["Hoeffding"] < reach["Holm (MAPIE)"] < reach["plata"] <= 1.0


def test_searches_take_the_lowest_threshold_they_may() -> None:
    accepted = np.array([[100, 200, 300]])
    few = np.array([[0, 1, 29]])
    found = {name: int(find(accepted, few, STEPS, LIMIT)[0]) for name, find in SEARCHES.items()}
    assert found == {
        "plata": 1,
        "fixed sequence": 1,
        "Holm (MAPIE)": 1,
        "Hoeffding": 1,
        "plug-in": 2,
    }


def test_a_search_that_finds_nothing_says_so() -> None:
    accepted, bad = np.array([[100, 200, 300]]), np.array([[40, 80, 120]])
    assert {int(find(accepted, bad, STEPS, LIMIT)[0]) for find in SEARCHES.values()} == {-1}


def test_missing_labels_break_promises_where_they_are_left_out_and_not_as_errors() -> None:
    lines = {(g.labels, g.treatment, g.label): g for g in grouped(25, [5000])}
    assert not lines[5000, "missing left out", "peticion"].kept
    assert all(g.kept for g in lines.values() if g.treatment != "missing left out")
    assert all(g.delta == TERMS.delta for g in lines.values())


def test_a_larger_shift_is_withdrawn_more_often() -> None:
    gone = {(s.alpha, s.factor, s.window): s.withdrawn for s in withdrawals(200)}
    assert gone[0.1, 0.0, 200] <= 0.05
    assert gone[0.1, 1.5, 200] < gone[0.1, 2.0, 200] < gone[0.1, 3.0, 200]
    assert gone[0.1, 3.0, 400] >= 0.95


def test_keeping_a_promise_allows_for_luck() -> None:
    line = Line("made", 0.1, 0.1, 500, "plata", 100, 1000, 0.5, 0.7)
    assert line.kept
    assert not Line("made", 0.1, 0.1, 500, "plata", 140, 1000, 0.5, 0.7).kept
