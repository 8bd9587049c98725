"""What is judged while it is staged is judged as it would be from the files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts.tables import ATTACHMENTS, MESSAGES, PQRS_EVENTS, STATUS_EVENTS, TICKETS
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import QualityResult, RunLog
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import TableRef
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines import silver, status_changes
from pipelines.audits import Audits
from pipelines.quality import audit_staged
from pipelines.silver import SilverInput, refine_events
from pipelines.steps import stage, unobserved

NORTE = TenantContext.parse("norte")
RUN = RunContext.begin(NORTE, kind="run", at=datetime(2026, 1, 20, 8, tzinfo=UTC))
JUDGED = replace(MESSAGES, quality=())
"""Without checks that compare with earlier runs: no log is asked for them."""

LOG = RunLog(Postgres("postgresql://nobody@127.0.0.1:1/none"))


def uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def messages(*numbers: int, role: str = "citizen") -> pa.Table:
    rows = [
        {
            "tenant_id": "norte",
            "run_id": RUN.run_id,
            "source": "sim",
            "day": RUN.started_at.date(),
            "ticket_id": uid(number),
            "event_id": uid(number),
            "ts": RUN.started_at,
            "role": role,
            "text": "No hay agua",
            "text_len": 11,
        }
        for number in numbers
    ]
    return pa.Table.from_pylist(rows, schema=MESSAGES.schema)


class Watched(DeltaTableStore):
    """Keeps in mind what was read of the rows that were written."""

    def __init__(self, root: LakeRoot) -> None:
        super().__init__(root)
        self.previewed: list[str] = []
        self.held: list[int] = []
        self.scanned: set[str] = set()

    def preview(self, table: TableRef, run: RunContext, **asked: Any) -> pa.Table | None:
        self.previewed += [part.part for part in asked["parts"]]
        return super().preview(table, run, **asked)

    def scan(self, table: TableRef, tenant: TenantContext, **asked: Any) -> pa.Table | None:
        found = super().scan(table, tenant, **asked)
        self.scanned |= set() if found is None else set(found.column_names)
        return found

    def pieces(self, table: TableRef, tenant: TenantContext, **asked: Any) -> Iterator[pa.Table]:
        for piece in super().pieces(table, tenant, **asked):
            self.held.append(len(piece))
            yield piece


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    return Watched(LakeRoot(str(tmp_path / "lake")))


def staged(store: Watched, audits: Audits | None, part: str, rows: pa.Table) -> None:
    stage(store, JUDGED, rows, RUN, part=part, on_step=unobserved, audits=audits)


def results(store: Watched, audits: Audits | None = None) -> list[QualityResult]:
    return audit_staged(RUN, [JUDGED], store=store, log=LOG, audits=audits)


PARTS = {"00000": messages(1, 2, 3), "00001": messages(3, 4), "00002": messages(5, role="nobody")}


def test_judged_in_memory_is_judged_from_the_files_and_nothing_is_read(store: Watched) -> None:
    audits = Audits()
    for part, rows in PARTS.items():
        staged(store, audits, part, rows)
    found = results(store, audits)
    assert store.previewed == []
    assert {r.check: r.observed for r in found if not r.passed} == {
        "values allowed": "1 values: role (1)",
        "event_id unique": "1 rows",
    }
    assert found == results(store)
    assert store.previewed == list(PARTS)


def test_only_what_a_killed_attempt_staged_is_read_back(store: Watched) -> None:
    staged(store, Audits(), "00000", PARTS["00000"])
    audits = Audits()
    for part in ("00001", "00002"):
        staged(store, audits, part, PARTS[part])
    found = results(store, audits)
    assert store.previewed == ["00000"]
    assert found == results(store)


def test_a_part_staged_again_in_one_process_is_judged_from_the_files(store: Watched) -> None:
    audits = Audits()
    staged(store, audits, "00000", PARTS["00001"])
    staged(store, audits, "00000", PARTS["00000"])
    found = results(store, audits)
    assert store.previewed == ["00000"]
    assert [r.check for r in found if not r.passed] == []


def test_what_was_discarded_is_not_judged(store: Watched) -> None:
    audits = Audits()
    staged(store, audits, "00002", PARTS["00002"])
    store.discard(JUDGED.table, RUN)
    staged(store, None, "00000", PARTS["00000"])
    assert all(r.passed for r in results(store, audits))


def events(days: int, a_day: int) -> pa.Table:
    """Messages of some days, and a ticket, a change and an attachment each day."""
    rows = []
    for day in range(days):
        at = datetime(2026, 1, 1 + day, 12, tzinfo=UTC)
        shared = {
            "tenant_id": "norte",
            "run_id": RUN.run_id,
            "source": "sim",
            "day": at.date(),
            "schema_version": "1",
            "raw_file": "raw/x",
            "raw_offset": 0,
            "content_hash": "0" * 32,
            "ts": at,
        }
        kinds: list[dict[str, Any]] = [
            {"event_type": "TICKET_CREATED", "external_id": "1", "source_channel": "chat"},
            {
                "event_type": "STATUS_CHANGED",
                "status_from": "RECEIVED",
                "status_to": "RADICATED",
                "ts": at + timedelta(hours=1),
            },
            {"event_type": "ATTACHMENT_ADDED", "file_type": "pdf", "size_kb": 1.0},
            *[{"event_type": "MESSAGE_ADDED", "role": "citizen", "text": "agua"}] * a_day,
        ]
        for number, kind in enumerate(kinds):
            place = 1000 * day + number
            ids = {"event_id": uid(place), "ticket_id": uid(day), "raw_line": place + 1}
            rows.append({**shared, **ids, **kind})
    made = pa.Table.from_pylist(rows, schema=PQRS_EVENTS.schema)
    size = made["text"].is_valid().cast(pa.int64())
    return made.set_column(
        made.column_names.index("text_len"), PQRS_EVENTS.schema.field("text_len"), size
    )


def test_silver_holds_the_texts_of_a_piece_at_a_time_and_loses_none(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silver, "PIECE_ROWS", 25)
    monkeypatch.setattr(status_changes, "PART_ROWS", 4)
    rows = events(days=9, a_day=17)
    part = store.stage(PQRS_EVENTS.table, rows, RUN, part="all")
    store.publish(PQRS_EVENTS.table, [part], RUN)
    tables = (TICKETS, MESSAGES, STATUS_EVENTS, ATTACHMENTS)
    versions: dict[str, int | None] = {str(c.table): None for c in tables}
    versions["silver_quarantine"] = None
    refine_events(RUN, SilverInput([RUN.run_id], versions), store=store, on_step=unobserved)
    assert store.held == [40, 40, 40, 40, 20]
    assert "text" not in store.scanned
    found = {c: store.preview(c.table, RUN, parts=store.staged(c.table, RUN)) for c in tables}
    counts = {c.table.entity: len(rows) for c, rows in found.items() if rows is not None}
    assert counts == {"tickets": 9, "messages": 153, "status_events": 9, "attachments": 9}
    assert len(store.staged(MESSAGES.table, RUN)) == 5
    assert len(store.staged(STATUS_EVENTS.table, RUN)) == 3
