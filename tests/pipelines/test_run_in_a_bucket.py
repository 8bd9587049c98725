"""A lake in a bucket: runs, backfills, lineage and runs computed again are those of a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pyarrow.fs as pafs
import pytest
from deltalake import DeltaTable

from contracts.contract import Contract
from contracts.tables import MESSAGES, PQRS_EVENTS, QUARANTINE, TICKETS
from lakehouse.data.content import content_of
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.history import VersionGoneError
from lakehouse.data.maintenance import TidyPolicy
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.data.tables import Layer
from lakehouse.settings import Settings
from pipelines.answered import standing_answers
from pipelines.backfill import Days, carry_out, plan_backfill
from pipelines.errors import RawChangedError
from pipelines.lineage import Question, explain
from pipelines.lineage_forward import follow
from pipelines.lineage_walk import LineagePorts
from pipelines.reproduce import reproduce
from pipelines.run import RunPorts, run_tenant


def test_a_run_in_a_bucket_leaves_the_same_tables(
    killable: ModuleType, server: str, prepared: Path, whole: Any, s3_settings: Settings
) -> None:
    bucket, ports = in_a_bucket(killable, server, prepared, "bucket", s3_settings)
    back = prepared / "bucket" / "back"
    back.mkdir()
    copy(bucket, LakeRoot(str(back)))
    assert killable.tables(ports.postgres._url, back) == whole.found


def test_in_a_bucket_a_run_comes_out_again_until_what_it_read_is_cleaned_away(
    killable: ModuleType, server: str, prepared: Path, s3_settings: Settings, tmp_path: Path
) -> None:
    bucket, ports = in_a_bucket(killable, server, prepared, "bucket-again", s3_settings)
    record = ports.log.recent(killable.NORTE)[0]
    scratch = DeltaTableStore(LakeRoot(str(tmp_path / "scratch")))
    found = reproduce(record, ports, scratch, at=killable.THIRD, code_version="unknown")
    assert found.differing == []
    care, at_once = DeltaTableMaintenance(bucket), TidyPolicy(retention=timedelta(0))
    care.checkpoint(MESSAGES.table, killable.NORTE)
    care.vacuum(MESSAGES.table, killable.NORTE, pinned=(), policy=at_once)
    elsewhere = DeltaTableStore(LakeRoot(str(tmp_path / "elsewhere")))
    with pytest.raises(VersionGoneError, match="was cleaned away"):
        reproduce(record, ports, elsewhere, at=killable.THIRD, code_version="unknown")
    files = (record.manifest or {})["files"]
    bucket.filesystem().delete_file(f"norte/{files[0]['path']}")
    with pytest.raises(RawChangedError, match="is gone"):
        reproduce(record, ports, elsewhere, at=killable.THIRD, code_version="unknown")


def test_in_a_bucket_lost_rows_come_back_and_models_answer_again(
    killable: ModuleType, server: str, prepared: Path, s3_settings: Settings
) -> None:
    bucket, ports = in_a_bucket(killable, server, prepared, "bucket-backfill", s3_settings)
    lost = (PQRS_EVENTS, QUARANTINE, TICKETS, MESSAGES)
    before = contents(ports, lost, killable)
    for contract in lost:
        table = DeltaTable(
            bucket.table_uri(contract.table, killable.NORTE), storage_options=bucket.options
        )
        table.restore(table.version() - 1)
    days, ports = Days(date(2026, 1, 1), date(2026, 1, 31)), killable.promoted(ports)
    for hour, (layer, tasks) in enumerate(
        [(Layer.BRONZE, None), (Layer.SILVER, killable.tasks()), (Layer.GOLD, None)]
    ):
        at = killable.THIRD.replace(hour=13 + hour)
        planned = plan_backfill(
            killable.NORTE, layer, days, ports, killable.scratch, at=at, enrich=tasks
        )
        assert planned.plan.chunks
        assert carry_out(planned, ports, killable.scratch).over
    assert contents(ports, lost, killable) == before
    answered = standing_answers("tipo", killable.NORTE, ports.store)
    assert set(answered["model_version"].to_pylist()) == {"3"}


def test_in_a_bucket_a_number_leads_to_its_lines_of_raw_and_a_line_to_its_numbers(
    killable: ModuleType, server: str, prepared: Path, s3_settings: Settings
) -> None:
    bucket, ports = in_a_bucket(killable, server, prepared, "bucket-lineage", s3_settings)
    reader = LineagePorts(ports.store, ports.files, ports.landings, ports.log, ports.postgres)
    question = Question("kpi_volume_daily", date(2026, 1, 4))
    found = explain(question, killable.NORTE, reader)
    assert set(found.tickets) == {killable.uid("t4"), killable.uid("t5")}
    for trace in found.tickets.values():
        for event in trace.events:
            assert event.raw is not None
            assert event.raw.address.startswith(f"{bucket.uri}/norte/raw/")
            lines = ports.files.read(killable.NORTE, event.raw.path).decode().splitlines()
            assert json.loads(lines[event.raw.line - 1])["event_id"] == event.event_id
    raw = found.tickets[killable.uid("t4")].events[0].raw
    assert raw is not None
    touched = follow(f"{raw.address}:{raw.line}", killable.NORTE, reader)
    assert "gold_kpi_volume_daily" in {number.table for number in touched.numbers}


def in_a_bucket(
    killable: ModuleType, server: str, prepared: Path, name: str, s3: Settings
) -> tuple[LakeRoot, RunPorts]:
    """Copy the prepared lake to a bucket, and do the second run there."""
    url, lake = killable.copied(server, prepared, name)
    bucket = LakeRoot(f"{s3.lake}/{uuid4().hex}", s3.lake_options)
    copy(LakeRoot(str(lake)), bucket)
    ports: RunPorts = replace(
        killable.ports_at(url, lake),
        store=DeltaTableStore(bucket),
        files=FileStore(bucket),
        maintenance=DeltaTableMaintenance(bucket),
    )
    run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    return bucket, ports


def contents(
    ports: RunPorts, contracts: Sequence[Contract], killable: ModuleType
) -> dict[str, str]:
    """Hash every table's rows, whoever wrote them."""
    found = {str(c.table): ports.store.scan(c.table, killable.NORTE) for c in contracts}
    return {name: content_of(rows, but=["run_id"]).digest for name, rows in found.items()}


def copy(source: LakeRoot, target: LakeRoot) -> None:
    """Copy a whole lake: a Delta table names its files by where they lie inside its folder."""
    here, there = source.filesystem(), target.filesystem()
    pafs.copy_files(
        here.base_path,
        there.base_path,
        source_filesystem=here.base_fs,
        destination_filesystem=there.base_fs,
    )
