"""Tidying changes no row: files are merged and deleted, and every needed version stays readable."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from deltalake import DeltaTable

from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.history import VersionGoneError
from lakehouse.data.maintenance import (
    Chore,
    DataFile,
    TableHealth,
    Tidied,
    TidyPolicy,
    due_chores,
    expired_entries,
)
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

TABLE = TableRef(Layer.SILVER, "tickets")
NORTE = TenantContext.parse("norte")
AT_ONCE = TidyPolicy(mergeable_files=4, checkpoint_every=3, retention=timedelta(0))
START = datetime(2026, 1, 1, 8, tzinfo=UTC)


def run_of(minute: int) -> RunContext:
    return RunContext.begin(NORTE, kind="run", at=START + timedelta(minutes=minute))


def rows(run: RunContext, *tickets: str, source: str = "web") -> pa.Table:
    size = len(tickets)
    return pa.table(
        {
            "tenant_id": pa.repeat("norte", size),
            "run_id": pa.repeat(run.run_id, size),
            "source": pa.repeat(source, size),
            "day": pa.array([date(2026, 1, 1)] * size, pa.date32()),
            "ticket_id": pa.array(tickets, pa.string()),
        }
    )


@pytest.fixture
def store(lake: LakeRoot) -> DeltaTableStore:
    return DeltaTableStore(lake)


@pytest.fixture
def care(lake: LakeRoot) -> DeltaTableMaintenance:
    return DeltaTableMaintenance(lake)


def filled(store: DeltaTableStore, runs: int, *, since: int = 0) -> None:
    for minute in range(since, since + runs):
        run = run_of(minute)
        store.append(TABLE, rows(run, f"t{minute:03d}", source="a b/ñ=%"), run)


def tickets(store: DeltaTableStore, at: int | None = None) -> list[str]:
    found = store.scan(TABLE, NORTE, at=at, columns=["ticket_id"])
    return [] if found is None else sorted(found["ticket_id"].to_pylist())


def expected(count: int) -> list[str]:
    return [f"t{minute:03d}" for minute in range(count)]


def parquet_files(lake: LakeRoot) -> set[str]:
    found = lake.table_filesystem(TABLE, NORTE).get_file_info(pafs.FileSelector("", recursive=True))
    return {i.path for i in found if i.path.endswith(".parquet") and "_delta_log" not in i.path}


def test_nothing_is_due_for_a_table_never_written_or_hardly_used(
    store: DeltaTableStore, care: DeltaTableMaintenance
) -> None:
    assert care.tidy(TABLE, NORTE, pinned=()) == Tidied()
    assert care.compact(TABLE, NORTE) == Tidied()
    assert care.vacuum(TABLE, NORTE, pinned=()) == Tidied()
    filled(store, 3)
    assert care.tidy(TABLE, NORTE, pinned=()) == Tidied()


def test_tidying_merges_files_and_keeps_every_row(
    store: DeltaTableStore, care: DeltaTableMaintenance, lake: LakeRoot
) -> None:
    filled(store, 6)
    done = care.tidy(TABLE, NORTE, pinned=(), policy=AT_ONCE)
    assert (done.merged_files, done.made_files, done.checkpoints) == (6, 1, 1)
    assert done.deleted_files == 6
    assert len(parquet_files(lake)) == 1
    assert tickets(store) == expected(6)
    assert care.tidy(TABLE, NORTE, pinned=(), policy=AT_ONCE) == Tidied()
    filled(store, 2, since=6)
    assert tickets(store) == expected(8)


def test_a_run_is_found_and_stays_fenced_in_merged_files(
    store: DeltaTableStore, care: DeltaTableMaintenance
) -> None:
    filled(store, 6)
    care.tidy(TABLE, NORTE, pinned=(), policy=AT_ONCE)
    own = store.scan(TABLE, NORTE, columns=["ticket_id"], run_id=run_of(2).run_id)
    assert own is not None
    assert own["ticket_id"].to_pylist() == ["t002"]
    filled(store, 6)
    assert tickets(store) == expected(6)


def test_files_of_other_runs_are_still_left_out_after_merging(
    store: DeltaTableStore, care: DeltaTableMaintenance, lake: LakeRoot
) -> None:
    filled(store, 4)
    care.compact(TABLE, NORTE)
    filled(store, 4, since=4)
    care.compact(TABLE, NORTE)
    filled(store, 1, since=8)
    opened = DeltaTable(lake.table_uri(TABLE, NORTE), storage_options=lake.options)
    last = [("run_id", "=", run_of(8).run_id)]
    assert (len(opened.file_uris()), len(opened.file_uris(file_pruning_predicate=last))) == (2, 1)


def test_pinned_versions_stay_readable_and_others_go(
    store: DeltaTableStore, care: DeltaTableMaintenance
) -> None:
    filled(store, 3)
    pinned = store.head(TABLE, NORTE)
    assert pinned is not None
    filled(store, 5, since=3)
    care.tidy(TABLE, NORTE, pinned=[pinned.version], policy=AT_ONCE)
    filled(store, 8, since=8)
    care.tidy(TABLE, NORTE, pinned=[pinned.version], policy=AT_ONCE)
    assert tickets(store, at=pinned.version) == expected(3)
    assert tickets(store) == expected(16)
    care.vacuum(TABLE, NORTE, pinned=(), policy=AT_ONCE)
    with pytest.raises(VersionGoneError, match="version 3 of silver_tickets"):
        tickets(store, at=pinned.version)
    assert tickets(store) == expected(16)


def test_a_pinned_version_that_is_gone_is_no_reason_to_stop(
    store: DeltaTableStore, care: DeltaTableMaintenance
) -> None:
    filled(store, 6)
    care.tidy(TABLE, NORTE, pinned=[2, 999], policy=AT_ONCE)
    assert tickets(store, at=2) == expected(2)


def test_staged_files_of_open_runs_outlive_a_vacuum(
    store: DeltaTableStore, care: DeltaTableMaintenance, lake: LakeRoot
) -> None:
    filled(store, 1)
    done, open_run, gone = run_of(50), run_of(51), run_of(52)
    parts = [store.stage(TABLE, rows(r, r.run_id), r, part="p") for r in (done, open_run, gone)]
    store.publish(TABLE, parts[:1], done)
    store.discard(TABLE, gone)
    vacuumed = care.vacuum(TABLE, NORTE, pinned=(), policy=AT_ONCE)
    assert vacuumed.deleted_files == 1
    assert not parquet_files(lake) & {file.path for file in parts[2].files}
    store.publish(TABLE, store.staged(TABLE, open_run), open_run)
    assert tickets(store) == sorted([*expected(1), done.run_id, open_run.run_id])


def test_notes_of_a_run_that_published_are_swept_up(
    store: DeltaTableStore, care: DeltaTableMaintenance
) -> None:
    """A run killed after its commit and before it cleared its notes leaves them behind."""
    run = run_of(0)
    store.publish(TABLE, [store.stage(TABLE, rows(run, "t000"), run, part="p")], run)
    store.stage(TABLE, rows(run, "t000"), run, part="p")
    care.vacuum(TABLE, NORTE, pinned=(), policy=AT_ONCE)
    assert store.staged(TABLE, run) == ()
    assert tickets(store) == ["t000"]


def test_nothing_young_is_deleted(
    store: DeltaTableStore, care: DeltaTableMaintenance, lake: LakeRoot
) -> None:
    filled(store, 6)
    before = parquet_files(lake)
    care.tidy(TABLE, NORTE, pinned=(), policy=TidyPolicy(mergeable_files=4))
    assert before < parquet_files(lake)
    assert tickets(store, at=3) == expected(3)


def test_small_files_of_one_partition_are_what_is_due() -> None:
    policy = TidyPolicy(target_bytes=100, mergeable_files=3)
    spread = tuple(DataFile(f"day={day}", 10) for day in range(50))
    crowded = (DataFile("day=1", 10),) * 4
    large = (DataFile("day=1", 60),) * 9
    assert due_chores(TableHealth(9, spread, None), policy) == ()
    assert due_chores(TableHealth(9, crowded, None), policy) == tuple(Chore)
    assert due_chores(TableHealth(9, large, None), policy) == ()


def test_a_checkpoint_is_due_where_writers_left_none() -> None:
    policy = TidyPolicy(checkpoint_every=10)
    assert due_chores(TableHealth(9, (), None), policy) == ()
    assert due_chores(TableHealth(10, (), None), policy) == (Chore.CHECKPOINT,)
    assert due_chores(TableHealth(30, (), 20), policy) == ()
    assert due_chores(TableHealth(31, (), 20), policy) == (Chore.CHECKPOINT,)


def entry(version: int, kind: str = "json") -> str:
    return f"{version:020d}.{kind}"


def test_log_entries_go_up_to_the_checkpoint_that_serves_the_oldest_needed_version() -> None:
    day = timedelta(days=1)
    written = {entry(v): START + v * day for v in range(40)}
    for version in (10, 20, 30):
        written[entry(version, "checkpoint.parquet")] = START + version * day
    written["_last_checkpoint"] = START

    def first_kept(pinned: list[int], before: datetime) -> int:
        gone = expired_entries(written, pinned, before=before)
        assert gone == sorted(gone)
        return min(int(name[:20]) for name in written if name[0] != "_" and name not in gone)

    assert first_kept([], START + 35 * day) == 30
    assert first_kept([25], START + 35 * day) == 20
    assert first_kept([5], START + 35 * day) == 0
    assert first_kept([], START + 30 * day) == 20  # 29 was the newest until that moment
    assert first_kept([], START - day) == 0
    assert first_kept([], START + 99 * day) == 30
    assert expired_entries({}, [], before=START) == []
