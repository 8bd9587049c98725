from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

import pytest

from contracts.tables import PQRS_EVENTS, QUARANTINE
from lakehouse.control.landings import Landing
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from pipelines import bronze
from pipelines.bronze import refine_landings
from pipelines.errors import RawChangedError
from pipelines.steps import unobserved

NORTE = TenantContext.parse("norte")
LANDED = datetime(2026, 1, 10, 12, tzinfo=UTC)


def said(name: str, ts: str = "2026-01-09T10:00:00Z", **changed: str) -> str:
    uid = str(uuid5(NAMESPACE_DNS, name))
    message = {"role": "citizen", "text": f"Texto de {name}"}
    event = {"event_id": uid, "ticket_id": uid, "event_type": "MESSAGE_ADDED", "ts": ts}
    return json.dumps({**event, "data": message, **changed})


class Lake:
    """A lake on a folder, with runs that take one landing each."""

    def __init__(self, folder: Path) -> None:
        root = LakeRoot(str(folder))
        self.store, self.files = DeltaTableStore(root), FileStore(root)

    def refine(self, content: str, *, name: str, at: int | None = None, sha: str = "") -> None:
        path = f"raw/{name}/events.jsonl"
        self.files.write(NORTE, path, content.encode())
        digest = sha or hashlib.sha256(content.encode()).hexdigest()
        landing = Landing("sim", name, RunId(name), path, "e.jsonl", LANDED, digest, 1)
        run = RunContext(RunId(f"run-{name}"), NORTE, LANDED)
        refine_landings(
            run, [landing], store=self.store, files=self.files, at=at, on_step=unobserved
        )

    def texts(self) -> list[str]:
        rows = self.store.scan(PQRS_EVENTS.table, NORTE)
        return [] if rows is None else sorted(rows["text"].to_pylist())

    def refused(self) -> list[tuple[int, str]]:
        rows = self.store.scan(QUARANTINE.table, NORTE)
        if rows is None:
            return []
        lines, reasons = rows["raw_line"].to_pylist(), rows["reason"].to_pylist()
        return sorted(zip(lines, reasons, strict=True))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_an_event_is_let_in_once_within_a_file_and_across_runs(lake: Lake) -> None:
    lake.refine("\n".join([said("a"), said("b"), said("a")]), name="one")
    head = lake.store.head(PQRS_EVENTS.table, NORTE)
    assert head is not None
    lake.refine("\n".join([said("b"), said("c")]), name="two", at=head.version)
    assert lake.texts() == ["Texto de a", "Texto de b", "Texto de c"]
    assert lake.refused() == [(1, "duplicate event_id"), (3, "duplicate event_id")]


def test_an_event_is_let_in_once_across_chunks(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bronze, "CHUNK_LINES", 2)
    lake.refine("\n".join([said("a"), said("b"), said("c"), said("a"), said("b")]), name="one")
    assert lake.texts() == ["Texto de a", "Texto de b", "Texto de c"]
    assert [line for line, _ in lake.refused()] == [4, 5]


def test_an_event_of_another_tenant_is_quarantined(lake: Lake) -> None:
    lake.refine("\n".join([said("a", tenant_id="sur"), said("b", tenant_id="norte")]), name="one")
    assert lake.texts() == ["Texto de b"]
    assert lake.refused() == [(1, "tenant_id: the event is of another tenant")]


@pytest.mark.parametrize("ts", ["1889-01-01T00:00:00Z", "2026-01-12T00:00:00Z"])
def test_a_moment_that_cannot_be_true_is_quarantined(lake: Lake, ts: str) -> None:
    lake.refine(said("a", ts), name="one")
    assert lake.texts() == []
    assert lake.refused()[0][1].startswith("ts: ")


def test_blank_lines_and_a_byte_order_mark_are_no_rows_and_no_faults(lake: Lake) -> None:
    lake.refine("\ufeff" + said("a") + "\n\n  \n" + said("b"), name="one")
    assert lake.texts() == ["Texto de a", "Texto de b"]
    assert lake.refused() == []


def test_a_row_says_which_file_and_line_it_came_from(lake: Lake) -> None:
    lake.refine("\n" + said("a") + "\n", name="one")
    rows = lake.store.scan(PQRS_EVENTS.table, NORTE)
    assert rows is not None
    origin = rows.select(["raw_file", "raw_line", "source", "text_len"]).to_pylist()
    expected = {"raw_file": "raw/one/events.jsonl", "raw_line": 2, "source": "sim", "text_len": 10}
    assert origin == [expected]


def test_raw_that_was_changed_after_landing_is_not_read(lake: Lake) -> None:
    with pytest.raises(RawChangedError, match="is not the one that landed"):
        lake.refine(said("a"), name="one", sha="0" * 64)
    assert lake.texts() == []
