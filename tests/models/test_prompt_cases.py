from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lakehouse.errors import InputError
from models.prompt_cases import as_kept, judged_cases, read_cases

YAML = "- {texto: hola, etiqueta: queja}\n- {texto: adiós, etiqueta: reclamo, minimo: 0.5}\n"
LINES = '{"texto": "hola", "etiqueta": "queja"}\n\n' + (
    '{"texto": "adiós", "etiqueta": "reclamo", "minimo": 0.5}\n'
)


def test_yaml_and_json_lines_say_the_same_and_are_kept_the_same() -> None:
    cases = read_cases(YAML)
    assert cases == read_cases(LINES, lines=True) == read_cases(as_kept(cases))
    assert [case.minimo for case in cases] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[]", "there is no test"),
        ("- {texto: secreto}", "test 1 etiqueta: Field required"),
        ("- {texto: secreto, etiqueta: a}\n- {texto: '', etiqueta: a}", "test 2 texto"),
        ("- {texto: secreto, etiqueta: a, minimo: 2}", "test 1 minimo"),
        ("- {texto: secreto, etiqueta: a, otra: 1}", "test 1 otra"),
        ("texto: secreto", "expected a list"),
        ("[secreto", r"neither YAML nor JSON lines that can be read \(line 1, column 9"),
        ("- {texto: ¿secreto?, etiqueta: a}", "line 1, column 19: put each text between quotation"),
    ],
)
def test_what_is_no_test_is_named_by_its_number_and_not_quoted(text: str, found: str) -> None:
    with pytest.raises(InputError, match=found) as error:
        read_cases(text)
    assert "secreto" not in str(error.value)


def test_the_example_of_the_page_is_read() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "prompts.md"
    example = page.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]

    assert [case.etiqueta for case in read_cases(example)] == ["reclamo", "peticion"]


def test_a_test_passes_with_its_label_as_surely_as_asked_and_fails_without_an_answer() -> None:
    cases = read_cases(YAML + "- {texto: hm, etiqueta: queja}\n- {texto: x, etiqueta: queja}\n")
    found = np.array([[0.6, 0.4], [0.51, 0.49], [np.nan, np.nan], [0.2, 0.8]])
    results = judged_cases(cases, ("queja", "reclamo"), found)
    assert [result.passed for result in results] == [True, False, False, False]
    assert [result.found for result in results] == ["queja", "queja", None, "reclamo"]
    (sure,) = judged_cases(cases[1:2], ("queja", "reclamo"), np.array([[0.55, 0.45]])[:, ::-1])
    assert (sure.passed, sure.score) == (True, 0.55)
