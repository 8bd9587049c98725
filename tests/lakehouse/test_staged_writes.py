"""A run stages its rows in parts and publishes them at once: readers see all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, DeltaProtocolError

from lakehouse.data.content import content_of
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.staging import encode_files
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, Staged, TableRef
from lakehouse.errors import InputError, TenantMismatchError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

TABLE = TableRef(Layer.SILVER, "tickets")
NORTE, SUR = TenantContext.parse("norte"), TenantContext.parse("sur")


def run_of(minute: int = 0, tenant: TenantContext = NORTE) -> RunContext:
    return RunContext.begin(tenant, kind="run", at=datetime(2026, 1, 1, 8, minute, tzinfo=UTC))


def rows(run: RunContext, *tickets: str, **columns: Any) -> pa.Table:
    size = len(tickets)
    made = {
        "tenant_id": pa.repeat(run.tenant.tenant_id, size),
        "run_id": pa.repeat(run.run_id, size),
        "source": pa.repeat("web", size),
        "day": pa.array([date(2026, 1, 1)] * size, pa.date32()),
        "ticket_id": pa.array(tickets, pa.string()),
        **columns,
    }
    fields = [
        pa.field(name, values.type, nullable=name != "run_id") for name, values in made.items()
    ]
    return pa.table(list(made.values()), schema=pa.schema(fields))


@pytest.fixture
def store(lake: LakeRoot) -> DeltaTableStore:
    return DeltaTableStore(lake)


def tickets(store: DeltaTableStore, at: int | None = None) -> list[str]:
    found = store.scan(TABLE, NORTE, at=at, columns=["ticket_id"])
    return [] if found is None else sorted(found["ticket_id"].to_pylist())


def commits(lake: LakeRoot) -> int:
    folder = pafs.FileSelector("_delta_log")
    found = lake.table_filesystem(TABLE, NORTE).get_file_info(folder)
    return sum(1 for info in found if info.path.endswith(".json"))


def opened(lake: LakeRoot) -> DeltaTable:
    return DeltaTable(lake.table_uri(TABLE, NORTE), storage_options=lake.options)


def test_staged_rows_are_seen_by_nobody_until_all_are_published_at_once(
    store: DeltaTableStore, lake: LakeRoot
) -> None:
    run = run_of()
    parts = [store.stage(TABLE, rows(run, name), run, part=name) for name in ("a", "b", "c")]
    assert store.head(TABLE, NORTE) is None
    store.publish(TABLE, parts, run)
    assert tickets(store) == ["a", "b", "c"]
    assert commits(lake) == 2  # the table itself, and the run


def test_publishing_twice_adds_nothing(store: DeltaTableStore) -> None:
    run = run_of()
    part = store.stage(TABLE, rows(run, "a"), run, part="one")
    first = store.publish(TABLE, [part, part], run)
    again = store.publish(TABLE, [part], run)
    assert (again, tickets(store)) == (first, ["a"])


def test_the_same_rows_staged_again_are_the_same_files(
    store: DeltaTableStore, lake: LakeRoot
) -> None:
    run = run_of()
    first = store.stage(TABLE, rows(run, "a", "b"), run, part="one")
    files = lake.table_filesystem(TABLE, NORTE)
    before = {file.path: files.open_input_file(file.path).read() for file in first.files}
    assert store.stage(TABLE, rows(run, "a", "b"), run, part="one") == first
    assert {path: files.open_input_file(path).read() for path in before} == before


def test_other_rows_of_a_published_part_leave_the_table_as_it_was(store: DeltaTableStore) -> None:
    run = run_of()
    store.publish(TABLE, [store.stage(TABLE, rows(run, "a"), run, part="one")], run)
    store.publish(TABLE, [store.stage(TABLE, rows(run, "b"), run, part="one")], run)
    assert tickets(store) == ["a"]


def test_what_a_commit_says_of_its_content_is_what_a_reader_finds(store: DeltaTableStore) -> None:
    run, other = run_of(), run_of(1)
    texts = pa.array([None, "señor, ¿y mi cobro?"], pa.large_string())
    one = store.stage(TABLE, rows(run, "a", "b", said=texts), run, part="one")
    two = store.stage(TABLE, rows(run, "c", "d", said=texts), run, part="two")
    assert store.content(TABLE, run) is None
    store.publish(TABLE, [Staged.of_json(one.as_json()), two, two], run)
    for number in range(2, 12):
        later = run_of(number)
        store.append(TABLE, rows(later, f"later-{number}"), later)
    found = store.scan(TABLE, NORTE, run_id=run.run_id)
    assert found is not None
    assert store.content(TABLE, run) == content_of(found)
    assert store.content(TABLE, run_of(3)) == content_of(rows(run_of(3), "later-3"))
    assert store.content(TABLE, other) is None


def test_a_note_of_before_content_was_kept_is_published_and_its_commit_tells_nothing(
    store: DeltaTableStore,
) -> None:
    run = run_of()
    part = store.stage(TABLE, rows(run, "a"), run, part="one")
    note = json.loads(part.as_json())
    del note["content"]
    store.publish(TABLE, [Staged.of_json(json.dumps(note))], run)
    assert (tickets(store), store.content(TABLE, run)) == (["a"], None)


def test_a_run_that_appends_in_parts_has_no_commit_that_tells_of_all(
    store: DeltaTableStore,
) -> None:
    run = run_of()
    for part in ("one", "two"):
        store.append(TABLE, rows(run, part), run, part=part)
    assert store.content(TABLE, run) is None


def test_a_part_travels_as_text(store: DeltaTableStore) -> None:
    run = run_of()
    part = store.stage(TABLE, rows(run, "a"), run, part="one/á")
    assert Staged.of_json(part.as_json()) == part
    store.publish(TABLE, [Staged.of_json(part.as_json())], run)
    assert tickets(store) == ["a"]


def test_a_killed_run_finds_what_it_staged(lake: LakeRoot) -> None:
    run = run_of()
    one, two = (
        DeltaTableStore(lake).stage(TABLE, rows(run, name), run, part=name) for name in ("b", "a")
    )
    resumed = DeltaTableStore(lake)
    assert resumed.staged(TABLE, run) == (two, one)
    assert resumed.staged(TABLE, run_of(1)) == ()
    found = resumed.preview(TABLE, run)
    assert found is not None
    assert found.sort_by("ticket_id") == rows(run, "a", "b").cast(found.schema)
    days = resumed.preview(TABLE, run, columns=["day"])
    assert days is not None
    assert days["day"].to_pylist() == [date(2026, 1, 1)] * 2
    assert not resumed.published(TABLE, run)
    resumed.publish(TABLE, resumed.staged(TABLE, run), run)
    assert resumed.published(TABLE, run)
    assert resumed.staged(TABLE, run) == ()
    assert resumed.preview(TABLE, run) is None
    assert tickets(resumed) == ["a", "b"]


def test_a_discarded_run_leaves_nothing_to_publish(store: DeltaTableStore) -> None:
    run = run_of()
    store.stage(TABLE, rows(run, "a"), run, part="one")
    store.discard(TABLE, run)
    store.discard(TABLE, run)
    assert store.staged(TABLE, run) == ()


def test_partitions_take_any_text_and_null(store: DeltaTableStore) -> None:
    run = run_of()
    names = ["a b/ñ=%&?#+", "..", "%2F", "'\"\\", None, "🙂", "web"]
    table = rows(
        run,
        *(str(number) for number in range(7)),
        source=pa.array(names),
        day=pa.array([date(2026, 1, 1), None] * 3 + [date(1969, 12, 31)], pa.date32()),
    )
    part = store.stage(TABLE, table, run, part="one")
    store.publish(TABLE, [part], run)
    found = store.scan(TABLE, NORTE)
    assert found is not None
    assert found.sort_by("ticket_id").select(table.column_names) == table.cast(found.schema)


def test_an_empty_partition_value_is_refused(store: DeltaTableStore) -> None:
    run = run_of()
    with pytest.raises(InputError, match="empty text"):
        store.stage(TABLE, rows(run, "a", source=pa.array([""])), run, part="one")


def test_parts_without_rows_make_an_empty_table_and_leave_the_fence(
    store: DeltaTableStore,
) -> None:
    run = run_of()
    store.publish(TABLE, [store.stage(TABLE, rows(run), run, part="one")], run)
    assert store.published(TABLE, run)
    assert tickets(store) == []
    found = store.scan(TABLE, NORTE)
    assert found is not None
    assert found.schema.names == rows(run).schema.names


def test_a_new_optional_column_is_added_to_the_table(
    store: DeltaTableStore, lake: LakeRoot
) -> None:
    one, two, three = run_of(1), run_of(2), run_of(3)
    store.append(TABLE, rows(one, "a"), one)
    wider = rows(two, "b", score=pa.array([0.5]))
    store.publish(TABLE, [store.stage(TABLE, wider, two, part="p")], two)
    store.append(TABLE, rows(three, "c"), three)
    found = store.scan(TABLE, NORTE, columns=["ticket_id", "score"])
    assert found is not None
    assert found.sort_by("ticket_id").to_pydict() == {
        "ticket_id": ["a", "b", "c"],
        "score": [None, 0.5, None],
    }
    assert commits(lake) == 5  # the table, three runs, and the new column


def test_a_column_of_another_type_is_refused(store: DeltaTableStore) -> None:
    one, two = run_of(1), run_of(2)
    store.append(TABLE, rows(one, "a", score=pa.array([1.0])), one)
    part = store.stage(TABLE, rows(two, "b", score=pa.array(["high"])), two, part="p")
    with pytest.raises(InputError, match="'score' is string, the table has double"):
        store.publish(TABLE, [part], two)
    assert tickets(store) == ["a"]


def test_nulls_in_a_required_column_are_refused(store: DeltaTableStore) -> None:
    one, two = run_of(1), run_of(2)
    required = rows(one, "a").schema.set(4, pa.field("ticket_id", pa.string(), nullable=False))
    store.append(TABLE, rows(one, "a").cast(required), one)
    loose = rows(two, "b").set_column(4, "ticket_id", pa.array([None], pa.string()))
    part = store.stage(TABLE, loose, two, part="p")
    with pytest.raises(InputError, match="'ticket_id' is required"):
        store.publish(TABLE, [part], two)
    bare = rows(two, "b").drop_columns(["ticket_id"])
    with pytest.raises(InputError, match="missing from part 'q'"):
        store.publish(TABLE, [store.stage(TABLE, bare, two, part="q")], two)


def test_a_part_of_another_run_or_table_is_refused(store: DeltaTableStore) -> None:
    one, two = run_of(1), run_of(2)
    part = store.stage(TABLE, rows(one, "a"), one, part="p")
    with pytest.raises(TenantMismatchError, match=one.run_id):
        store.publish(TABLE, [part], two)
    with pytest.raises(TenantMismatchError, match="silver_messages"):
        store.publish(TableRef(Layer.SILVER, "messages"), [part], one)
    with pytest.raises(InputError, match="nothing was staged"):
        store.publish(TABLE, [], one)


def test_rows_of_another_tenant_cannot_be_staged(store: DeltaTableStore) -> None:
    with pytest.raises(TenantMismatchError, match="norte"):
        store.stage(TABLE, rows(run_of(), "a"), run_of(tenant=SUR), part="p")


def test_a_run_reads_back_its_own_rows_from_its_own_files(
    store: DeltaTableStore, lake: LakeRoot
) -> None:
    for minute in range(3):
        run = run_of(minute)
        store.append(TABLE, rows(run, f"t{minute}"), run)
    own = store.scan(TABLE, NORTE, columns=["ticket_id"], run_id=run_of(1).run_id)
    assert own is not None
    assert own["ticket_id"].to_pylist() == ["t1"]
    assert (
        len(opened(lake).file_uris(file_pruning_predicate=[("run_id", "=", run_of(1).run_id)])) == 1
    )


def test_statistics_bound_every_value(store: DeltaTableStore, lake: LakeRoot) -> None:
    """A reader prunes by them: a bound that is off by a microsecond would hide a row."""
    run = run_of()
    moment = datetime(2026, 1, 1, 8, 0, 0, 123456, tzinfo=UTC)
    moments = pa.array([moment, moment + timedelta(microseconds=1)], pa.timestamp("us", "UTC"))
    table = rows(
        run,
        "a",
        "ñ" * 100,
        ts=moments,
        score=pa.array([float("nan"), 0.5]),
        odd=pa.array([float("inf"), None]),
        flag=pa.array([True, False]),
        vector=pa.array([[1.0], None], pa.list_(pa.float32())),
    )
    part = store.stage(TABLE, table, run, part="p")
    statistics = json.loads(part.files[0].statistics)
    assert statistics["numRecords"] == 2
    assert statistics["minValues"]["ts"] == "2026-01-01T08:00:00.123456Z"
    assert statistics["maxValues"]["ts"] == "2026-01-01T08:00:00.123457Z"
    assert statistics["nullCount"]["odd"] == 1
    assert statistics["maxValues"]["ticket_id"] == "ñ" * 63 + "ò"
    assert "odd" not in statistics["maxValues"]
    store.publish(TABLE, [part], run)
    dataset = opened(lake).to_pyarrow_dataset(filesystem=lake.table_filesystem(TABLE, NORTE))
    last = dataset.to_table(filter=pc.field("ts") > pa.scalar(moment, pa.timestamp("us", "UTC")))
    assert last["ticket_id"].to_pylist() == ["ñ" * 100]
    longest = dataset.to_table(filter=pc.field("ticket_id") == "ñ" * 100)
    assert len(longest) == 1


def test_one_run_published_by_many_at_once_is_there_once(
    store: DeltaTableStore, lake: LakeRoot
) -> None:
    run = run_of()
    parts = [store.stage(TABLE, rows(run, name), run, part=name) for name in "abcd"]

    def publish(_: int) -> int:
        return DeltaTableStore(lake).publish(TABLE, parts, run).version

    with ThreadPoolExecutor(8) as threads:
        versions = set(threads.map(publish, range(8)))
    assert tickets(store) == ["a", "b", "c", "d"]
    assert versions == {1}
    assert commits(lake) == 2


@pytest.mark.parametrize("error", [CommitFailedError, DeltaProtocolError, DeltaError])
def test_a_table_another_writer_creates_in_the_same_moment_is_taken_as_it_is(
    store: DeltaTableStore, lake: LakeRoot, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    create, first, second = DeltaTable.create, run_of(), run_of(1)
    parts = [store.stage(TABLE, rows(first, "a"), first, part="p")]

    def too_late(*_: Any, **__: Any) -> DeltaTable:
        monkeypatch.setattr(DeltaTable, "create", create)
        DeltaTableStore(lake).append(TABLE, rows(second, "b"), second)
        raise error("Protocol changed since last commit")

    monkeypatch.setattr(DeltaTable, "create", too_late)
    assert store.publish(TABLE, parts, first).version == 2
    assert tickets(store) == ["a", "b"]


def test_a_table_nobody_could_create_is_an_error(
    store: DeltaTableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of()

    def refused(*_: Any, **__: Any) -> DeltaTable:
        raise DeltaError("no space left on device")

    monkeypatch.setattr(DeltaTable, "create", refused)
    with pytest.raises(DeltaError, match="no space left"):
        store.append(TABLE, rows(run, "a"), run)
    assert store.head(TABLE, NORTE) is None


@pytest.mark.parametrize("attempt", range(5))
def test_many_first_writers_of_a_table_all_get_their_rows_in(lake: LakeRoot, attempt: int) -> None:
    def write(number: int) -> None:
        run = run_of(number)
        DeltaTableStore(lake).append(TABLE, rows(run, f"t{number}"), run)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(write, range(12)))
    assert tickets(DeltaTableStore(lake)) == sorted(f"t{number}" for number in range(12))


def test_two_writers_that_bring_new_columns_both_get_them(
    store: DeltaTableStore, lake: LakeRoot
) -> None:
    start = run_of()
    store.append(TABLE, rows(start, "a"), start)

    def publish(minute: int) -> None:
        own, run = DeltaTableStore(lake), run_of(minute)
        table = rows(run, f"t{minute}", **{f"c{minute % 3}": pa.array([float(minute)])})
        own.publish(TABLE, [own.stage(TABLE, table, run, part="p")], run)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(publish, range(1, 13)))
    found = store.scan(TABLE, NORTE)
    assert found is not None
    assert len(found) == 13
    for name in ("c0", "c1", "c2"):
        assert len(found[name].drop_null()) == 4


@pytest.fixture
def arrow_threads() -> Iterator[None]:
    before = pa.cpu_count()
    yield
    pa.set_cpu_count(before)


@pytest.mark.usefixtures("arrow_threads")
def test_any_number_of_threads_writes_the_same_files_in_the_same_order() -> None:
    run = run_of()
    names = [f"T-{number:03d}" for number in range(200)]
    days = pa.array([date(2026, 1, 1 + number * 7 % 5) for number in range(200)], pa.date32())
    sources = pa.array(["web" if number % 3 else "chat" for number in range(200)])
    mixed = rows(run, *names, day=days, source=sources)
    found = []
    for threads in (1, 4):
        pa.set_cpu_count(threads)
        found.append(
            [(file, content.to_pybytes()) for file, content in encode_files(mixed, run, "p")]
        )
    assert found[0] == found[1]
    assert len(found[0]) == 10
    own = [pq.read_table(pa.py_buffer(content))["ticket_id"].to_pylist() for _, content in found[0]]
    assert all(values == sorted(values) for values in own)
    assert sorted(value for values in own for value in values) == names
