from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from models.rules import KeywordRules, default_rules, read_rules, save_rules
from registry.errors import ArtifactError

TIPO = default_rules(
    "tipo",
    {"peticion": "Petición", "queja": "Queja", "reclamo": "Reclamo", "sugerencia": "Sugerencia"},
)
PRIORIDAD = default_rules("prioridad", {"alta": "Alta", "media": "Media", "baja": "Baja"})


def rows(*texts: str | None) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})


def test_a_probability_is_the_share_of_the_keywords_found() -> None:
    found = TIPO.predict_proba(rows("SOLICITO información: la factura tiene un ERROR, solicito..."))
    assert found.tolist() == [[0.6, 0.0, 0.4, 0.0]]


def test_without_keywords_every_label_is_as_likely() -> None:
    assert TIPO.predict_proba(rows("Buenas tardes", None)).tolist() == [[0.25] * 4] * 2


def test_a_keyword_is_a_whole_word_without_accents() -> None:
    found = PRIORIDAD.predict_proba(rows("¡URGENTE!", "urgentemente", "tutela tutela pronto"))
    assert found.round(3).tolist() == [[1, 0, 0], [0.333] * 3, [0.667, 0.333, 0]]


def test_the_reason_names_the_keywords_and_nothing_else_of_the_text() -> None:
    given = rows("Queja: maltrato de Pedro, cédula 1234", "Hola")
    reasons = TIPO.explain(given, TIPO.predict_proba(given))
    assert reasons == [
        "Palabras clave: queja, maltrato.",
        "Sin palabras clave: todas las etiquetas son igual de probables.",
    ]


def test_a_keyword_may_be_several_words() -> None:
    rules = KeywordRules({"si": ("mala atención",), "no": ("gracias",)})
    assert rules.predict_proba(rows("Mala, muy mala atencion", "mala")).tolist() == [
        [1.0, 0.0],
        [0.5, 0.5],
    ]


def test_rules_are_a_file_anyone_can_change(tmp_path: Path) -> None:
    save_rules(TIPO, tmp_path)
    assert read_rules(tmp_path / "rules.yaml") == TIPO
    assert "información" in (tmp_path / "rules.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text", ["- queja", "queja: maltrato", "queja: [a]", "queja: []\nreclamo: [b]", "a: [b", "\xff"]
)
def test_a_file_that_is_not_rules_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rules.yaml").write_text(text, encoding="latin1")
    with pytest.raises(ArtifactError):
        read_rules(tmp_path / "rules.yaml")
