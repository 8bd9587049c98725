"""How far backfills are, and who asked them to pause."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.control.postgres import Postgres
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext


@dataclass(frozen=True, slots=True)
class BackfillState:
    """Chunks that are over, and whether the next one waits until somebody says `resume`."""

    chunks_done: int = 0
    paused: bool = False


class BackfillLog:
    """`meta.backfills` of a tenant."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def state(self, tenant: TenantContext, run_id: RunId) -> BackfillState:
        """Return how far a backfill is; one that has not begun is at its start."""
        with self._postgres.connect(tenant) as connection:
            row = connection.execute(
                "SELECT chunks_done, paused FROM meta.backfills "
                "WHERE tenant_id = %s AND run_id = %s",
                [tenant.tenant_id, run_id],
            ).fetchone()
        return BackfillState() if row is None else BackfillState(*row)

    def advance(self, run: RunContext, chunks_done: int) -> None:
        """Say that so many chunks are over."""
        with self._postgres.connect(run.tenant) as connection:
            connection.execute(
                "INSERT INTO meta.backfills (tenant_id, run_id, chunks_done) VALUES (%s, %s, %s) "
                "ON CONFLICT (tenant_id, run_id) DO UPDATE "
                "SET chunks_done = EXCLUDED.chunks_done, updated_at = now()",
                [run.tenant.tenant_id, run.run_id, chunks_done],
            )

    def pause(self, tenant: TenantContext, run_id: RunId, *, paused: bool) -> None:
        """Ask a backfill to stop before its next chunk, or let it go on."""
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                "INSERT INTO meta.backfills (tenant_id, run_id, paused) VALUES (%s, %s, %s) "
                "ON CONFLICT (tenant_id, run_id) DO UPDATE "
                "SET paused = EXCLUDED.paused, updated_at = now()",
                [tenant.tenant_id, run_id, paused],
            )
