from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pyarrow.compute as pc
import pytest

from contracts.tables import CLASSIFICATIONS, EMBEDDINGS, QUARANTINE
from lakehouse.control.runs import RunStatus, TenantBusyError
from pipelines.errors import NothingToDoError
from pipelines.run import run_bronze, run_gold, run_silver, run_tenant


def test_a_run_with_nothing_waiting_is_no_run(
    killable: ModuleType, server: str, prepared: Path, whole: Any
) -> None:
    url, lake = f"{server}/whole", prepared / "whole" / "lake"
    before = killable.tables(url, lake)
    assert killable.second_run(url, lake) is None
    assert killable.tables(url, lake) == before


def test_layers_run_one_by_one_leave_the_tables_of_a_whole_run(
    killable: ModuleType, server: str, prepared: Path, whole: Any
) -> None:
    url, lake = killable.copied(server, prepared, "layers")
    ports = killable.ports_at(url, lake)
    with pytest.raises(NothingToDoError, match="no run waits for Silver"):
        run_silver(killable.NORTE, ports)
    run_bronze(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    with pytest.raises(NothingToDoError, match="has not finished Silver"):
        run_gold(killable.NORTE, ports, at=killable.SECOND)
    run_silver(killable.NORTE, ports)
    run_gold(killable.NORTE, ports, at=killable.SECOND)
    assert killable.tables(url, lake) == whole.found


def test_every_row_of_silver_names_exact_versions_bundle_and_run(
    killable: ModuleType, server: str, prepared: Path, whole: Any
) -> None:
    ports = killable.ports_at(f"{server}/whole", prepared / "whole" / "lake")
    rows = ports.store.scan(CLASSIFICATIONS.table, killable.NORTE)
    assert rows is not None
    for column in ("model_version", "prompt_version", "bundle_id", "run_id"):
        assert None not in rows[column].to_pylist()
    champions = rows.filter(pc.equal(rows["tier"], "champion"))
    assert set(champions["model_version"].to_pylist()) == {"2"}
    voices = rows.group_by(["ticket_id", "task"]).aggregate([([], "count_all")])
    assert set(voices["count_all"].to_pylist()) == {3}


def test_a_ticket_is_enriched_once_in_the_run_in_which_ticket_and_text_are_there(
    killable: ModuleType, server: str, prepared: Path, whole: Any
) -> None:
    ports = killable.ports_at(f"{server}/whole", prepared / "whole" / "lake")
    rows = ports.store.scan(EMBEDDINGS.table, killable.NORTE)
    assert rows is not None
    by_run: dict[str, set[str]] = {}
    for run_id, ticket in zip(
        rows["run_id"].to_pylist(), rows["ticket_id"].to_pylist(), strict=True
    ):
        by_run.setdefault(run_id[:12], set()).add(ticket)
    second = by_run.pop("run-20260111")
    assert by_run == {"run-20260110": {killable.uid("t1")}}
    assert {killable.uid(name) for name in ("t2", "t3", "t4", "t5")} < second
    assert len(second) == 6


def test_what_breaks_the_contract_waits_in_quarantine_with_file_and_line(
    killable: ModuleType, server: str, prepared: Path, whole: Any
) -> None:
    ports = killable.ports_at(f"{server}/whole", prepared / "whole" / "lake")
    rows = ports.store.scan(QUARANTINE.table, killable.NORTE)
    assert rows is not None
    found = zip(rows["raw_line"].to_pylist(), rows["reason"].to_pylist(), strict=True)
    assert sorted(found) == [
        (4, "duplicate event_id"),
        (12, "the line is not one JSON object"),
    ]
    record = ports.log.recent(killable.NORTE, limit=1)[0]
    assert record.status is RunStatus.DEGRADED


def test_gold_is_counted_again_as_a_run_of_its_own(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    url, lake = killable.copied(server, prepared, "again")
    ports = killable.ports_at(url, lake)
    manifest = run_gold(killable.NORTE, ports, at=killable.SECOND)
    assert manifest.run.run_id.startswith("gold-20260111")
    with psycopg.connect(url) as connection:
        served = connection.execute("SELECT DISTINCT run_id FROM gold.kpi_volume_daily").fetchall()
    assert served == [(manifest.run.run_id,)]


def test_a_run_given_up_leaves_its_rows_to_the_next(
    killable: ModuleType, server: str, prepared: Path, whole: Any
) -> None:
    url, lake = killable.copied(server, prepared, "given-up")
    ports = killable.ports_at(url, lake)
    planned = run_bronze(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    assert planned is not None
    ports.log.finish(planned.run, RunStatus.FAILED, error="given up")
    manifest = run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.THIRD)
    assert manifest is not None
    assert manifest.counts["silver_tickets"] == 6
    assert manifest.counts["silver_embeddings"] == 6
    assert run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.THIRD) is None


def test_two_processes_do_not_run_one_tenant_at_once(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    ports = killable.ports_at(f"{server}/prepared_lock", prepared / "lake")
    killable.copied(server, prepared, "prepared_lock")
    with (
        ports.log.exclusive(killable.NORTE, "run"),
        pytest.raises(TenantBusyError, match="another 'run' is at work"),
    ):
        run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
