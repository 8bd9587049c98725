"""A run is computed again from its manifest, and what comes out is what there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from contracts.tables import MESSAGES
from features.embed import embed_step
from features.tiny import write_tiny_model
from lakehouse.compute.dask_cluster import DaskCluster
from lakehouse.control.runs import RunRecord, RunStatus
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.history import VersionGoneError
from lakehouse.data.maintenance import TidyPolicy
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import InputError
from models.steps import classify_step
from pipelines.enrich import ModelSteps
from pipelines.errors import RawChangedError
from pipelines.reproduce import Reproduction, reproduce
from pipelines.run import RunPorts, run_gold, run_tenant
from pipelines.shadow import Proposal, start_experiment
from pipelines.train import register_baseline, register_embedding_model, register_zero_shot_prompt
from registry.challenges import ExperimentLog, Mode
from registry.memory import MemoryRegistry


@pytest.fixture
def ports(
    killable: ModuleType, server: str, prepared: Path, request: pytest.FixtureRequest
) -> RunPorts:
    """A lake of its own in which two runs have ended."""
    url, lake = killable.copied(server, prepared, request.node.name)
    killable.second_run(url, lake)
    found: RunPorts = killable.ports_at(url, lake)
    return found


def newest(ports: RunPorts, killable: ModuleType, kind: str = "run") -> RunRecord:
    records = ports.log.recent(killable.NORTE)
    return next(record for record in records if record.kind == kind)


def again(ports: RunPorts, record: RunRecord, killable: ModuleType, folder: Path) -> Reproduction:
    scratch = DeltaTableStore(LakeRoot(str(folder / "scratch")))
    moment = killable.THIRD
    return reproduce(record, ports, scratch, at=moment, code_version="unknown")


def test_a_run_comes_out_again_with_the_same_content_and_leaves_only_a_record(
    killable: ModuleType, ports: RunPorts, tmp_path: Path
) -> None:
    lake = killable.lake_of(ports)
    url = ports.postgres._url
    before = killable.tables(url, lake)
    record = newest(ports, killable)
    found = again(ports, record, killable, tmp_path)
    assert found.differing == []
    assert found.reasons == ()
    rows = {outcome.table: outcome.rows for outcome in found.tables}
    assert rows["bronze_pqrs_events"] > 0
    assert rows["silver_classifications"] > 0
    assert rows["gold_kpi_volume_daily"] > 0
    after = killable.tables(url, lake)
    records = after.pop("meta.etl_runs")
    known = before.pop("meta.etl_runs")
    assert [row for row in records if row in known] == known
    assert len(records) == len(known) + 1
    assert after == before
    kept = newest(ports, killable, "reproduce")
    assert kept.status is RunStatus.COMPLETED
    assert kept.plan == {"of_run": record.run.run_id}


def test_an_earlier_run_comes_out_again_though_others_came_after_it(
    killable: ModuleType, ports: RunPorts, tmp_path: Path
) -> None:
    (_, first) = ports.log.recent(killable.NORTE)
    found = again(ports, first, killable, tmp_path)
    assert found.of_run.startswith("run-20260110")
    assert found.differing == []


def test_gold_counted_by_itself_comes_out_again(
    killable: ModuleType, ports: RunPorts, tmp_path: Path
) -> None:
    run_gold(killable.NORTE, ports, at=killable.SECOND + timedelta(hours=1))
    found = again(ports, newest(ports, killable, "gold"), killable, tmp_path)
    assert found.differing == []
    assert {outcome.table.partition("_")[0] for outcome in found.tables} == {"gold"}


def test_what_differs_is_named_with_what_is_not_as_it_was(
    killable: ModuleType, ports: RunPorts, tmp_path: Path
) -> None:
    record = newest(ports, killable)
    assert record.manifest is not None
    environment = dict(record.manifest["environment"])
    environment["distributions"] = {**environment["distributions"], "numpy": "1.0"}
    environment["digest"] = "other"
    changed = {**record.manifest, "environment": environment, "code_version": "plata 0.0"}
    other = replace(ports, models=ModelSteps(ports.models.embed, killable.other_classify))
    found = again(other, replace(record, manifest=changed), killable, tmp_path)
    assert "silver_classifications" in found.differing
    assert "silver_tickets" not in found.differing
    assert found.reasons[0] == "code: plata 0.0 then, unknown now"
    assert found.reasons[1].startswith("numpy: 1.0 then, ")
    kept = newest(ports, killable, "reproduce")
    assert kept.status is RunStatus.FAILED
    assert "silver_classifications" in (kept.error or "")


def test_rows_that_the_lake_lost_are_told_apart_from_rows_that_come_out_otherwise(
    killable: ModuleType, ports: RunPorts, tmp_path: Path
) -> None:
    killable.lose_newest_version(ports, "silver", "messages")
    found = again(ports, newest(ports, killable), killable, tmp_path)
    assert found.differing == ["silver_messages"]
    (outcome,) = [t for t in found.tables if t.table == "silver_messages"]
    assert (outcome.reproduced, outcome.kept) == (True, False)


def test_a_raw_file_that_changed_or_went_is_refused(
    killable: ModuleType, ports: RunPorts, tmp_path: Path
) -> None:
    record = newest(ports, killable)
    assert record.manifest is not None
    (path, *_) = (file["path"] for file in record.manifest["files"])
    content = ports.files.read(killable.NORTE, path)
    ports.files.write(killable.NORTE, path, content + b"\n{}")
    with pytest.raises(RawChangedError, match="is not the one that landed"):
        again(ports, record, killable, tmp_path)
    kept = newest(ports, killable, "reproduce")
    assert kept.status is RunStatus.FAILED
    assert "is not the one that landed" in (kept.error or "")
    (killable.lake_of(ports) / "norte" / path).unlink()
    with pytest.raises(RawChangedError, match="is gone"):
        again(ports, record, killable, tmp_path)


def test_a_run_whose_input_was_vacuumed_is_refused_before_anything_is_computed(
    killable: ModuleType, ports: RunPorts, tmp_path: Path
) -> None:
    record, known = newest(ports, killable), len(ports.log.recent(killable.NORTE))
    care = DeltaTableMaintenance(LakeRoot(str(killable.lake_of(ports))))
    at_once = TidyPolicy(retention=timedelta(0))
    care.checkpoint(MESSAGES.table, killable.NORTE)
    care.vacuum(MESSAGES.table, killable.NORTE, pinned=(), policy=at_once)
    found = f"version 1 of silver_messages, which {record.run.run_id} read, was cleaned away"
    with pytest.raises(VersionGoneError, match=found):
        again(ports, record, killable, tmp_path)
    assert len(ports.log.recent(killable.NORTE)) == known


def test_only_a_run_that_ended_can_be_computed_again(
    killable: ModuleType, ports: RunPorts, tmp_path: Path
) -> None:
    record = newest(ports, killable)
    with pytest.raises(InputError, match="only a run that ended"):
        again(ports, replace(record, manifest=None), killable, tmp_path)
    with pytest.raises(InputError, match="of kind 'drift'"):
        again(ports, replace(record, kind="drift"), killable, tmp_path)


def challenge(killable: ModuleType, ports: RunPorts, mode: Mode, share: float) -> None:
    """Try the zero-shot prompts as champions, beside the runs that are planned from now on."""
    norte, promotion = killable.NORTE, ports.promotion
    champion = promotion.bundles.find(norte, "bundle:/norte@champion")
    tasks = (
        replace(pins, champion=champion.embedding, champion_prompt=pins.zero_shot)
        for pins in champion.tasks
    )
    bundle = replace(champion, tasks=tuple(tasks))
    promotion.bundles.keep(norte, "norte", bundle, by="ana")
    asked = Proposal(bundle.bundle_id, mode, share, "ana", "by words or by meaning")
    log = ExperimentLog(ports.postgres)
    start_experiment(norte, killable.tasks(), asked, promotion, log, at=killable.FIRST)


@pytest.mark.parametrize(("mode", "share"), [(Mode.SHADOW, 1.0), (Mode.AB, 0.4)])
def test_a_run_and_its_challenger_on_one_two_and_four_workers_write_the_same_content(
    killable: ModuleType,
    server: str,
    prepared: Path,
    workers: Any,
    tmp_path: Path,
    mode: Mode,
    share: float,
) -> None:
    registry = MemoryRegistry()
    lines = killable.write_lines(tmp_path / "many.jsonl", killable.seeded_lines(1, 200))
    words = lines.read_text(encoding="utf-8").split()
    register_embedding_model(registry, write_tiny_model(tmp_path / "tiny", words))
    for task in killable.tasks():
        register_baseline(registry, killable.NORTE, task)
        register_zero_shot_prompt(registry, killable.NORTE, task)
    contents = {}
    for count in (1, 2, 4):
        workers.scale(count)
        workers.wait_for_workers(count)
        url, lake = killable.copied(server, prepared, f"workers-{mode.value}-{count}")
        models = ModelSteps(embed=embed_step, classify=classify_step)
        cluster = DaskCluster(workers.scheduler_address)
        ports = replace(killable.ports_at(url, lake, models), registry=registry, cluster=cluster)
        killable.promote_aliases(killable.NORTE, killable.tasks(), ports)
        challenge(killable, ports, mode, share)
        killable.land(ports, lines, killable.SECOND)
        manifest = run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
        cluster.close()
        assert manifest is not None
        contents[count] = manifest.contents
    tickets = contents[1]["silver_embeddings"].rows
    assert tickets > 2 * 64
    aside = contents[1]["silver_classifications_shadow"].rows
    assert aside == (2 * tickets if mode is Mode.SHADOW else 0)
    assert contents[1] == contents[2] == contents[4]
