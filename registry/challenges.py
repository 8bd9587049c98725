"""Challenges: a challenger bundle beside a tenant's runs, and the log of who started which.

In a shadow it answers every ticket and decides nothing; in an A/B test it answers a share of the
tickets, and decides about those. One runs at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lakehouse.control.postgres import Postgres
from lakehouse.errors import InputError
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from registry.bundles import Bundle

_DRAWS = 2**64


class Mode(StrEnum):
    """How a challenger takes part."""

    SHADOW = "shadow"
    AB = "ab"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a run is planned with: which experiment, and the challenger in full.

    `share` is the part of the tickets the challenger answers; all of them in a shadow.
    """

    experiment_id: str
    mode: Mode
    share: float
    bundle: Bundle

    def draws(self, tickets: Iterable[str], tenant: TenantContext) -> list[bool]:
        """Say of each ticket whether the challenger decides about it.

        By a digest of tenant, experiment and ticket: the same on any worker and on any day, and
        another draw in every experiment.
        """
        if self.mode is Mode.SHADOW:
            return [False for _ in tickets]
        return [drawn(tenant, self.experiment_id, ticket, self.share) for ticket in tickets]


def drawn(tenant: TenantContext, experiment_id: str, ticket_id: str, share: float) -> bool:
    """Say whether a ticket falls under the share of an experiment."""
    key = f"{tenant.tenant_id}/{experiment_id}/{ticket_id}"
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return place < share * _DRAWS


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment with who started and who stopped it; `stopped_at` is None while it runs."""

    experiment_id: str
    mode: Mode
    share: float
    bundle_id: str
    started_by: str
    started_at: datetime
    reason: str
    stopped_by: str | None = None
    stopped_at: datetime | None = None
    stop_reason: str | None = None

    def __post_init__(self) -> None:
        whole = self.mode is Mode.SHADOW and self.share == 1
        if not (whole or (self.mode is Mode.AB and 0 < self.share < 1)):
            msg = (
                f"a share of {self.share} in mode {self.mode.value}: expected more than 0 and less "
                "than 1 in mode ab, and no share in a shadow, which answers every ticket"
            )
            raise InputError(msg)

    @classmethod
    def begin(
        cls,
        bundle_id: str,
        *,
        mode: Mode,
        share: float,
        by: str,
        reason: str,
        at: datetime,
    ) -> Experiment:
        """Name a new one by its mode, its start and its bundle."""
        name = f"{mode.value}-{at:%Y%m%dT%H%M%S}-{bundle_id[-6:]}"
        return cls(name, mode, share, bundle_id, by, at, reason)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one part of a run's answers took, of one bundle."""

    run_id: RunId
    bundle_id: str
    part: str
    task: str
    answers: int
    seconds: float


_COLUMNS = (
    "e.experiment_id, e.mode, e.share, e.bundle_id, e.started_by, e.started_at, e.reason, "
    "x.stopped_by, x.stopped_at, x.reason"
)


class ExperimentLog:
    """`meta.experiments`, `meta.experiment_ends` and `meta.experiment_spent` of a tenant."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def start(self, tenant: TenantContext, experiment: Experiment) -> None:
        """Start an experiment. Raises `InputError` where one runs."""
        with self._postgres.connect(tenant) as connection:
            key = f"experiment/{tenant.tenant_id}"
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
            running = connection.execute(
                "SELECT experiment_id FROM meta.experiments e WHERE tenant_id = %s AND NOT EXISTS "
                "(SELECT 1 FROM meta.experiment_ends x WHERE x.tenant_id = e.tenant_id "
                "AND x.experiment_id = e.experiment_id)",
                [tenant.tenant_id],
            ).fetchone()
            if running is not None:
                msg = (
                    f"tenant '{tenant.tenant_id}' has an experiment that runs, {running[0]}, and "
                    f"one runs at a time; end it with `plata shadow stop -t {tenant.tenant_id}`"
                )
                raise InputError(msg)
            connection.execute(
                "INSERT INTO meta.experiments (tenant_id, experiment_id, mode, share, bundle_id, "
                "started_by, started_at, reason) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    tenant.tenant_id,
                    experiment.experiment_id,
                    experiment.mode.value,
                    experiment.share,
                    experiment.bundle_id,
                    experiment.started_by,
                    experiment.started_at,
                    experiment.reason,
                ],
            )

    def stop(self, tenant: TenantContext, *, by: str, reason: str, at: datetime) -> Experiment:
        """End the experiment that runs. Raises `InputError` where none does."""
        experiment = self.running(tenant)
        if experiment is None:
            msg = (
                f"tenant '{tenant.tenant_id}' has no experiment that runs; "
                f"start one with `plata shadow start BUNDLE -t {tenant.tenant_id}`"
            )
            raise InputError(msg)
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                "INSERT INTO meta.experiment_ends (tenant_id, experiment_id, stopped_by, "
                "stopped_at, reason) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [tenant.tenant_id, experiment.experiment_id, by, at, reason],
            )
        return self.find(tenant, experiment.experiment_id)

    def running(self, tenant: TenantContext) -> Experiment | None:
        """Return the experiment that runs, None where none does."""
        return next((one for one in self.all(tenant) if one.stopped_at is None), None)

    def find(self, tenant: TenantContext, experiment_id: str | None = None) -> Experiment:
        """Return one experiment, the newest where none is named. Raises `InputError`."""
        every = self.all(tenant)
        for one in every:
            if experiment_id in (None, one.experiment_id):
                return one
        have = ", ".join(one.experiment_id for one in every[:5]) or "none yet"
        sought = f"experiment '{experiment_id}'" if experiment_id else "experiment"
        msg = (
            f"tenant '{tenant.tenant_id}' has no {sought} (there is: {have}); "
            f"start one with `plata shadow start BUNDLE -t {tenant.tenant_id}`"
        )
        raise InputError(msg)

    def all(self, tenant: TenantContext) -> list[Experiment]:
        """Return every experiment, newest first."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM meta.experiments e LEFT JOIN meta.experiment_ends x "
                "USING (tenant_id, experiment_id) WHERE tenant_id = %s "
                "ORDER BY e.started_at DESC, e.experiment_id DESC",
                [tenant.tenant_id],
            ).fetchall()
        return [Experiment(row[0], Mode(row[1]), *row[2:]) for row in rows]

    def record(self, tenant: TenantContext, experiment_id: str, spent: Spent) -> None:
        """Write what a part took; the same part again replaces it."""
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                "INSERT INTO meta.experiment_spent (tenant_id, experiment_id, run_id, bundle_id, "
                "part, task, answers, seconds) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (tenant_id, experiment_id, run_id, bundle_id, part) DO UPDATE "
                "SET answers = EXCLUDED.answers, seconds = EXCLUDED.seconds",
                [
                    tenant.tenant_id,
                    experiment_id,
                    spent.run_id,
                    spent.bundle_id,
                    spent.part,
                    spent.task,
                    spent.answers,
                    spent.seconds,
                ],
            )

    def spent(self, tenant: TenantContext, experiment_id: str) -> list[Spent]:
        """Return what every part took, in the order of runs and parts."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                "SELECT run_id, bundle_id, part, task, answers, seconds "
                "FROM meta.experiment_spent WHERE tenant_id = %s AND experiment_id = %s "
                "ORDER BY run_id, bundle_id, part",
                [tenant.tenant_id, experiment_id],
            ).fetchall()
        return [Spent(*row) for row in rows]
