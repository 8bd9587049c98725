"""Megabytes a second from JSON lines to Bronze, Plata against named peers in one run.

    python -m benchmarks.bronze --rows 490000 --repeats 3

All sides read the same simulated file, in turns, each in a process of its own with two cores.
Plata judges every line, keeps the broken ones apart with their reasons, and publishes a Delta
table; polars and pandas take lines as they are; a loop over pydantic judges them. The clock starts
when libraries are imported. Ratios hold; seconds are this machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.bronze_sides import CORES, SIDES
from pipelines.simulator.config import Simulation
from pipelines.simulator.stream import simulate
from serving.cli.output import emit

Took = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file, let the sides take turns, print the table."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="plata-bench-") as folder:
        file = Path(folder) / "raw.jsonl"
        with file.open("wb") as sink:
            sink.writelines(block.lines for block in simulate(Simulation(events=options.rows)))
        turns: dict[str, list[Took]] = {name: [] for name in SIDES}
        for _ in range(options.repeats):
            for name, taken in turns.items():
                taken.append(_turn(name, file, Path(folder)))
        size = file.stat().st_size / 1e6
    report = {
        "megabytes": round(size, 1),
        "sides": {name: _median(taken, turns["plata"], size) for name, taken in turns.items()},
    }
    emit(report, as_json=options.json, table=lambda: _table(report))


def _turn(name: str, file: Path, folder: Path) -> Took:
    """Take the file in a fresh process, into a fresh folder that holds it as Raw."""
    target = folder / "lake"
    raw = target / "banco" / file.name
    raw.parent.mkdir(parents=True)
    os.link(file, raw)
    command = [sys.executable, "-m", "benchmarks.bronze_sides", name, str(raw), str(target)]
    threads = {"OMP_NUM_THREADS": str(CORES)}
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **threads}
        )
    finally:
        shutil.rmtree(target)
    took: Took = json.loads(done.stdout)
    return took


def _median(taken: Sequence[Took], plata: Sequence[Took], size: float) -> dict[str, Any]:
    """Sum up a side; its ratios are Plata's speed over it, turn by turn."""
    ratios = [
        theirs["seconds"] / ours["seconds"] for theirs, ours in zip(taken, plata, strict=True)
    ]
    cpu = [theirs["cpu"] / ours["cpu"] for theirs, ours in zip(taken, plata, strict=True)]
    return {
        "mb_per_second": round(size / statistics.median(t["seconds"] for t in taken), 1),
        "plata_is_faster_by": round(statistics.median(ratios), 2),
        "turns": [round(ratio, 2) for ratio in ratios],
        "plata_needs_less_cpu_by": round(statistics.median(cpu), 2),
        "peak_mb": round(max(t["peak"] for t in taken)),
        "peak_mb_beyond_imports": round(max(t["peak"] - t["before"] for t in taken)),
    }


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"JSON lines to Bronze: {report['megabytes']} MB, {CORES} cores a side")
    for head in ("side", "MB/s", "Plata's speed over it", "by processor time", "peak MB"):
        table.add_column(head, justify="left" if head == "side" else "right")
    for name, line in report["sides"].items():
        table.add_row(
            name,
            f"{line['mb_per_second']:,.0f}",
            f"{line['plata_is_faster_by']:.2f} ×",
            f"{line['plata_needs_less_cpu_by']:.2f} ×",
            f"{line['peak_mb']:,}",
        )
    return table


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="benchmarks.bronze", description=__doc__)
    parser.add_argument("--rows", type=int, default=490_000, help="events in the file (490,000)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
