"""Time of a commit as a table grows to many: with maintenance, without it, and by plain Delta.

The three write the same rows in turns, so that a busy machine slows all of them alike. Printed are
milliseconds a commit, in bins, and the last bin over the first: near 1 is a flat line.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

import pyarrow as pa
from deltalake import write_deltalake

from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

TABLE = TableRef(Layer.SILVER, "tickets")
NORTE = TenantContext.parse("norte")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 4
"""Partitions a commit touches."""


def rows_of(run: RunContext, count: int) -> pa.Table:
    """Make one run's rows, spread over some days."""
    days = [date(2026, 1, 1) + timedelta(days=number % DAYS) for number in range(count)]
    return pa.table(
        {
            "tenant_id": pa.repeat("norte", count),
            "run_id": pa.repeat(run.run_id, count),
            "source": pa.repeat("web", count),
            "day": pa.array(days, pa.date32()),
            "ticket_id": pa.array([f"{run.run_id}-{number}" for number in range(count)]),
        }
    )


def writers(folder: Path) -> dict[str, Callable[[RunContext, pa.Table], None]]:
    """Return the three that are compared."""
    tidied, untidied = LakeRoot(str(folder / "tidied")), LakeRoot(str(folder / "untidied"))
    stores = {root.uri: DeltaTableStore(root) for root in (tidied, untidied)}
    care = DeltaTableMaintenance(tidied)

    def publish(store: DeltaTableStore, run: RunContext, rows: pa.Table) -> None:
        store.publish(TABLE, [store.stage(TABLE, rows, run, part="all")], run)

    def with_maintenance(run: RunContext, rows: pa.Table) -> None:
        publish(stores[tidied.uri], run, rows)
        care.tidy(TABLE, NORTE, pinned=())

    def without(run: RunContext, rows: pa.Table) -> None:
        publish(stores[untidied.uri], run, rows)

    def plain(run: RunContext, rows: pa.Table) -> None:
        write_deltalake(str(folder / "plain"), rows, mode="append", partition_by=["source", "day"])

    return {"with maintenance": with_maintenance, "without": without, "write_deltalake": plain}


def measure(commits: int, count: int) -> dict[str, list[float]]:
    """Return milliseconds by commit; a commit's chores are part of its time."""
    with tempfile.TemporaryDirectory() as folder:
        compared = writers(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in compared}
        for number in range(commits):
            run = RunContext.begin(NORTE, kind="run", at=START + timedelta(minutes=number))
            rows = rows_of(run, count)
            for name, write in compared.items():
                began = time.perf_counter()
                write(run, rows)
                times[name].append(1000 * (time.perf_counter() - began))
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=100, help="rows a commit")
    parser.add_argument("--bins", type=int, default=10)
    wanted = parser.parse_args()
    times = measure(wanted.commits, wanted.rows)
    size = wanted.commits // wanted.bins
    print(f"{wanted.commits} commits of {wanted.rows} rows in {DAYS} partitions")
    print("median (mean) milliseconds a commit")
    print(f"{'commits':>12}" + "".join(f"{name:>22}" for name in times))
    for start in range(0, size * wanted.bins, size):
        cells = [taken[start : start + size] for taken in times.values()]
        shown = [f"{median(cell):.1f} ({sum(cell) / len(cell):.1f})" for cell in cells]
        print(f"{start:>5}–{start + size:<6}" + "".join(f"{cell:>22}" for cell in shown))
    ratios = [median(taken[-size:]) / median(taken[:size]) for taken in times.values()]
    print(f"{'last/first':>12}" + "".join(f"{ratio:>21.2f}x" for ratio in ratios))


if __name__ == "__main__":
    main()
