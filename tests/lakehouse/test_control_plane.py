"""The control plane on a real Postgres: one tenant's view, runs that can be taken up again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lakehouse.control.landings import Landing, LandingIndex
from lakehouse.control.migrate import migrate, migrations
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import QualityResult, RunLog, RunStatus, TenantBusyError
from lakehouse.control.tenants import TenantDirectory
from lakehouse.errors import ServiceUnavailableError, UnknownTenantError
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext

MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)


@pytest.fixture
def postgres(postgres_url: str) -> Postgres:
    return Postgres(postgres_url)


@pytest.fixture
def norte(postgres: Postgres) -> TenantContext:
    return _tenant(postgres, "control-norte")


@pytest.fixture
def sur(postgres: Postgres) -> TenantContext:
    return _tenant(postgres, "control-sur")


def _tenant(postgres: Postgres, name: str) -> TenantContext:
    tenant = TenantContext.parse(name)
    TenantDirectory(postgres).create(tenant, name=name)
    with postgres.administer() as connection:
        for table in ("manifest_index", "etl_runs", "data_quality", "tenant_configs"):
            connection.execute(f"DELETE FROM meta.{table} WHERE tenant_id = '{name}'".encode())
    return tenant


def landing(run_id: str, content: str = "c1") -> Landing:
    return Landing("web", content, RunId(run_id), f"raw/{run_id}", "a.jsonl", MORNING)


def test_migrations_are_numbered_and_each_is_applied_once(postgres_url: str) -> None:
    names = [name for name, _ in migrations()]
    numbers = [int(name[:4]) for name in names]
    assert numbers == sorted(set(numbers))
    assert migrate(postgres_url) == []


def test_every_table_that_names_a_tenant_is_under_row_level_security(postgres: Postgres) -> None:
    with postgres.administer() as connection:
        rows = connection.execute(
            "SELECT c.oid::regclass::text, c.relrowsecurity AND c.relforcerowsecurity "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' "
            "WHERE n.nspname IN ('meta', 'gold', 'vectors') AND c.relkind IN ('r', 'p') "
            "AND NOT c.relispartition"
        ).fetchall()
    assert len(rows) >= 10
    assert [name for name, safe in rows if not safe] == []


def test_a_connection_sees_only_its_own_tenant(
    postgres: Postgres, norte: TenantContext, sur: TenantContext
) -> None:
    runs = RunLog(postgres)
    for tenant in (norte, sur):
        runs.start(RunContext.begin(tenant, kind="run", at=MORNING), "run", {})
    with postgres.connect(norte) as connection:
        seen = connection.execute("SELECT DISTINCT tenant_id FROM meta.etl_runs").fetchall()
    assert seen == [("control-norte",)]


def backend(postgres: Postgres, tenant: TenantContext) -> int:
    with postgres.connect(tenant) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def test_a_connection_that_is_kept_is_as_a_new_one(
    postgres: Postgres, norte: TenantContext, sur: TenantContext
) -> None:
    with postgres.keeping():
        first = backend(postgres, norte)
        with postgres.connect(norte) as connection:
            connection.execute("CREATE TEMPORARY TABLE left_behind (a int)")
            connection.execute("SET statement_timeout = '7s'")
        with postgres.connect(sur) as connection:
            found = connection.execute(
                "SELECT pg_backend_pid(), current_setting('plata.tenant'), current_user, "
                "current_setting('statement_timeout'), to_regclass('left_behind')"
            ).fetchone()
        assert found == (first, "control-sur", "plata_app", "0", None)
        with postgres.administer() as connection:
            role = connection.execute("SELECT pg_backend_pid(), current_user").fetchone()
        assert role is not None
        assert (role[0], role[1] != "plata_app") == (first, True)
        with pytest.raises(RuntimeError), postgres.connect(norte):
            raise RuntimeError
        assert backend(postgres, norte) != first
    assert backend(postgres, norte) != backend(postgres, norte)


def test_a_kept_connection_whose_server_ended_it_is_replaced(
    postgres: Postgres, norte: TenantContext, postgres_url: str
) -> None:
    with postgres.keeping():
        first = backend(postgres, norte)
        with Postgres(postgres_url).administer() as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 2000)", [first])
        assert backend(postgres, norte) != first


def test_a_connection_cannot_write_for_another_tenant(
    postgres: Postgres, norte: TenantContext, sur: TenantContext
) -> None:
    forged = RunContext.begin(sur, kind="run", at=MORNING)
    with postgres.connect(norte) as connection, pytest.raises(Exception, match="row-level"):
        connection.execute(
            "INSERT INTO meta.etl_runs (tenant_id, run_id, kind, status, seed, code_version, "
            "started_at, plan) VALUES (%s, %s, 'run', 'RUNNING', 1, 'x', now(), '{}')",
            [forged.tenant.tenant_id, forged.run_id],
        )


def test_an_unknown_tenant_is_answered_with_those_that_exist(
    postgres: Postgres, norte: TenantContext
) -> None:
    with pytest.raises(UnknownTenantError, match="control-norte"):
        TenantDirectory(postgres).find("control-nort")


def test_a_configuration_changes_by_versions(postgres: Postgres, norte: TenantContext) -> None:
    directory = TenantDirectory(postgres)
    assert directory.config(norte) is None
    versions = [directory.configure(norte, {"a": n}).version for n in (1, 1, 2)]
    newest = directory.config(norte)
    assert newest is not None
    assert (versions, newest.values) == ([1, 1, 2], {"a": 2})


def test_a_run_that_never_ended_is_found_with_its_plan(
    postgres: Postgres, norte: TenantContext
) -> None:
    runs, run = RunLog(postgres), RunContext.begin(norte, kind="run", at=MORNING)
    runs.start(run, "run", {"pins": {"tipo": "7"}})
    runs.start(run, "run", {"pins": {"tipo": "8"}})
    found = runs.unfinished(norte, "run")
    assert found is not None
    assert (found.run, found.plan) == (run, {"pins": {"tipo": "7"}})
    runs.finish(run, RunStatus.COMPLETED, manifest={"counts": {"tickets": 3}})
    assert runs.unfinished(norte, "run") is None
    (done,) = runs.recent(norte)
    assert (done.status, done.manifest) == (RunStatus.COMPLETED, {"counts": {"tickets": 3}})


def test_one_process_at_a_time_works_on_a_tenant(
    postgres: Postgres, norte: TenantContext, sur: TenantContext
) -> None:
    runs = RunLog(postgres)
    with runs.exclusive(norte, "run"):
        with pytest.raises(TenantBusyError, match="control-norte"), runs.exclusive(norte, "run"):
            pass
        with runs.exclusive(sur, "run"):
            pass
    with runs.exclusive(norte, "run"):
        pass


def test_the_lock_is_free_the_moment_its_block_ends(
    postgres: Postgres, norte: TenantContext
) -> None:
    for _ in range(10):
        with RunLog(postgres).exclusive(norte, "run"):
            pass
        with postgres.connect(norte) as connection:
            query = "SELECT pg_try_advisory_lock(hashtextextended('control-norte/run', 0))"
            assert connection.execute(query).fetchone() == (True,)


HOLDER = """
import sys, time
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.tenancy import TenantContext

