"""The log of runs: what was planned, what became of it, and who may work on a tenant now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg.errors import LockNotAvailable, OperationalError

from lakehouse.control.postgres import Postgres
from lakehouse.errors import PlataError, Transient
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext


class RunStatus(StrEnum):
    """RUNNING also stands for a run that was killed: the next attempt takes it up again."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"


class TenantBusyError(PlataError, Transient):
    """Another process works on this tenant's runs of that kind."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One row of `meta.etl_runs`. `plan` is fixed at the start, `manifest` is there at the end."""

    run: RunContext
    kind: str
    status: RunStatus
    plan: Mapping[str, Any]
    manifest: Mapping[str, Any] | None = None
    finished_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class QualityResult:
    """One check of one table in one run.

    `measured` is what was observed as a number, and `detail` the shares behind it, for later runs
    to be compared with; both may be absent.
    """

    layer: str
    table: str
    check: str
    severity: str
    passed: bool
    observed: str
    expected: str
    measured: float | None = None
    detail: Mapping[str, float] | None = None


_WAIT_FOR_THE_DEAD = "2s"
_ASK_WHETHER_ALIVE = (
    "SELECT set_config('tcp_keepalives_idle', '20', false), "
    "set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)

_COLUMNS = (
    "run_id, started_at, seed, code_version, kind, status, plan, manifest, finished_at, error"
)
_QUALITY = 'layer, "table", "check", severity, passed, observed, expected, measured, detail'


class RunLog:
    """`meta.etl_runs` and `meta.data_quality` of a tenant."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @contextmanager
    def exclusive(self, tenant: TenantContext, kind: str) -> Iterator[None]:
        """Hold the tenant's lock for one kind of run while the block runs, and connections open.

        The lock belongs to a connection on which nothing else is done, so it goes with the process
        that held it, however that ends. Postgres sees a killed process as soon as it gets to read
        from it, and so much is waited for; a machine that is gone it finds out by asking, within a
        minute. Raises `TenantBusyError` where another process has it.
        """
        with self._postgres.keeping(), self._postgres.connect(tenant) as connection:
            name = f"{tenant.tenant_id}/{kind}"
            connection.execute(_ASK_WHETHER_ALIVE)
            connection.execute(f"SET LOCAL lock_timeout = '{_WAIT_FOR_THE_DEAD}'".encode())
            try:
                connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
            except LockNotAvailable as error:
                msg = (
                    f"another '{kind}' is at work for tenant '{tenant.tenant_id}'; "
                    "wait for it to end, or see `plata runs list`"
                )
                raise TenantBusyError(msg) from error
            connection.commit()
            try:
                yield
            finally:
                with suppress(OperationalError):  # where Postgres went down, the lock went with it
                    connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])

    def start(self, run: RunContext, kind: str, plan: Mapping[str, Any]) -> None:
        """Record a run and its plan before its first step; recording it again changes nothing."""
        with self._postgres.connect(run.tenant) as connection:
            connection.execute(
                "INSERT INTO meta.etl_runs "
                "(tenant_id, run_id, kind, status, seed, code_version, started_at, plan) "
                "VALUES (%s, %s, %s, 'RUNNING', %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    run.tenant.tenant_id,
                    run.run_id,
                    kind,
                    run.seed,
                    run.code_version,
                    run.started_at,
                    json.dumps(plan),
                ],
            )

    def finish(
        self,
        run: RunContext,
        status: RunStatus,
        *,
        manifest: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Close a run with its manifest or with the reason it failed."""
        with self._postgres.connect(run.tenant) as connection:
            connection.execute(
                "UPDATE meta.etl_runs SET status = %s, finished_at = now(), manifest = %s, "
                "error = %s WHERE tenant_id = %s AND run_id = %s",
                [
                    status,
                    None if manifest is None else json.dumps(manifest, default=str),
                    error,
                    run.tenant.tenant_id,
                    run.run_id,
                ],
            )

    def unfinished(self, tenant: TenantContext, kind: str) -> RunRecord | None:
        """Return the oldest run that never ended, for the next attempt to take up."""
        found = self._select(tenant, "kind = %s AND status = 'RUNNING'", [kind], "started_at", 1)
        return found[0] if found else None

    def recent(self, tenant: TenantContext, *, limit: int = 20) -> list[RunRecord]:
        """Return the newest runs first."""
        return self._select(tenant, "true", [], "started_at DESC", limit)

    def find(self, tenant: TenantContext, run_id: RunId) -> RunRecord | None:
        """Return one run, None where the tenant has none of that name."""
        found = self._select(tenant, "run_id = %s", [run_id], "started_at", 1)
        return found[0] if found else None

    def record_quality(self, run: RunContext, results: Sequence[QualityResult]) -> None:
        """Write check results; a resumed run replaces its own."""
        with self._postgres.connect(run.tenant) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO meta.data_quality "
                f"(tenant_id, run_id, {_QUALITY}) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                'ON CONFLICT (tenant_id, run_id, "table", "check") DO UPDATE SET '
                "passed = EXCLUDED.passed, observed = EXCLUDED.observed, "
                "measured = EXCLUDED.measured, detail = EXCLUDED.detail",
                [
                    (
                        run.tenant.tenant_id,
                        run.run_id,
                        r.layer,
                        r.table,
                        r.check,
                        r.severity,
                        r.passed,
                        r.observed,
                        r.expected,
                        r.measured,
                        None if r.detail is None else json.dumps(r.detail),
                    )
                    for r in results
                ],
            )

    def quality(self, tenant: TenantContext, run_id: RunId) -> list[QualityResult]:
        """Return the check results of one run."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                f"SELECT {_QUALITY} FROM meta.data_quality WHERE tenant_id = %s AND run_id = %s "
                'ORDER BY layer, "table", "check"',
                [tenant.tenant_id, run_id],
            ).fetchall()
        return [QualityResult(*row) for row in rows]

    def measured_before(
        self, run: RunContext, kind: str, *, layer: str, table: str, limit: int = 20
    ) -> list[QualityResult]:
        """Return the results with a number of the tenant's last finished runs, newest run first.

        Of one table, and only of runs of `kind` that started before `run` and did not fail: what is
        usual for the tenant.
        """
        with self._postgres.connect(run.tenant) as connection:
            rows = connection.execute(
                "WITH last AS (SELECT run_id, started_at FROM meta.etl_runs WHERE tenant_id = %s "
                "AND kind = %s AND status IN ('COMPLETED', 'DEGRADED') AND started_at < %s "
                "ORDER BY started_at DESC LIMIT %s) "
                f"SELECT {_QUALITY} FROM meta.data_quality JOIN last USING (run_id) "
                'WHERE tenant_id = %s AND layer = %s AND "table" = %s AND measured IS NOT NULL '
                'ORDER BY last.started_at DESC, "check"',
                [
                    run.tenant.tenant_id,
                    kind,
                    run.started_at,
                    limit,
                    run.tenant.tenant_id,
                    layer,
                    table,
                ],
            ).fetchall()
        return [QualityResult(*row) for row in rows]

    def _select(
        self, tenant: TenantContext, where: str, values: list[Any], order: str, limit: int
    ) -> list[RunRecord]:
        query = (
            f"SELECT {_COLUMNS} FROM meta.etl_runs WHERE tenant_id = %s AND {where} "
            f"ORDER BY {order} LIMIT {limit}"
        )
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(query.encode(), [tenant.tenant_id, *values]).fetchall()
        return [_record(tenant, row) for row in rows]


def _record(tenant: TenantContext, row: tuple[Any, ...]) -> RunRecord:
    run_id, started_at, seed, code_version, kind, status, plan, manifest, finished_at, error = row
    run = RunContext(RunId(run_id), tenant, started_at, seed, code_version)
    return RunRecord(run, kind, RunStatus(status), plan, manifest, finished_at, error)
