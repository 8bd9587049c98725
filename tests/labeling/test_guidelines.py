"""What reviewers go by: in Spanish, versioned, and no longer than Argilla takes."""

from __future__ import annotations

import pytest

from contracts.pqrs import PqrsType, Priority
from labeling.guidelines import newest

ARGILLA_TAKES = 10_000


@pytest.mark.parametrize("task", ["tipo", "prioridad", "cualquier-otra"])
def test_a_guideline_fits_and_is_spanish(task: str) -> None:
    text = newest(task).text
    assert len(text) <= ARGILLA_TAKES
    assert text.startswith("# Guía para ")
    assert "sugiere el modelo" in text


def test_the_guideline_for_types_explains_every_type() -> None:
    titles = {"peticion": "Petición", "queja": "Queja", "reclamo": "Reclamo"}
    text = newest("tipo").text
    assert all(f"**{titles.get(kind, 'Sugerencia')}**" in text for kind in PqrsType)


def test_the_guideline_for_priority_explains_every_level() -> None:
    text = newest("prioridad").text
    assert all(f"**{level.capitalize()}**" in text for level in Priority)


def test_a_task_without_a_guideline_gets_the_general_one() -> None:
    assert newest("tema").version == "general.v1"
    assert newest("general").version == "general.v1"
