"""What a pattern can recognise is covered before a reviewer sees it; what decides a text stays."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from labeling.masking import Masking, Pii, masked

CORPUS = Path(__file__).parents[2] / "pipelines" / "corpus" / "pqrs_es.jsonl"

AT_LEAST = {
    "correo": 1.0,
    "placa": 1.0,
    "nit": 1.0,
    "telefono_fijo": 1.0,
    "celular": 0.98,
    "cedula": 0.98,
    "cuenta": 0.94,
    "historia_clinica": 0.93,
    "direccion": 0.85,
}
"""The share of each kind that is covered in the bundled corpus. Names are not recognised."""


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("mi correo es ana.p@example.org.", "mi correo es [correo]."),
        ("llámenme al +57 300 123 4567", "llámenme al [teléfono]"),
        ("fijo 601 744 2093 ext 4", "fijo [teléfono] ext 4"),
        ("cédula 1.064.437.120", "cédula [número]"),
        ("vivo en la Cra 27 No. 14-62 apto 301.", "vivo en la [dirección]."),
        ("Avenida Ambalá # 71-09", "[dirección]"),
        ("la casa de la cra 5a 18-33", "la casa de la [dirección]"),
        ("Mz F casa 12", "[dirección]"),
        ("placa HVN 663", "placa [placa]"),
        ("vean https://example.org/mi-caso?id=9", "vean [enlace]"),
    ],
)
def test_it_is_covered_by_the_name_of_its_kind(text: str, seen: str) -> None:
    assert masked(text) == seen


@pytest.mark.parametrize(
    "text",
    [
        "me cobraron $1.250.000 de más",
        "son 3.400.000 pesos",
        "desde el 12 de enero de 2026 a las 10:30",
        "en la calle hay tres huecos",
        "ley 1755 de 2015, artículo 14",
        "",
    ],
)
def test_what_decides_a_text_is_left(text: str) -> None:
    assert masked(text) == text


def test_covering_twice_covers_no_more() -> None:
    once = masked("Soy 1.064.437.120, Calle 32 # 17B-09, ana@example.org, 315 037 6681")
    assert masked(once) == once


@pytest.mark.parametrize(("kind", "share"), AT_LEAST.items())
def test_most_of_the_corpus_is_covered(kind: str, share: float) -> None:
    there, covered = Counter[str](), Counter[str]()
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        request = json.loads(line)
        seen = masked(request["texto"])
        for secret in request["pii"]:
            there[secret["tipo"]] += 1
            covered[secret["tipo"]] += secret["texto"] not in seen
    assert covered[kind] / there[kind] >= share


@pytest.mark.parametrize("kind", list(Pii))
def test_a_kind_that_is_not_covered_stays_as_it_was_written(kind: Pii) -> None:
    written = {
        Pii.CORREO: "ana.p@example.org",
        Pii.ENLACE: "https://example.org/7",
        Pii.DIRECCION: "Cra 27 No. 14-62 apto 301",
        Pii.TELEFONO: "315 037 6681",
        Pii.NUMERO: "1.064.437.120",
        Pii.PLACA: "HVN 663",
    }
    text = " y ".join(written.values())
    others = Masking(frozenset(Pii) - {kind})
    shown = [written[k] if k is kind else f"[{k.value}]" for k in Pii]
    assert others(text) == " y ".join(shown)
    assert kind.value not in str(others)


def test_covering_nothing_changes_no_text() -> None:
    text = "cel 315 037 6681, Calle 32 # 17B-09, ana@example.org"
    assert Masking(frozenset())(text) == text
