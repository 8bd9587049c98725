"""A tenant's tables are tidied when runs end, and nothing a run still needs goes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from contracts.tables import TICKETS
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunRecord, RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.maintenance import Tidied
from lakehouse.data.storage import LakeRoot
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.upkeep import Upkeep, pinned_versions

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
NORTE = TenantContext.parse("norte")


def record(
    days_ago: int,
    status: RunStatus,
    *,
    planned: Mapping[str, int | None],
    manifest: Mapping[str, Any] | None = None,
) -> RunRecord:
    run = RunContext.begin(NORTE, kind="run", at=NOW - timedelta(days=days_ago))
    return RunRecord(run, "run", status, {"versions": planned}, manifest)


def test_open_runs_and_young_ones_pin_what_they_read_and_wrote() -> None:
    manifest = {"inputs": {"silver_tickets": 4}, "outputs": {"silver_tickets": 5, "gold_kpi": 1}}
    old = {"inputs": {"silver_tickets": 1}, "outputs": {"silver_tickets": 2}}
    records = [
        record(1, RunStatus.COMPLETED, planned={"silver_tickets": 4}, manifest=manifest),
        record(91, RunStatus.COMPLETED, planned={"silver_tickets": 1}, manifest=old),
        record(200, RunStatus.RUNNING, planned={"silver_tickets": 0, "silver_labels": None}),
        record(2, RunStatus.FAILED, planned={"silver_tickets": 3}),
    ]
    assert pinned_versions(records, now=NOW) == {
        "silver_tickets": frozenset({0, 3, 4, 5}),
        "gold_kpi": frozenset({1}),
    }


def ticket(run: RunContext, number: int) -> pa.Table:
    made: dict[str, Any] = {
        "tenant_id": run.tenant.tenant_id,
        "run_id": run.run_id,
        "source": "web",
        "day": date(2026, 6, 1),
        "created_at": NOW,
    }
    values = {
        field.name: made.get(field.name, None if field.nullable else str(number))
        for field in TICKETS.schema
    }
    return pa.Table.from_pylist([values], schema=TICKETS.schema)


def test_tables_are_merged_when_it_is_due_and_stay_readable_as_runs_left_them(
    postgres_url: str, tmp_path: Path
) -> None:
    root, tenant = LakeRoot(str(tmp_path / "lake")), TenantContext.parse(f"t{uuid4().hex[:8]}")
    postgres = Postgres(postgres_url)
    TenantDirectory(postgres).create(tenant, name="Prueba")
    log, store = RunLog(postgres), DeltaTableStore(root)
    keeper = Upkeep(tenant, DeltaTableMaintenance(root), log)
    for number in range(66):
        run = RunContext.begin(tenant, kind="run", at=NOW + timedelta(minutes=number))
        written = store.append(TICKETS.table, ticket(run, number), run)
        if number == 9:
            log.start(run, "run", {"versions": {}})
            outputs = {str(TICKETS.table): written.version}
            log.finish(run, RunStatus.COMPLETED, manifest={"outputs": outputs})
        if number == 60:
            assert keeper.tidy(now=NOW) == Tidied()
    done = keeper.tidy(now=NOW)
    assert (done.merged_files, done.made_files, done.checkpoints) == (66, 1, 1)
    assert keeper.tidy(now=NOW) == keeper.compact() == keeper.vacuum(now=NOW) == Tidied()
    for version, count in ((10, 10), (None, 66)):
        rows = store.scan(TICKETS.table, tenant, at=version, columns=["ticket_id"])
        assert rows is not None
        assert len(rows) == count
