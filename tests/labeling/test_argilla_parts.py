"""Which datasets in Argilla are a task's, and what is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.argilla_parts import Part


@given(st.integers(1, 9), st.integers(1, 500))
def test_a_dataset_is_known_by_its_name(wanted: int, number: int) -> None:
    part = Part("tipo", wanted, number)
    assert Part.parse(str(part), "tipo") == part


@pytest.mark.parametrize("name", ["tip", "tipologia", "tipo-2", "tipo.", "tipo (dos personas)"])
def test_a_dataset_of_something_else_is_no_part(name: str) -> None:
    assert Part.parse(name, "tipo") is None


def test_the_next_is_the_last() -> None:
    parts = [Part("tipo", 1, 9), Part("tipo", 1, 10), Part("tipo", 1, 2)]
    assert str(max(parts).next) == "tipo.11"
