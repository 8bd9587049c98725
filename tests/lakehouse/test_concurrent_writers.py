"""Processes that write one table at once, while it is tidied and read: nothing lost or twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.maintenance import Tidied, TidyPolicy
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.tenancy import TenantContext

TABLE = TableRef(Layer.SILVER, "tickets")
NORTE = TenantContext.parse("norte")
PARTS, ROWS = 2, 3

WRITER = """
import json, sys
from datetime import UTC, date, datetime, timedelta
import pyarrow as pa
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

uri, options, writer, commits, parts, count = json.loads(sys.argv[1])
store = DeltaTableStore(LakeRoot(uri, options))
table, norte = TableRef(Layer.SILVER, "tickets"), TenantContext.parse("norte")
start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=writer)
for number in range(commits):
    run = RunContext.begin(norte, kind="run", at=start + timedelta(minutes=number))
    for part in range(parts):
        names = [f"{writer}-{number}-{part}-{row}" for row in range(count)]
        store.stage(table, pa.table({
            "tenant_id": ["norte"] * count,
            "run_id": [run.run_id] * count,
            "source": ["web"] * count,
            "day": pa.array([date(2026, 1, 1)] * count, pa.date32()),
            "ticket_id": names,
        }), run, part=str(part))
    staged = store.staged(table, run)
    store.publish(table, staged, run)
    if number % 5 == 0:
        store.publish(table, staged, run)
"""


def write_at_once(lake: LakeRoot, writers: int, commits: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER,
                json.dumps([lake.uri, lake.options, writer, commits, PARTS, ROWS]),
            ],
            env=environment,
        )
        for writer in range(writers)
    ]
    try:
        merged = tidy_and_read_until_all_ended(lake, processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * writers
    assert merged.merged_files > 0
    assert rows_by_run(lake) == {PARTS * ROWS: writers * commits}
    found = DeltaTableStore(lake).scan(TABLE, NORTE, columns=["ticket_id"])
    assert found is not None
    expected = {
        f"{writer}-{number}-{part}-{row}"
        for writer in range(writers)
        for number in range(commits)
        for part in range(PARTS)
        for row in range(ROWS)
    }
    assert set(found["ticket_id"].to_pylist()) == expected
    assert len(found) == len(expected)


def tidy_and_read_until_all_ended(
    lake: LakeRoot, processes: list[subprocess.Popen[bytes]]
) -> Tidied:
    care, done = DeltaTableMaintenance(lake), Tidied()
    policy = TidyPolicy(mergeable_files=8, checkpoint_every=10)
    while any(process.poll() is None for process in processes):
        done += care.tidy(TABLE, NORTE, pinned=(), policy=policy)
        assert set(rows_by_run(lake)) <= {PARTS * ROWS}
    return done + care.tidy(TABLE, NORTE, pinned=(), policy=policy)


def rows_by_run(lake: LakeRoot) -> dict[int, int]:
    """Count the runs a reader sees, by how many rows it sees of them."""
    found = DeltaTableStore(lake).scan(TABLE, NORTE, columns=["run_id"])
    if found is None:
        return {}
    return dict(Counter(Counter(found["run_id"].to_pylist()).values()))


def test_writers_beside_a_compactor_lose_nothing(lake: LakeRoot) -> None:
    write_at_once(lake, writers=3, commits=10)


@pytest.mark.stress
def test_eight_writers_of_many_runs_beside_a_compactor_lose_nothing(lake: LakeRoot) -> None:
    write_at_once(lake, writers=8, commits=125)
