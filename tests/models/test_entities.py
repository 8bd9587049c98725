from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.entities import CORPUS, is_held_out, measure, rules
from models.entities import (
    MENTIONS,
    EntityRules,
    default_entities,
    entities_step,
    load_entities,
    save_entities,
)
from models.folder import read_config, write_config
from models.mentions import KINDS
from registry.errors import ArtifactError

RULES = rules()

LEAST_F1 = {"fecha": 0.80, "monto": 0.90, "radicado": 0.85, "lugar": 0.80, "organizacion": 0.60}
"""What the rules reach on the synthetic texts they were not written with, with some room."""


def found(text: str, kind: str) -> list[tuple[str, object]]:
    return [(m.text, dict(m.value) if m.value else None) for m in RULES.find(text, [kind])]


@pytest.mark.parametrize(
    ("text", "mention", "value"),
    [
        ("Pagué el 3 de mayo de 2025 en el banco", "3 de mayo de 2025", {"date": "2025-05-03"}),
        ("vence el primero de julio de 2024.", "primero de julio de 2024", {"date": "2024-07-01"}),
        ("La factura de agosto de 2023 llegó", "agosto de 2023", {"date": "2023-08"}),
        ("el 9 de julio no hubo agua", "9 de julio", None),
        ("fue el 23/02/2025", "23/02/2025", {"date": "2025-02-23"}),
        ("el 31/02/2025 no existe", "31/02/2025", None),
        ("vence 2026-03 según el sello", "2026-03", {"date": "2026-03"}),
        ("del 17 al 21 de abril de 2025", "17 al 21 de abril de 2025", None),
        ("el martes 12 de agosto", "martes 12 de agosto", None),
        ("desde 2019 vivo allá", "2019", {"date": "2019"}),
    ],
)
def test_a_date_is_found_and_read(text: str, mention: str, value: object) -> None:
    assert found(text, "fecha") == [(mention, value)]


@pytest.mark.parametrize(
    ("text", "mention", "amount"),
    [
        ("Me cobraron $ 1.250.000 de más", "$ 1.250.000", 1_250_000),
        ("son $96.300, descuéntenlos", "$96.300", 96_300),
        ("pasó de 42 millones", "42 millones", 42_000_000),
        ("unos $87,5 mil", "$87,5 mil", 87_500),
        ("pagué 40 mil pesos", "40 mil pesos", 40_000),
        ("me pidió ochenta mil", "ochenta mil", 80_000),
        ("un millón novecientos mil", "un millón novecientos mil", 1_900_000),
        ("treinta y cinco mil pesos", "treinta y cinco mil pesos", 35_000),
    ],
)
def test_an_amount_is_found_and_read(text: str, mention: str, amount: int) -> None:
    assert found(text, "monto") == [(mention, {"amount": amount, "currency": "COP"})]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("con radicado BOG-2024-118032 de ayer", "BOG-2024-118032"),
        ("Radiqué con el número 2025-PL-0231, volví", "2025-PL-0231"),
        ("la resolución 0718 de 2021 dice", "0718 de 2021"),
        ("pedido n.° 30982", "30982"),
        ("guarden la OT-551904", "OT-551904"),
    ],
)
def test_a_case_number_is_found(text: str, number: str) -> None:
    assert found(text, "radicado") == [(number, {"number": number})]


@pytest.mark.parametrize(
    "text",
    [
        "mi número 3147785039",
        "historia clínica HC-55908123",
        "cuenta 230-118845-09",
        "C.C. 70.118.553",
        "el radicado de ayer",
        "la factura de 2024",
    ],
)
def test_what_belongs_to_a_person_is_no_case_number(text: str) -> None:
    assert found(text, "radicado") == []


@pytest.mark.parametrize(
    ("text", "mention", "value"),
    [
        ("Vivo en Neiva", "Neiva", {"dane_code": "41001", "name": "Neiva"}),
        ("Les escribo de Bogotá.", "Bogotá", {"dane_code": "11001", "name": "Bogotá, D.C."}),
        ("acá en san josé, en Tuquerres", "Tuquerres", {"dane_code": "52838", "name": "Túquerres"}),
        ("En Ciénaga de Oro no hay", "Ciénaga de Oro", None),
        ("en la vereda Palo Alto hay", "Palo Alto", {"name": "Palo Alto"}),
    ],
)
def test_a_place_is_found_with_its_official_code(text: str, mention: str, value: object) -> None:
    ((said, read),) = found(text, "lugar")
    assert said == mention
    assert value is None or read == value


