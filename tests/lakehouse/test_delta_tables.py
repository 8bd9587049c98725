"""The promises of a table: written once by run, read as of a version, one tenant's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.errors import InputError, TenantMismatchError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

TABLE = TableRef(Layer.SILVER, "tickets")
NORTE, SUR = TenantContext.parse("norte"), TenantContext.parse("sur")


def run_of(tenant: TenantContext, minute: int = 0) -> RunContext:
    return RunContext.begin(tenant, kind="run", at=datetime(2026, 1, 1, 8, minute, tzinfo=UTC))


def rows(run: RunContext, *tickets: str) -> pa.Table:
    size = len(tickets)
    return pa.table(
        {
            "tenant_id": pa.array([run.tenant.tenant_id] * size, pa.string()),
            "run_id": pa.array([run.run_id] * size, pa.string()),
            "source": pa.array(["web"] * size, pa.string()),
            "day": pa.array([date(2026, 1, 1)] * size, pa.date32()),
            "ticket_id": pa.array(tickets, pa.string()),
        }
    )


@pytest.fixture
def store(lake: LakeRoot) -> DeltaTableStore:
    return DeltaTableStore(lake)


def tickets(store: DeltaTableStore, tenant: TenantContext, at: int | None = None) -> list[str]:
    found = store.scan(TABLE, tenant, at=at, columns=["ticket_id"])
    return [] if found is None else sorted(found["ticket_id"].to_pylist())


def test_a_table_never_written_has_no_head_and_no_rows(store: DeltaTableStore) -> None:
    assert store.head(TABLE, NORTE) is None
    assert store.scan(TABLE, NORTE) is None


def test_the_same_run_twice_writes_once(store: DeltaTableStore) -> None:
    run = run_of(NORTE)
    first = store.append(TABLE, rows(run, "a", "b"), run)
    again = store.append(TABLE, rows(run, "a", "b"), run)
    assert (again.version, tickets(store, NORTE)) == (first.version, ["a", "b"])


def test_two_parts_of_a_run_are_both_written(store: DeltaTableStore) -> None:
    run = run_of(NORTE)
    store.append(TABLE, rows(run, "a"), run, part="one")
    store.append(TABLE, rows(run, "b"), run, part="two")
    assert tickets(store, NORTE) == ["a", "b"]


def test_a_run_without_rows_leaves_its_fence_and_an_empty_table(store: DeltaTableStore) -> None:
    run = run_of(NORTE)
    store.append(TABLE, rows(run), run)
    store.append(TABLE, rows(run, "late"), run)
    assert tickets(store, NORTE) == []


def test_an_older_version_reads_as_it_was(store: DeltaTableStore) -> None:
    one, two = run_of(NORTE, 1), run_of(NORTE, 2)
    before = store.append(TABLE, rows(one, "a"), one)
    store.append(TABLE, rows(two, "b"), two)
    assert tickets(store, NORTE, at=before.version) == ["a"]
    assert tickets(store, NORTE) == ["a", "b"]


def test_a_run_reads_back_only_its_own_rows(store: DeltaTableStore) -> None:
    one, two = run_of(NORTE, 1), run_of(NORTE, 2)
    store.append(TABLE, rows(one, "a"), one)
    store.append(TABLE, rows(two, "b"), two)
    own = store.scan(TABLE, NORTE, run_id=two.run_id)
    assert own is not None
    assert own["ticket_id"].to_pylist() == ["b"]


def test_tenants_do_not_see_each_other(store: DeltaTableStore, lake: LakeRoot) -> None:
    run = run_of(NORTE)
    store.append(TABLE, rows(run, "a"), run)
    assert store.head(TABLE, SUR) is None
    found = lake.filesystem().get_file_info(pafs.FileSelector("", recursive=True))
    assert {info.path.split("/")[0] for info in found} == {"norte"}


def test_rows_of_another_tenant_are_refused(store: DeltaTableStore) -> None:
    with pytest.raises(TenantMismatchError, match="norte"):
        store.append(TABLE, rows(run_of(NORTE), "a"), run_of(SUR))


def test_rows_of_another_run_are_refused(store: DeltaTableStore) -> None:
    with pytest.raises(TenantMismatchError, match="run_id"):
        store.append(TABLE, rows(run_of(NORTE, 1), "a"), run_of(NORTE, 2))


def test_rows_that_name_no_run_are_refused(store: DeltaTableStore) -> None:
    run = run_of(NORTE)
    with pytest.raises(InputError, match="'run_id'"):
        store.append(TABLE, rows(run, "a").drop_columns(["run_id"]), run)


def test_files_lie_in_partitions_of_source_and_day(store: DeltaTableStore, lake: LakeRoot) -> None:
    run = run_of(NORTE)
    store.append(TABLE, rows(run, "a"), run)
    found = lake.filesystem().get_file_info(pafs.FileSelector("", recursive=True))
    (file,) = (info.path for info in found if info.path.endswith(".parquet"))
    assert file.rpartition("/")[0] == "norte/silver/tickets/source=web/day=2026-01-01"


LAST_READ = """
import json
import sys
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.tenancy import TenantContext

store = DeltaTableStore(LakeRoot(sys.argv[1], json.loads(sys.argv[2])))
table = TableRef(Layer.SILVER, "tickets")
sys.exit(len(store.scan(table, TenantContext.parse("norte"))))
"""


def test_a_program_that_ends_right_after_it_read_ends_well(
    store: DeltaTableStore, lake: LakeRoot
) -> None:
    for minute in range(8):
        run = run_of(NORTE, minute)
        store.append(TABLE, rows(run, f"t{minute}"), run)
    command = [sys.executable, "-c", LAST_READ, lake.uri, json.dumps(lake.options)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    endings = {subprocess.run(command, env=environment, check=False).returncode for _ in range(3)}
    assert endings == {8}
