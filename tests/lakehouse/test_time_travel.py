"""Points in the history of a table: how people write them, and the version each means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.data.as_of import AsOf
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_history import DeltaTableHistory
from lakehouse.data.history import Commit, VersionGoneError
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

TABLE = TableRef(Layer.SILVER, "tickets")
NORTE, SUR = TenantContext.parse("norte"), TenantContext.parse("sur")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUN = "run-20260102T030405-cfb36bd5"


def commits(*versions: int) -> list[Commit]:
    """One an hour, version 0 at noon."""
    return [Commit(n, NOON + timedelta(hours=n), "WRITE") for n in versions]


def meant(text: str, known: Sequence[Commit], **outputs: int) -> int:
    return AsOf.parse(text).version_of(TABLE, known, outputs)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0", 0),
        (" 2 ", 2),
        ("2026-01-02T12:00:00Z", 0),
        ("2026-01-02T13:59", 1),
        ("2026-01-02T09:30-05:00", 2),
        ("2026-01-02", 3),
        ("2027-06-01", 3),
    ],
)
def test_a_version_a_moment_and_the_end_of_a_day_mean_one_version(text: str, version: int) -> None:
    assert meant(text, commits(0, 1, 2, 3)) == version


def test_a_run_means_the_version_its_manifest_names() -> None:
    assert meant(RUN, commits(0, 1, 2, 3), silver_tickets=2) == 2


@pytest.mark.parametrize("text", ["", "ayer", "-1", "1.5", "2026-13-01", "run-1", "٣"])
def test_what_is_no_point_in_time_is_answered_with_examples(text: str) -> None:
    with pytest.raises(InputError, match="expected a version number such as 7, a run id"):
        AsOf.parse(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("9", "silver_tickets has no version 9; the newest is 3"),
        ("2026-01-02T11:59:59", "was not there yet at 2026-01-02T11:59:59: its first version"),
        (RUN, f"run {RUN} left no version of silver_tickets"),
    ],
)
def test_a_point_outside_the_history_is_refused(text: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        meant(text, commits(0, 1, 2, 3), silver_messages=1)


@pytest.mark.parametrize("text", ["1", "2026-01-02T13:30", RUN])
def test_a_point_before_what_is_kept_says_what_is(text: str) -> None:
    with pytest.raises(VersionGoneError, match="the oldest that can be read is 2"):
        meant(text, commits(2, 3), silver_tickets=1)


def test_a_table_never_written_has_no_history() -> None:
    with pytest.raises(InputError, match="was never written"):
        meant("1", [])


@given(st.integers(0, 20), st.timedeltas(timedelta(days=-2), timedelta(days=2)))
def test_the_newest_version_at_or_before_a_moment_is_meant(size: int, later: timedelta) -> None:
    known, moment = commits(*range(size + 1)), NOON + later
    before = [c.version for c in known if c.at <= moment]
    if before:
        assert meant(moment.isoformat(), known) == max(before)
    else:
        with pytest.raises(InputError, match="was not there yet"):
            meant(moment.isoformat(), known)


def run_of(minute: int) -> RunContext:
    return RunContext.begin(NORTE, kind="run", at=datetime(2026, 1, 1, 8, minute, tzinfo=UTC))


def rows(run: RunContext, *tickets: str) -> pa.Table:
    size = len(tickets)
    return pa.table(
        {
            "tenant_id": pa.array([run.tenant.tenant_id] * size, pa.string()),
            "run_id": pa.array([run.run_id] * size, pa.string()),
            "source": pa.array(["web"] * size, pa.string()),
            "day": pa.array([date(2026, 1, day + 1) for day in range(size)], pa.date32()),
            "ticket_id": pa.array(tickets, pa.string()),
        }
    )


@pytest.fixture
def history(lake: LakeRoot) -> DeltaTableHistory:
    """Two runs: tickets a and b on two days, then c."""
    store = DeltaTableStore(lake)
    for minute, tickets in enumerate([("a", "b"), ("c",)]):
        store.append(TABLE, rows(run_of(minute), *tickets), run_of(minute), part="all")
    return DeltaTableHistory(lake)


def tickets(history: DeltaTableHistory, at: int | None = None) -> list[str]:
    found = history.dataset(TABLE, NORTE, at=at)
    return [] if found is None else sorted(found.to_table()["ticket_id"].to_pylist())


def test_each_commit_says_its_run_and_what_it_added(history: DeltaTableHistory) -> None:
    known = history.commits(TABLE, NORTE)
    assert [(c.version, c.run_id) for c in known[-2:]] == [
        (1, run_of(0).run_id),
        (2, run_of(1).run_id),
    ]
    assert [(c.rows_added, c.files_added) for c in known] == [(0, 0), (2, 2), (1, 1)]
    assert [c.version for c in history.commits(TABLE, NORTE, limit=1)] == [2]


def files_of(lake: LakeRoot) -> list[pafs.FileInfo]:
    everything = pafs.FileSelector("", recursive=True)
    found = lake.table_filesystem(TABLE, NORTE).get_file_info(everything)
    return [info for info in found if info.path.endswith(".parquet")]


def opened(lake: LakeRoot) -> DeltaTable:
    return DeltaTable(lake.table_uri(TABLE, NORTE), storage_options=lake.options)


def test_a_version_is_measured_from_the_log(history: DeltaTableHistory, lake: LakeRoot) -> None:
    state = history.state(TABLE, NORTE)
    assert state is not None
    assert (state.version, state.rows, state.files) == (2, 3, 3)
    assert (state.newest_day, state.last_run) == (date(2026, 1, 2), run_of(1).run_id)
    assert state.partitions == ("source", "day")
    assert state.size_bytes == sum(file.size for file in files_of(lake))
    earlier = history.state(TABLE, NORTE, at=1)
    assert earlier is not None
    assert (earlier.rows, earlier.last_run) == (2, run_of(0).run_id)


def test_a_version_reads_as_it_was(history: DeltaTableHistory) -> None:
    assert (tickets(history), tickets(history, at=1)) == (["a", "b", "c"], ["a", "b"])


def test_another_tenant_has_no_history_here(history: DeltaTableHistory) -> None:
    assert history.commits(TABLE, SUR) == []
    assert history.state(TABLE, SUR) is None
    assert history.dataset(TABLE, SUR) is None


def test_maintenance_makes_nothing_fresh_and_changes_no_rows(
    history: DeltaTableHistory, lake: LakeRoot
) -> None:
    before = history.state(TABLE, NORTE)
    opened(lake).optimize.compact()
    after = history.state(TABLE, NORTE)
    assert before is not None
    assert after is not None
    assert (after.version, after.rows, after.files) == (3, 3, 2)
    assert (after.written_at, after.last_run) == (before.written_at, before.last_run)
    (compaction,) = history.commits(TABLE, NORTE, limit=1)
    assert (compaction.rows_added, compaction.files_added, compaction.files_removed) == (0, 1, 2)


def test_a_version_whose_files_a_vacuum_took_is_refused_and_the_newest_reads(
    history: DeltaTableHistory, lake: LakeRoot
) -> None:
    table = opened(lake)
    table.optimize.compact()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(VersionGoneError, match="version 2 of silver_tickets was cleaned away"):
        history.dataset(TABLE, NORTE, at=2)
    assert tickets(history, at=3) == tickets(history) == ["a", "b", "c"]


def test_an_old_version_whose_files_are_there_still_reads_after_a_compaction(
    history: DeltaTableHistory, lake: LakeRoot
) -> None:
    opened(lake).optimize.compact()
    assert tickets(history, at=1) == ["a", "b"]
    needed = " ".join(opened(lake).file_uris())
    for file in files_of(lake):
        if file.base_name not in needed:
            lake.table_filesystem(TABLE, NORTE).delete_file(file.path)
    with pytest.raises(VersionGoneError, match="version 1"):
        history.dataset(TABLE, NORTE, at=1)


def test_commits_are_named_right_whatever_was_cleaned_from_the_log(
    history: DeltaTableHistory, lake: LakeRoot
) -> None:
    opened(lake).create_checkpoint()
    lake.table_filesystem(TABLE, NORTE).delete_file(f"_delta_log/{0:020}.json")
    lake.table_filesystem(TABLE, NORTE).delete_file(f"_delta_log/{1:020}.json")
    assert [(c.version, c.run_id) for c in history.commits(TABLE, NORTE)] == [(2, run_of(1).run_id)]
    with pytest.raises(VersionGoneError, match="version 1"):
        history.state(TABLE, NORTE, at=1)


def test_a_version_that_never_was_is_refused(history: DeltaTableHistory) -> None:
    with pytest.raises(VersionGoneError, match="version 99"):
        history.state(TABLE, NORTE, at=99)
