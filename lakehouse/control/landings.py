"""The index of what landed in Raw: which file, once, and which run took it to Bronze."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakehouse.control.postgres import Postgres
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext


@dataclass(frozen=True, slots=True)
class Landing:
    """One file in Raw. `path` is inside the tenant's prefix; `landed_sha256` is of those bytes."""

    source: str
    content_sha256: str
    run_id: RunId
    path: str
    file_name: str
    landed_at: datetime
    landed_sha256: str | None = None
    events: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the file is in Raw whole, with its manifest."""
        return self.landed_sha256 is not None


_COLUMNS = "source, content_sha256, run_id, path, file_name, landed_at, landed_sha256, events"


class LandingIndex:
    """`meta.manifest_index` of a tenant."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def claim(self, landing: Landing, tenant: TenantContext) -> Landing:
        """Announce a file before it is written; return the earlier claim where there is one.

        An earlier claim that is not `complete` was killed half-way: write the file again at its
        path.
        """
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                f"INSERT INTO meta.manifest_index (tenant_id, state, {_COLUMNS}) "
                "VALUES (%s, 'landing', %s, %s, %s, %s, %s, %s, NULL, NULL) ON CONFLICT DO NOTHING",
                [
                    tenant.tenant_id,
                    landing.source,
                    landing.content_sha256,
                    landing.run_id,
                    landing.path,
                    landing.file_name,
                    landing.landed_at,
                ],
            )
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM meta.manifest_index "
                "WHERE tenant_id = %s AND source = %s AND content_sha256 = %s",
                [tenant.tenant_id, landing.source, landing.content_sha256],
            ).fetchone()
        assert row is not None
        return _landing(row)

    def complete(
        self, landing: Landing, tenant: TenantContext, *, landed_sha256: str, events: int
    ) -> None:
        """Say that the file is in Raw, whole."""
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                "UPDATE meta.manifest_index SET state = 'landed', landed_sha256 = %s, events = %s "
                "WHERE tenant_id = %s AND source = %s AND content_sha256 = %s",
                [
                    landed_sha256,
                    events,
                    tenant.tenant_id,
                    landing.source,
                    landing.content_sha256,
                ],
            )

    def waiting(self, tenant: TenantContext) -> list[Landing]:
        """Return the files in Raw that no run has taken to Bronze, oldest first."""
        return self._select(tenant, "state = 'landed' AND consumed_by IS NULL", [])

    def taken(self, tenant: TenantContext) -> list[Landing]:
        """Return the files in Raw that a run took to Bronze, oldest first."""
        return self._select(tenant, "state = 'landed' AND consumed_by IS NOT NULL", [])

    def named(self, tenant: TenantContext, content_sha256: Sequence[str]) -> list[Landing]:
        """Return the files with these digests, oldest first."""
        return self._select(tenant, "content_sha256 = ANY(%s)", [list(content_sha256)])

    def at_path(self, tenant: TenantContext, path: str) -> Landing | None:
        """Return the file that landed at a path of the tenant's, None where none did."""
        found = self._select(tenant, "path = %s", [path])
        return found[0] if found else None

    def consume(self, run: RunContext, landings: Sequence[Landing]) -> None:
        """Say that `run` took these files to Bronze."""
        with self._postgres.connect(run.tenant) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE meta.manifest_index SET consumed_by = %s "
                "WHERE tenant_id = %s AND source = %s AND content_sha256 = %s",
                [
                    (run.run_id, run.tenant.tenant_id, landing.source, landing.content_sha256)
                    for landing in landings
                ],
            )

    def _select(self, tenant: TenantContext, where: str, values: list[Any]) -> list[Landing]:
        query = (
            f"SELECT {_COLUMNS} FROM meta.manifest_index WHERE tenant_id = %s AND {where} "
            "ORDER BY landed_at, content_sha256"
        )
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(query.encode(), [tenant.tenant_id, *values]).fetchall()
        return [_landing(row) for row in rows]


def _landing(row: tuple[Any, ...]) -> Landing:
    source, content, run_id, path, file_name, landed_at, landed_sha256, events = row
    return Landing(
        source, content, RunId(run_id), path, file_name, landed_at, landed_sha256, events
    )
