from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

import pytest
import xxhash

from contracts.tables import PQRS_EVENTS, QUARANTINE
from lakehouse.control.landings import Landing
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from pipelines import bronze, raw_blocks
from pipelines.bronze import stage_landings
from pipelines.errors import RawChangedError
from pipelines.steps import publish, unobserved

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
        stage_landings(
            run, [landing], store=self.store, files=self.files, at=at, on_step=unobserved
        )
        for contract in (PQRS_EVENTS, QUARANTINE):
            publish(self.store, contract, run, on_step=unobserved)

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


def test_an_event_is_let_in_once_across_parts(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bronze, "PART_BYTES", 400)
    monkeypatch.setattr(raw_blocks, "BLOCK_BYTES", 100)
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


def test_a_row_says_which_file_line_and_byte_it_came_from_and_what_stood_there(lake: Lake) -> None:
    lake.refine("\n" + said("a") + "\r\n{}\n", name="one")
    rows, refused = (lake.store.scan(c.table, NORTE) for c in (PQRS_EVENTS, QUARANTINE))
    assert rows is not None
    assert refused is not None
    place = {"raw_file": "raw/one/events.jsonl", "source": "sim"}
    origin = [*place, "raw_line", "raw_offset", "content_hash"]
    line = said("a")
    assert rows.select([*origin, "text_len"]).to_pylist() == [
        {**place, "raw_line": 2, "raw_offset": 1, "content_hash": hash_of(line), "text_len": 10}
    ]
    assert refused.select(origin).to_pylist() == [
        {**place, "raw_line": 3, "raw_offset": len(line) + 3, "content_hash": hash_of("{}")}
    ]


def hash_of(line: str) -> str:
    return xxhash.xxh3_128_hexdigest(line.encode())


def test_a_byte_order_mark_is_no_part_of_the_first_line(lake: Lake) -> None:
    lake.refine("\ufeff" + said("a"), name="one")
    rows = lake.store.scan(PQRS_EVENTS.table, NORTE)
    assert rows is not None
    assert rows["raw_offset"].to_pylist() == [3]
    assert rows["content_hash"].to_pylist() == [hash_of(said("a"))]


def test_a_run_makes_one_commit_however_many_parts_it_stages(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bronze, "PART_BYTES", 100)
    monkeypatch.setattr(raw_blocks, "BLOCK_BYTES", 100)
    lake.refine("\n".join(said(name) for name in "abcde"), name="one")
    head = lake.store.head(PQRS_EVENTS.table, NORTE)
    assert head is not None
    assert head.version == 1
    assert len(lake.texts()) == 5


def test_the_cut_into_blocks_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [said("a"), "", said("b"), "{", said("a"), said("c", tenant_id="sur"), "x\r", said("d")]
    found = []
    for size in (7, 200, 5_000):
        monkeypatch.setattr(raw_blocks, "BLOCK_BYTES", size)
        lake = Lake(tmp_path / str(size))
        lake.refine("\n".join(lines), name="one")
        rows = lake.store.scan(PQRS_EVENTS.table, NORTE)
        assert rows is not None
        found.append((lake.refused(), rows.sort_by("raw_line").to_pylist()))
    assert found[0] == found[1] == found[2]
    assert [line for line, _ in found[0][0]] == [4, 5, 6, 7]


def test_raw_that_was_changed_after_landing_is_not_read(lake: Lake) -> None:
    with pytest.raises(RawChangedError, match="is not the one that landed"):
        lake.refine(said("a"), name="one", sha="0" * 64)
    assert lake.texts() == []
