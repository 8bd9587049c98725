"""Have Evidently draw its report in a process of its own, and read the numbers back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.drift import COLUMNS, ColumnDrift
from monitoring.errors import ReportError

_TIMEOUT_SECONDS = 600
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class DrawnReport:
    """Where a report is, and what Evidently measured."""

    html: Path
    json: Path
    columns: tuple[ColumnDrift, ...]


def draw_report(reference: pa.Table, current: pa.Table, folder: Path) -> DrawnReport:
    """Write `report.html` and `report.json` to `folder`, whole or not at all, replacing older ones.

    Both tables have the columns `COLUMNS`, at least one row and no null. Raises `ReportError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
        drawn = Path(draft)
        inputs = drawn / "reference.parquet", drawn / "current.parquet"
        for table, path in zip((reference, current), inputs, strict=True):
            pq.write_table(table.select(COLUMNS), path)
        _run(*inputs, drawn)
        numbers = json.loads((drawn / "numbers.json").read_text(encoding="utf-8"))
        for name in ("report.json", "report.html"):
            shutil.move(drawn / name, folder / name)
    columns = tuple(ColumnDrift(**number) for number in numbers)
    return DrawnReport(folder / "report.html", folder / "report.json", columns)


def _run(reference: Path, current: Path, folder: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "monitoring.evidently_report"]
    paths = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            [*command, str(reference), str(current), str(folder)],
            env={**os.environ, "PYTHONPATH": paths, "DO_NOT_TRACK": "1"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"Evidently drew for more than {_TIMEOUT_SECONDS} s and was stopped; free memory?"
        raise ReportError(msg) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        cause = said[-1] if said else f"exit code {done.returncode} (out of memory?)"
        msg = f"Evidently could not draw its report: {cause}"
        raise ReportError(msg)
