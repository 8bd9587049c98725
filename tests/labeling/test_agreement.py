"""Agreement is measured as its authors do, and as another library does."""

from __future__ import annotations

import warnings
from dataclasses import replace
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from labeling.agreement import OfReviewer, Pair, cohen_kappa, krippendorff_alpha, measure

NONE = "."


def units(*observers: str) -> list[list[str]]:
    """Read observers' answers a line each, as Krippendorff prints them."""
    columns = zip(*(line.split() for line in observers), strict=True)
    return [[value for value in column if value != NONE] for column in columns]


def test_alpha_of_krippendorffs_example_with_missing_data() -> None:
    found = krippendorff_alpha(
        units(
            "1 2 3 3 2 1 4 1 2 . . .",
            "1 2 3 3 2 2 4 1 2 5 . 3",
            ". 3 3 3 2 3 4 2 2 5 1 .",
            "1 2 3 3 2 4 4 1 2 5 1 .",
        )
    )
    assert found == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_krippendorffs_example_of_two_observers() -> None:
    found = krippendorff_alpha(units("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"))
    assert found == pytest.approx(0.095, abs=5e-4)


answers = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2)


@given(answers)
def test_kappa_is_that_of_another_library(pairs: list[tuple[str, str]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = cohen_kappa(first, second)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = cohen_kappa_score(first, second)
    assert found is None if len({*first, *second}) == 1 else found == pytest.approx(other)


@given(answers)
def test_alpha_and_kappa_are_one_where_all_agree(pairs: list[tuple[str, str]]) -> None:
    said = [a for a, _ in pairs]
    expected = None if len(set(said)) == 1 else pytest.approx(1.0)
    assert krippendorff_alpha([[a, a, a] for a in said]) == expected
    assert cohen_kappa(said, said) == expected


def test_answers_by_chance_agree_about_as_often_as_chance() -> None:
    random = Random(3)
    said = [[random.choice("abcd") for _ in range(3)] for _ in range(5000)]
    assert krippendorff_alpha(said) == pytest.approx(0.0, abs=0.02)


def test_nobody_is_compared_where_each_ticket_has_one_answer() -> None:
    found = measure(told(("t1", "ana", "queja"), ("t2", "luis", "reclamo")))
    assert (found.tickets, found.shared, found.alpha, found.pairs) == (2, 0, None, ())
    assert found.reviewers[0] == OfReviewer("ana", 1, 0, None)


def test_pairs_reviewers_and_classes_are_told_apart() -> None:
    found = measure(
        told(
            ("t1", "ana", "queja"),
            ("t1", "luis", "queja"),
            ("t2", "ana", "queja"),
            ("t2", "luis", "reclamo"),
            ("t2", "eva", "reclamo"),
            ("t3", "ana", "reclamo"),
            ("t3", "luis", "reclamo"),
        )
    )
    assert replace(found.pairs[1], kappa=None) == Pair("ana", "luis", 3, 2 / 3, None)
    assert found.pairs[1].kappa == pytest.approx(0.4)
    assert found.reviewers[1] == OfReviewer("eva", 1, 2, 0.5)
    assert [one.label for one in found.classes] == ["queja", "reclamo"]
    assert found.shared == 3


def told(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["ticket_id", "reviewer", "label"], orient="row")
