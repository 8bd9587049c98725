"""Have Evidently draw reports in a process of its own, and read the numbers back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.errors import last_words
from monitoring.drift import COLUMNS, ColumnDrift
from monitoring.errors import ReportError

INPUTS = ("reference.parquet", "current.parquet")
LIMITS, NUMBERS = "limits.json", "numbers.json"
HTML, JSON = "report.html", "report.json"

_SECONDS_A_REPORT = 300
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """A report to draw. Both tables have the columns `COLUMNS`, rows, and no null.

    `risk` is how likely a column of equal populations may be called drifted.
    """

    reference: pa.Table
    current: pa.Table
    folder: Path
    risk: float


@dataclass(frozen=True, slots=True)
class DrawnReport:
    """Where a report is, and what Evidently measured."""

    html: Path
    json: Path
    columns: tuple[ColumnDrift, ...]


def draw_reports(orders: Sequence[ReportOrder]) -> list[DrawnReport]:
    """Write `report.html` and `report.json` to each folder, replacing older ones.

    One process draws them all, so Evidently is imported once. All are drawn or none is written.
    Raises `ReportError`.
    """
    if not orders:
        return []
    with tempfile.TemporaryDirectory(prefix="plata-drift-") as scratch:
        desks = [_prepared(order, Path(scratch, str(n))) for n, order in enumerate(orders)]
        _run(desks)
        return [_kept(order, desk) for order, desk in zip(orders, desks, strict=True)]


def _prepared(order: ReportOrder, desk: Path) -> Path:
    desk.mkdir()
    for table, name in zip((order.reference, order.current), INPUTS, strict=True):
        pq.write_table(table.select(COLUMNS), desk / name)
    (desk / LIMITS).write_text(json.dumps({"risk": order.risk}), encoding="utf-8")
    return desk


def _kept(order: ReportOrder, desk: Path) -> DrawnReport:
    order.folder.mkdir(parents=True, exist_ok=True)
    for name in (JSON, HTML):
        draft = order.folder / f".{name}"
        draft.write_bytes((desk / name).read_bytes())
        draft.replace(order.folder / name)
    numbers = json.loads((desk / NUMBERS).read_text(encoding="utf-8"))
    columns = tuple(ColumnDrift(**number) for number in numbers)
    return DrawnReport(order.folder / HTML, order.folder / JSON, columns)


def _run(desks: Sequence[Path]) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "monitoring.evidently_report"]
    paths = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    patience = _SECONDS_A_REPORT * len(desks)
    try:
        done = subprocess.run(
            [*command, *map(str, desks)],
            env={**os.environ, "PYTHONPATH": paths, "DO_NOT_TRACK": "1"},
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"Evidently drew for more than {patience} s and was stopped; free memory, try again"
        raise ReportError(msg) from error
    if done.returncode != 0:
        cause = last_words(done.stderr, done.returncode)
        msg = f"Evidently could not draw its report: {cause}"
        raise ReportError(msg)
