from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from features.embed import as_lists
from models.zero_shot import ZeroShotClassifier, ZeroShotPrompt, default_prompt
from registry.errors import ArtifactError, PromptError

TITLES = {"peticion": "Petición", "queja": "Queja", "reclamo": "Reclamo", "sugerencia": "S"}


class Corners:
    """Embeds every text as the next corner of a square."""

    dimensions = 2

    def encode(self, texts: pa.Array) -> NDArray[np.float32]:
        return np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)[: len(texts)]


def classifier(**changes: object) -> ZeroShotClassifier:
    values = {
        "consulta": "query: {{text}}",
        "temperatura": 1.0,
        "etiquetas": {"agua": ["falta de agua", "tubos rotos"], "luz": ["sin energía"]},
    }
    return ZeroShotClassifier.of(ZeroShotPrompt.model_validate(values | changes), Corners())


def rows(*vectors: tuple[float, float]) -> pa.Table:
    return pa.table({"embedding": as_lists(np.array(vectors, np.float32).reshape(-1, 2))})


def test_nearness_to_descriptions_becomes_probability() -> None:
    found = classifier().predict_proba(rows((1, 0), (-1, 0)))
    first = np.exp(0.5) / (np.exp(0.5) + np.exp(-1))
    np.testing.assert_allclose(found, [[first, 1 - first], [1 - first, first]], rtol=1e-6)


def test_a_lower_temperature_is_surer() -> None:
    warm = classifier().predict_proba(rows((1, 0)))
    cold = classifier(temperatura=0.1).predict_proba(rows((1, 0)))
    assert cold[0, 0] > warm[0, 0]


def test_a_bias_moves_a_label_whose_descriptions_lie_near_everything() -> None:
    moved = classifier(sesgos={"luz": 5.0}).predict_proba(rows((1, 0)))
    assert moved[0, 1] > 0.9


def test_the_reason_quotes_a_description_and_not_the_text() -> None:
    zero_shot = classifier()
    given = rows((0, 1), (-1, 0))
    assert zero_shot.explain(given, zero_shot.predict_proba(given)) == [
        "Se parece a: «tubos rotos».",
        "Se parece a: «sin energía».",
    ]


def test_vectors_of_another_model_are_refused() -> None:
    other = pa.table({"embedding": as_lists(np.ones((1, 3), np.float32))})
    with pytest.raises(ArtifactError, match="have 3 numbers"):
        classifier().predict_proba(other)


def test_no_rows_give_no_answers() -> None:
    assert classifier().predict_proba(rows()).shape == (0, 2)


def test_a_prompt_comes_back_from_its_text() -> None:
    prompt = default_prompt("tipo", TITLES)
    assert ZeroShotPrompt.parse(prompt.text()) == prompt
    assert "{{text}}" in prompt.text()


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("query: text", "not a zero-shot prompt"),
        ("consulta: 'query: text'\netiquetas: {a: [x], b: [y]}", "holds"),
        ("consulta: '{{text}}'\netiquetas: {a: [x]}", "not a zero-shot prompt"),
        ("consulta: '{{text}}'\netiquetas: {a: [x], b: []}", "without a description: b"),
        ("consulta: '{{text}}'\ntemperatura: 0\netiquetas: {a: [x], b: [y]}", "temperatura"),
        ("consulta: [", "not a zero-shot prompt"),
    ],
)
def test_a_text_that_is_no_zero_shot_prompt_is_refused_with_what_it_lacks(
    text: str, lacks: str
) -> None:
    with pytest.raises(PromptError, match=lacks):
        ZeroShotPrompt.parse(text)


def test_labels_that_were_changed_are_described_by_their_titles() -> None:
    prompt = default_prompt("tipo", {"a": "Agua", "b": "Luz"})
    assert prompt.etiquetas == {"a": ["Agua"], "b": ["Luz"]}
