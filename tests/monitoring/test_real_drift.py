"""Real requests whose topics really moved: Mexico City after the earthquake of September 2017.

The data is third-party and stays outside the repository; where it is absent, these tests are
skipped. What was measured on all of it: README of the data, and docs/drift.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from features.e5_package import unpacked
from features.embed import QUERY_TEMPLATE, as_lists, encode_once, filled, open_embedder
from features.text import describe
from lakehouse.settings import Settings
from monitoring.drift import (
    COLUMNS,
    ColumnDrift,
    DriftPolicy,
    DriftReport,
    DriftVerdict,
    detect_drift,
)

REQUESTS = Path("cdmx_solicitudes", "cdmx_solicitudes_2017_2018.csv")
DATA = Settings().data / REQUESTS
QUARTERS = ("2018-01", "2018-04", "2018-07", "2018-10")
CHARACTERS = 200
"""Enough of a text to tell its topic, and quick to embed."""

pytestmark = pytest.mark.skipif(
    not DATA.is_file(), reason=f"no '{REQUESTS}' in PLATA_DATA (third-party data)"
)


@pytest.fixture(scope="module")
def requests() -> pl.DataFrame:
    rows = pl.read_csv(DATA, infer_schema_length=0)
    distinct = rows.filter(pl.col("es_texto_repetido") != "True", pl.col("texto") != "")
    return distinct.with_columns(pl.col("texto").str.slice(0, CHARACTERS))


@pytest.fixture(scope="module")
def reports(
    requests: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, DriftReport]:
    embedder = open_embedder(unpacked(tmp_path_factory.mktemp("modelo")))

    def table(rows: pl.DataFrame) -> pa.Table:
        texts = pa.array(rows["texto"].to_list(), pa.string())
        described = describe(texts)
        columns = {name: described[name] for name in described.column_names}
        columns["predicted_label"] = pa.array(rows["clasificacion"].to_list())
        columns["score"] = pa.array(np.full(len(rows), 0.9))
        columns["embedding"] = as_lists(encode_once(embedder, filled(QUERY_TEMPLATE, texts)))
        return pa.table(columns).select(COLUMNS)

    trained = requests.filter(pl.col("fecha") < "2018").sample(290, seed=1, shuffle=True)
    reference = table(trained.head(200))
    current = {"same months": trained.tail(90)}
    for first, beyond in zip(QUARTERS, (*QUARTERS[1:], "2019"), strict=True):
        quarter = requests.filter(pl.col("fecha") >= first, pl.col("fecha") < beyond)
        current[first] = quarter.sample(90, seed=1, shuffle=True)
    policy = DriftPolicy()
    return {
        name: detect_drift(reference, table(rows), policy, seed=1) for name, rows in current.items()
    }


def meaning(report: DriftReport) -> ColumnDrift:
    return next(column for column in report.columns if column.feature == "embedding")


def test_other_requests_of_the_same_months_are_no_drift(reports: dict[str, DriftReport]) -> None:
    assert reports["same months"].verdict is not DriftVerdict.DRIFT
    assert not meaning(reports["same months"]).drifted


@pytest.mark.parametrize("quarter", QUARTERS)
def test_every_quarter_of_the_year_after_is_drift(
    reports: dict[str, DriftReport], quarter: str
) -> None:
    assert reports[quarter].verdict is DriftVerdict.DRIFT
    assert meaning(reports[quarter]).drifted


def test_the_first_quarter_moved_least(reports: dict[str, DriftReport]) -> None:
    moved = [meaning(reports[quarter]).score or 0.0 for quarter in QUARTERS]
    assert min(moved) == moved[0]
    assert moved[0] < 0.75 < max(moved)