def test_a_municipality_of_many_departments_has_a_code_where_its_department_is_said() -> None:
    assert found("Vivo en La Unión", "lugar") == [("La Unión", None)]
    ((said, read), department) = found("Vivo en La Unión, Nariño", "lugar")
    assert (said, read) == ("La Unión", {"dane_code": "52399", "name": "La Unión"})
    assert department == ("Nariño", {"dane_code": "52", "name": "NARIÑO"})


@pytest.mark.parametrize("text", ["Soy Laura Sevilla Mora", "me queda el bello jardín", "Doña Paz"])
def test_people_and_words_are_no_places(text: str) -> None:
    assert found(text, "lugar") == []


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("Apreciada Aseguradora Guayacán: soy", "Aseguradora Guayacán"),
        ("de Transportes Páramo Azul Ltda., NIT", "Transportes Páramo Azul Ltda."),
        ("empresa Aseo Total del Sur S.A. E.S.P. la", "Aseo Total del Sur S.A. E.S.P."),
        ("La IPS Sangre Viva de Barranquilla dice", "IPS Sangre Viva"),
    ],
)
def test_an_organisation_is_found(text: str, mention: str) -> None:
    assert found(text, "organizacion") == [(mention, {"name": mention})]


def test_mentions_stand_where_they_say_and_apart() -> None:
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["texto"]
        mentions = RULES.find(text)
        assert all(text[m.start : m.end] == m.text for m in mentions)
        assert all(a.end <= b.start for a, b in pairwise(mentions))
        assert all(0 < m.score <= 1 and m.kind in KINDS for m in mentions)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert all(text[m.start : m.end] == m.text for m in RULES.find(text))


@pytest.mark.parametrize("text", ["A-1" * 9_000, "1." * 20_000, "De " * 15_000, "$" * 50_000])
def test_a_text_made_to_be_slow_is_read_like_any_other(text: str) -> None:
    mentions = RULES.find(text)
    assert all(text[m.start : m.end] == m.text for m in mentions)


def test_the_rules_find_what_they_are_said_to_find() -> None:
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    reached = measure([row for row in rows if is_held_out(row)])
    short = [kind for kind, least in LEAST_F1.items() if reached[kind]["f1"] < least]
    assert short == []


def test_only_the_kinds_that_are_asked_for_are_found(tmp_path: Path) -> None:
    save_entities(*default_entities(), tmp_path)
    step = entities_step(str(tmp_path), ["fecha", "monto"])
    text = "Pagué $ 50.000 el 3 de mayo de 2025 en Neiva, radicado 2024-00417."
    rows = step(pa.table({"ticket_id": ["a", "b"], "text": [text, None]}))
    assert rows.schema == MENTIONS
    assert rows.select(["ticket_id", "kind", "text"]).to_pylist() == [
        {"ticket_id": "a", "kind": "monto", "text": "$ 50.000"},
        {"ticket_id": "a", "kind": "fecha", "text": "3 de mayo de 2025"},
    ]
    assert json.loads(rows["value"][0].as_py()) == {"amount": 50_000, "currency": "COP"}


def test_rows_without_a_mention_keep_their_shape(tmp_path: Path) -> None:
    save_entities(*default_entities(), tmp_path)
    step = entities_step(str(tmp_path), list(KINDS))
    assert step(pa.table({"ticket_id": ["a"], "text": ["hola"]})).schema == MENTIONS


def test_a_folder_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    save_entities(*default_entities(), tmp_path)
    opened = load_entities(tmp_path)
    assert isinstance(opened, EntityRules)
    assert opened.find("el 3 de mayo en Neiva") == RULES.find("el 3 de mayo en Neiva")


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ({"grammar": 99}, "grammar 99, expected family 'entities', grammar 1"),
        ({"family": "rules"}, "family 'rules'"),
    ],
)
def test_a_folder_of_another_grammar_is_refused(
    tmp_path: Path, change: dict[str, object], lacks: str
) -> None:
    save_entities(*default_entities(), tmp_path)
    write_config(tmp_path, {**read_config(tmp_path), **change})
    with pytest.raises(ArtifactError, match=lacks):
        load_entities(tmp_path)


@pytest.mark.parametrize("words", ["[", "meses: [enero]", "hola", "meses: 1"])
def test_words_that_cannot_be_used_are_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(ArtifactError, match="no words and places of entities"):
        save_entities(words, default_entities()[1], tmp_path)
