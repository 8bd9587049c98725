"""The table layer against a model of it: a dictionary of rows by run, and a list of versions."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.maintenance import TidyPolicy
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

TABLE = TableRef(Layer.SILVER, "tickets")
NORTE = TenantContext.parse("norte")
START = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = TidyPolicy(mergeable_files=2, checkpoint_every=2, retention=timedelta(0))

Row = tuple[str, str | None, int, str | None]
"""Ticket, source, day, and a column that only some parts bring."""

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["web", "a b/ñ=%", None]), st.integers(0, 2), st.none() | st.just("x")
    ),
    max_size=4,
)


class TableModel(RuleBasedStateMachine):
    """Runs stage, are killed, publish and repeat themselves, while the table is tidied."""

    runs: Bundle[RunContext] = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.lake = LakeRoot(self.folder)
        self.minute = 0
        self.staged: dict[str, dict[str, list[Row]]] = {}
        self.rows: dict[str, list[Row]] = {}
        self.fences: set[str] = set()
        self.versions: dict[int, dict[str, list[Row]]] = {}
        self.pinned: set[int] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def store(self) -> DeltaTableStore:
        """A store that knows nothing: every step is as if in a process of its own."""
        return DeltaTableStore(self.lake)

    @rule(target=runs)
    def begin(self) -> RunContext:
        self.minute += 1
        at = START + timedelta(minutes=self.minute)
        return RunContext.begin(NORTE, kind="run", at=at)

    @rule(run=runs, part=st.sampled_from("ab"), drawn=ROWS, wider=st.booleans())
    def stage(self, run: RunContext, part: str, drawn: list[Any], wider: bool) -> None:
        rows = model_rows(run, part, drawn, wider)
        self.store.stage(TABLE, arrow_rows(run, rows, wider), run, part=part)
        self.staged.setdefault(run.run_id, {})[part] = rows

    @rule(run=runs, part=st.sampled_from("ab"), drawn=ROWS)
    def die_between_files_and_note(self, run: RunContext, part: str, drawn: list[Any]) -> None:
        self.store._write_files(
            TABLE, arrow_rows(run, model_rows(run, part, drawn, False), False), run, part
        )

    @rule(run=runs)
    def publish(self, run: RunContext) -> None:
        parts = self.store.staged(TABLE, run)
        assert {part.part for part in parts} == set(self.staged.get(run.run_id, {}))
        if parts:
            self.settle(run.run_id, self.staged.pop(run.run_id))
            self.remember(self.store.publish(TABLE, parts, run).version)

    @rule(run=runs)
    def die_between_commit_and_clearing_notes(self, run: RunContext) -> None:
        parts = self.store.staged(TABLE, run)
        if parts:
            self.settle(run.run_id, self.staged[run.run_id])
            self.remember(self.store._commit(TABLE, parts, run, fence=run.run_id).version)

    @rule(run=runs, part=st.sampled_from("ab"), drawn=ROWS)
    def append(self, run: RunContext, part: str, drawn: list[Any]) -> None:
        rows = model_rows(run, f"append-{part}", drawn, False)
        written = self.store.append(TABLE, arrow_rows(run, rows, False), run, part=part)
        self.settle(f"{run.run_id}/{part}", {part: rows}, run_id=run.run_id)
        self.remember(written.version)

    @rule(run=runs)
    def discard(self, run: RunContext) -> None:
        self.store.discard(TABLE, run)
        self.staged.pop(run.run_id, None)

    @rule(data=st.data())
    @precondition(lambda self: self.versions)
    def pin(self, data: st.DataObject) -> None:
        self.pinned.add(data.draw(st.sampled_from(sorted(self.versions))))

    @rule()
    def compact(self) -> None:
        DeltaTableMaintenance(self.lake).compact(TABLE, NORTE, policy=AT_ONCE)
        self.remember_head()

    @rule()
    def checkpoint(self) -> None:
        DeltaTableMaintenance(self.lake).checkpoint(TABLE, NORTE)

    @rule()
    def tidy(self) -> None:
        care = DeltaTableMaintenance(self.lake)
        before = care.due(TABLE, NORTE, policy=AT_ONCE)
        care.tidy(TABLE, NORTE, pinned=self.pinned, policy=AT_ONCE)
        if len(before) > 1:
            self.forget_what_a_vacuum_may_take()

    @rule()
    def vacuum(self) -> None:
        DeltaTableMaintenance(self.lake).vacuum(TABLE, NORTE, pinned=self.pinned, policy=AT_ONCE)
        self.forget_what_a_vacuum_may_take()

    @invariant()
    def the_newest_version_is_what_was_published(self) -> None:
        assert read(self.store, None) == sorted_rows(self.rows)

    @rule(data=st.data())
    @precondition(lambda self: self.versions)
    def read_a_version(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.versions)))
        assert read(self.store, version) == sorted_rows(self.versions[version])

    @rule(run=runs)
    def read_a_run(self, run: RunContext) -> None:
        found = self.store.scan(TABLE, NORTE, columns=["ticket_id"], run_id=run.run_id)
        names = [] if found is None else sorted(found["ticket_id"].to_pylist())
        assert names == sorted(row[0] for row in self.rows.get(run.run_id, []))
        assert self.store.published(TABLE, run) == (run.run_id in self.fences)

    @rule(run=runs)
    def preview_a_run(self, run: RunContext) -> None:
        found = self.store.preview(TABLE, run, columns=["ticket_id", "source"])
        waiting = [row for part in self.staged.get(run.run_id, {}).values() for row in part]
        pairs = [] if found is None else list(zip(*found.to_pydict().values(), strict=True))
        assert sorted(map(repr, pairs)) == sorted(repr(row[:2]) for row in waiting)

    def settle(self, fence: str, parts: dict[str, list[Row]], *, run_id: str | None = None) -> None:
        if fence not in self.fences:
            self.fences.add(fence)
            added = [row for part in parts.values() for row in part]
            self.rows.setdefault(run_id or fence, []).extend(added)

    def remember(self, version: int) -> None:
        self.versions[version] = {run: list(rows) for run, rows in self.rows.items()}

    def remember_head(self) -> None:
        head = self.store.head(TABLE, NORTE)
        if head is not None:
            self.remember(head.version)

    def forget_what_a_vacuum_may_take(self) -> None:
        self.remember_head()
        head = self.store.head(TABLE, NORTE)
        newest = -1 if head is None else head.version
        self.versions = {
            version: rows
            for version, rows in self.versions.items()
            if version in self.pinned or version == newest
        }
        for run_id in [run_id for run_id in self.staged if run_id in self.fences]:
            del self.staged[run_id]
        for version, rows in self.versions.items():
            assert read(self.store, version) == sorted_rows(rows)


def model_rows(run: RunContext, part: str, drawn: list[Any], wider: bool) -> list[Row]:
    return [
        (f"{run.run_id}/{part}/{number}", source, day, note if wider else None)
        for number, (source, day, note) in enumerate(drawn)
    ]


def arrow_rows(run: RunContext, rows: list[Row], wider: bool) -> pa.Table:
    days = [date(2026, 1, 1) + timedelta(days=row[2]) for row in rows]
    columns = {
        "tenant_id": pa.array([run.tenant.tenant_id] * len(rows), pa.string()),
        "run_id": pa.array([run.run_id] * len(rows), pa.string()),
        "source": pa.array([row[1] for row in rows], pa.string()),
        "day": pa.array(days, pa.date32()),
        "ticket_id": pa.array([row[0] for row in rows], pa.string()),
    }
    if wider:
        columns["note"] = pa.array([row[3] for row in rows], pa.string())
    return pa.table(columns)


def sorted_rows(rows: dict[str, list[Row]]) -> list[Row]:
    return sorted((row for own in rows.values() for row in own), key=lambda row: row[0])


def read(store: DeltaTableStore, at: int | None) -> list[Row]:
    found = store.scan(TABLE, NORTE, at=at)
    if found is None:
        return []
    size = len(found)
    days = [(day - date(2026, 1, 1)).days for day in found["day"].to_pylist()]
    notes = found["note"].to_pylist() if "note" in found.column_names else [None] * size
    made = zip(
        found["ticket_id"].to_pylist(), found["source"].to_pylist(), days, notes, strict=True
    )
    return sorted(made, key=lambda row: row[0])


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_the_table_layer_does_what_its_model_does() -> None:
    few = settings(
        max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=QUIET
    )
    run_state_machine_as_test(TableModel, settings=few)


@pytest.mark.stress
def test_the_table_layer_does_what_its_model_does_at_length() -> None:
    many = settings(
        max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=QUIET
    )
    run_state_machine_as_test(TableModel, settings=many)
