"""The demo on real data: third-party sets, read from a folder that stays outside the repository."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lakehouse.errors import InputError
from pipelines.scenario import Delivery, LabelledTexts, Scenario
from pipelines.tenant_config import default_config

_CDMX = Path("cdmx_solicitudes", "cdmx_solicitudes_2017_2018.csv")
_MADRID = Path("decide_madrid_propuestas", "decide_madrid_propuestas_hasta_2025_06.csv")

_THEMES = {
    "danos": "Daños",
    "evaluacion": "Evaluación de inmuebles",
    "fondos": "Fondos y donativos",
    "legalidad": "Legalidad y permisos",
    "prevencion": "Prevención",
    "reconstruccion": "Reconstrucción",
    "respuesta_al_sismo": "Respuesta al sismo",
}
_QUARTERS = (
    ("2018-01-01", "2018-04-01"),
    ("2018-04-01", "2018-07-01"),
    ("2018-07-01", "2018-10-01"),
    ("2018-10-01", "2019-01-01"),
)
_COLUMNS = {"text": "texto", "created_at": "fecha", "external_id": "id"}


def real(folder: Path) -> tuple[Scenario, ...]:
    """Return Mexico City's requests by quarter and Madrid's proposals as scenarios.

    Raises `InputError` where a file is missing.
    """
    return (_cdmx(_read(folder, _CDMX)), _madrid(_read(folder, _MADRID)))


def _read(folder: Path, name: Path) -> pl.DataFrame:
    path = folder / name
    if not path.is_file():
        msg = (
            f"no file '{name}' in '{folder}'; expected the folder of the real data sets, "
            "named by --real or PLATA_DATA"
        )
        raise InputError(msg)
    return pl.read_csv(path, infer_schema_length=0)


def _cdmx(rows: pl.DataFrame) -> Scenario:
    """Train on the months after the earthquake; then a quarter at a time, as topics move on."""
    past = rows.filter(pl.col("fecha") < "2018-01-01")
    labelled = "".join(
        json.dumps({"texto": text, "tema": stored_label(theme)}, ensure_ascii=False) + "\n"
        for text, theme in past.select("texto", "clasificacion").iter_rows()
    )
    quarters = [
        _delivery(f"2018-t{number}.csv", _between(rows, first, beyond))
        for number, (first, beyond) in enumerate(_QUARTERS, start=1)
    ]
    return Scenario(
        tenant_id="cdmx-sismo",
        name="Ciudad de México, solicitudes sobre el sismo de 2017",
        config=_themes_config(),
        history=(_delivery("2017.csv", past),),
        labelled=LabelledTexts(
            "2017_etiquetado.jsonl",
            labelled,
            "texto",
            {"tema": "tema"},
            "Real requests to Mexico City bodies, Sept-Dec 2017; labels by the data set's author. "
            "Near-duplicates are common: the held-out figure is optimistic.",
        ),
        arrivals=tuple(quarters),
    )


def _madrid(rows: pl.DataFrame) -> Scenario:
    """Proposals without labels: only the rules, the zero-shot model and search work on them."""
    texts = rows.with_columns(
        texto=pl.concat_str("titulo", pl.lit(". "), pl.col("texto").fill_null(""))
    )
    return Scenario(
        tenant_id="decide-madrid",
        name="Decide Madrid, propuestas ciudadanas",
        config=default_config(),
        history=(),
        labelled=None,
        arrivals=(_delivery("propuestas.csv", texts),),
    )


def _between(rows: pl.DataFrame, first: str, beyond: str) -> pl.DataFrame:
    return rows.filter((pl.col("fecha") >= first) & (pl.col("fecha") < beyond))


def _delivery(file_name: str, rows: pl.DataFrame) -> Delivery:
    return Delivery(
        file_name, rows.select("id", "fecha", "texto").write_csv(), "registro", _COLUMNS
    )


def _themes_config() -> Mapping[str, Any]:
    routing = {"accept_at": 0.7, "audit_share": 0.02}
    return {"tasks": {"tema": {"etiquetas": _THEMES, "routing": routing}}}


def stored_label(title: str) -> str:
    """Write a label as it is stored: lower case, without accents, joined by underscores.

    >>> stored_label("Respuesta al sismo")
    'respuesta_al_sismo'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return "_".join(plain.lower().split())