with RunLog(Postgres(sys.argv[1])).exclusive(TenantContext.parse("control-norte"), "run"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_killed_process_is_there_for_the_next(
    postgres: Postgres, postgres_url: str, norte: TenantContext
) -> None:
    command = [sys.executable, "-c", HOLDER, postgres_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        with RunLog(postgres).exclusive(norte, "run"):
            pass


def test_a_check_recorded_again_takes_its_new_value(
    postgres: Postgres, norte: TenantContext
) -> None:
    runs, run = RunLog(postgres), RunContext.begin(norte, kind="run", at=MORNING)
    check = QualityResult("bronze", "pqrs_events", "unique", "critical", False, "2", "0")
    runs.record_quality(run, [check])
    runs.record_quality(run, [replace(check, passed=True, observed="0")])
    assert runs.quality(norte, run.run_id) == [replace(check, passed=True, observed="0")]


def test_a_file_is_claimed_once_and_waits_until_a_run_takes_it(
    postgres: Postgres, norte: TenantContext
) -> None:
    index = LandingIndex(postgres)
    first = index.claim(landing("land-1"), norte)
    second = index.claim(landing("land-2"), norte)
    assert (first.run_id, second.run_id, second.complete) == ("land-1", "land-1", False)
    assert index.waiting(norte) == []
    index.complete(first, norte, landed_sha256="d", events=3)
    (waiting,) = index.waiting(norte)
    assert (waiting.complete, waiting.events) == (True, 3)
    index.consume(RunContext.begin(norte, kind="run", at=MORNING), [waiting])
    assert index.waiting(norte) == []
    assert [known.run_id for known in index.named(norte, ["c1"])] == ["land-1"]


def test_a_postgres_that_is_down_is_named_without_its_password() -> None:
    nowhere = Postgres("postgresql://ana:secreto@127.0.0.1:1/plata")
    with pytest.raises(ServiceUnavailableError, match="plata up") as caught, nowhere.administer():
        pass
    assert "secreto" not in str(caught.value)


def test_a_configuration_keeps_its_order(postgres: Postgres, norte: TenantContext) -> None:
    directory = TenantDirectory(postgres)
    directory.configure(norte, {"zeta": 1, "a": {"peticion": "P", "queja": "Q"}})
    kept = directory.config(norte)
    assert kept is not None
    assert [list(kept.values), list(kept.values["a"])] == [["zeta", "a"], ["peticion", "queja"]]
