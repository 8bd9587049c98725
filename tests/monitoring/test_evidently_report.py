"""The real Evidently, in its own process: a page that needs no network, and numbers beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features.text import DESCRIPTORS
from monitoring.drift import COLUMNS
from monitoring.errors import ReportError
from monitoring.report import DrawnReport, ReportOrder, draw_reports
from monitoring.words import METHODS

RISK = 0.001


def tickets(rows: int, *, seed: int, moved: float = 0.0) -> pa.Table:
    random = np.random.default_rng(seed)
    vectors = random.normal(loc=moved, size=(rows, 16)).astype(np.float32)
    return pa.table(
        {
            "predicted_label": random.choice(["queja", "reclamo", "peticion"], rows),
            "score": random.beta(7, 3, rows),
            **{name: random.normal(loc=1 + moved, size=rows) for name in DESCRIPTORS},
            "embedding": pa.array(list(vectors), pa.list_(pa.float32())),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("un informe") / "norte" / "run-1"


@pytest.fixture(scope="module")
def drawn(folder: Path) -> DrawnReport:
    moved = ReportOrder(tickets(120, seed=1), tickets(90, seed=2, moved=1.5), folder, RISK)
    same = ReportOrder(tickets(120, seed=1), tickets(90, seed=3), folder.with_name("run-2"), RISK)
    first, second = draw_reports([moved, same])
    assert second.html.parent.name == "run-2"
    assert [column for column in second.columns if column.drifted] == []
    assert "Dataset Drift is NOT detected" in second.html.read_text(encoding="utf-8")
    return first


def test_evidently_measures_every_column_once(drawn: DrawnReport) -> None:
    assert sorted(column.feature for column in drawn.columns) == sorted(COLUMNS)
    assert {column.method for column in drawn.columns} <= set(METHODS)


def test_what_moved_drifted_and_what_did_not_did_not(drawn: DrawnReport) -> None:
    drifted = {column.feature for column in drawn.columns if column.drifted}
    assert drifted >= {"embedding", *DESCRIPTORS}
    assert "predicted_label" not in drifted


def test_the_page_asks_the_network_for_nothing(drawn: DrawnReport) -> None:
    page = drawn.html.read_text(encoding="utf-8")
    loads = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)\s*=[^>]*>", page[:20000])
    assert [tag for tag in loads if "data:" not in tag] == []
    assert "@import url" not in page
    assert "Confianza del modelo" in page


def test_the_account_of_evidently_lies_beside_the_page(drawn: DrawnReport) -> None:
    account = json.loads(drawn.json.read_text(encoding="utf-8"))
    assert {"metrics", "tests"} <= set(account)


def test_nothing_is_left_but_the_two_files(drawn: DrawnReport, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    assert drawn.html.parent == folder


def test_a_report_that_cannot_be_drawn_says_so_in_one_line(tmp_path: Path) -> None:
    nothing = tickets(60, seed=1).slice(0, 0)
    with pytest.raises(ReportError, match="Evidently could not draw its report: "):
        draw_reports([ReportOrder(nothing, nothing, tmp_path, RISK)])
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_draw_starts_nothing() -> None:
    assert draw_reports([]) == []
