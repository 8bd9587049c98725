"""A tenant's tables are tidied when runs end, and nothing a run still needs goes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pyarrow as pa
from structlog.testing import capture_logs

from contracts.tables import BRONZE, GOLD, MESSAGES, SILVER, TICKETS
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunRecord, RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.maintenance import Chore, Tidied, TidyPolicy
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import TableRef
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.run import run_tenant
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


class Broken(DeltaTableMaintenance):
    """Upkeep that fails at one table, as it does where a disk is full."""

    def checkpoint(self, table: TableRef, tenant: TenantContext) -> Tidied:
        if table == TICKETS.table:
            msg = "no space\nleft on device"
            raise OSError(msg)
        return super().checkpoint(table, tenant)


def test_what_goes_wrong_while_tidying_is_a_warning_of_a_run_that_ended_well(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    url, lake = killable.copied(server, prepared, "broken-upkeep")
    broken = Broken(LakeRoot(str(lake)))
    ports = replace(killable.tidying(url, lake), maintenance=broken)
    with capture_logs() as lines:
        manifest = run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    assert manifest is not None
    run_id = manifest.run.run_id
    record = ports.log.find(killable.NORTE, run_id)
    assert record is not None
    assert (record.status, record.error) == (STATUS, None)
    checks = ports.log.quality(killable.NORTE, run_id)
    (warning,) = [check for check in checks if check.expected == "no error"]
    assert not warning.passed
    assert (warning.layer, warning.table, warning.severity) == ("silver", "tickets", "warning")
    assert warning.observed == "OSError: no space left on device"
    assert lines == [
        {
            "event": "tidying_failed",
            "log_level": "warning",
            "tenant_id": "norte",
            "run_id": run_id,
            "table": "silver_tickets",
            "error": "OSError: no space left on device",
        }
    ]
    policy = TidyPolicy(checkpoint_every=1)
    assert broken.due(MESSAGES.table, killable.NORTE, policy=policy) == ()
    assert broken.due(TICKETS.table, killable.NORTE, policy=policy) == (Chore.CHECKPOINT,)


EAGER = TidyPolicy(mergeable_files=1)
STATUS = RunStatus.DEGRADED
"""How the second run ends without any upkeep: some lines of its file are broken."""


def test_upkeep_that_cannot_even_begin_leaves_the_run_as_it_ended(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    url, lake = killable.copied(server, prepared, "no-upkeep")
    ports = killable.tidying(url, lake)

    def break_configuration(place: str) -> None:
        if place.startswith("before gold"):
            with ports.postgres.administer() as connection:
                broken = "UPDATE meta.tenant_configs SET config = jsonb_build_object('x', 1)"
                connection.execute(broken)

    with capture_logs() as lines:
        manifest = run_tenant(
            killable.NORTE, killable.tasks(), ports, at=killable.SECOND, on_step=break_configuration
        )
    assert manifest is not None
    record = ports.log.find(killable.NORTE, manifest.run.run_id)
    assert record is not None
    assert record.status is STATUS
    (line,) = lines
    assert (line["event"], line["tenant_id"]) == ("tidying_failed", "norte")
    assert "tenant configuration" in line["error"]


KILLED_IN_UPKEEP = """
import signal, sys
from datetime import UTC, datetime, timedelta
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.maintenance import TidyPolicy
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import TableRef
from lakehouse.tenancy import TenantContext
from pipelines.run import run_tenant
from pipelines.upkeep import Upkeep, UpkeepPolicy

url, lake, after = sys.argv[1], sys.argv[2], float(sys.argv[3])
policy = UpkeepPolicy(TidyPolicy(mergeable_files=1, checkpoint_every=1, retention=timedelta(0)))
log = RunLog(Postgres(url))
keeper = Upkeep(
    TenantContext.parse("norte"), DeltaTableMaintenance(LakeRoot(lake)), log, policy=policy
)
signal.setitimer(signal.ITIMER_REAL, after)
keeper.tidy(now=datetime(2026, 1, 12, tzinfo=UTC))
keeper.vacuum(now=datetime(2026, 1, 12, tzinfo=UTC))
"""


def test_upkeep_killed_at_any_moment_loses_nothing_and_is_done_the_next_time(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    url, lake = killable.copied(server, prepared, "killed-upkeep")
    killable.second_run(url, lake)
    ports, before = killable.ports_at(url, lake), killable.tables(url, lake)
    left = {
        contract.table: found.version
        for contract in (*BRONZE, *SILVER, *GOLD)
        if (found := ports.store.head(contract.table, killable.NORTE)) is not None
    }
    deaths = 0
    for after in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 30):
        command = [sys.executable, "-c", KILLED_IN_UPKEEP, url, str(lake), str(after)]
        deaths += subprocess.run(command, check=False).returncode == -signal.SIGALRM
        assert killable.tables(url, lake) == before
    assert deaths >= 3
    care = DeltaTableMaintenance(LakeRoot(str(lake)))
    for table, version in left.items():
        assert Chore.COMPACT not in care.due(table, killable.NORTE, policy=EAGER)
        assert ports.store.dataset(table, killable.NORTE, at=version) is not None
