"""The log of guarantees: what was promised about which answers, and what was withdrawn and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from lakehouse.control.postgres import Postgres
from lakehouse.tenancy import TenantContext


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The end of a guarantee before its time: by whom, when, by what and why in words."""

    by: str
    at: datetime
    lapse: str
    why: str


@dataclass(frozen=True, slots=True)
class GuaranteeRecord:
    """One guarantee as it was issued; `withdrawal` is None where it was not withdrawn."""

    guarantee_id: str
    task: str
    bundle_id: str
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    content: Mapping[str, Any]
    withdrawal: Withdrawal | None = None


_COLUMNS = "guarantee_id, task, bundle_id, issued_by, issued_at, expires_at, content"


class GuaranteeLog:
    """`meta.guarantees` and `meta.guarantee_withdrawals` of a tenant. Rows are only added."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def record(self, tenant: TenantContext, record: GuaranteeRecord) -> None:
        """Write a guarantee that was issued."""
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                f"INSERT INTO meta.guarantees (tenant_id, {_COLUMNS}) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    tenant.tenant_id,
                    record.guarantee_id,
                    record.task,
                    record.bundle_id,
                    record.issued_by,
                    record.issued_at,
                    record.expires_at,
                    Jsonb(dict(record.content)),
                ],
            )

    def withdraw(self, tenant: TenantContext, guarantee_id: str, withdrawal: Withdrawal) -> bool:
        """Write that a guarantee ended; False where it had been withdrawn before."""
        with self._postgres.connect(tenant) as connection:
            done = connection.execute(
                "INSERT INTO meta.guarantee_withdrawals (tenant_id, guarantee_id, withdrawn_by, "
                "withdrawn_at, lapse, why) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    tenant.tenant_id,
                    guarantee_id,
                    withdrawal.by,
                    withdrawal.at,
                    withdrawal.lapse,
                    withdrawal.why,
                ],
            )
            return done.rowcount == 1

    def newest(
        self, tenant: TenantContext, task: str, *, bundle_id: str | None = None
    ) -> GuaranteeRecord | None:
        """Return the last guarantee of a task, of one bundle where it is given."""
        found = self._read(tenant, task, bundle_id, limit=1)
        return found[0] if found else None

    def history(
        self, tenant: TenantContext, *, task: str | None = None, limit: int = 50
    ) -> list[GuaranteeRecord]:
        """Return the newest guarantees, of one task where it is given, newest first."""
        return self._read(tenant, task, None, limit=limit)

    def _read(
        self, tenant: TenantContext, task: str | None, bundle_id: str | None, *, limit: int
    ) -> list[GuaranteeRecord]:
        named = ", ".join(f"g.{name}" for name in _COLUMNS.split(", "))
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                f"SELECT {named}, w.withdrawn_by, w.withdrawn_at, w.lapse, w.why "
                "FROM meta.guarantees g LEFT JOIN meta.guarantee_withdrawals w "
                "USING (tenant_id, guarantee_id) WHERE tenant_id = %s "
                "AND (%s::text IS NULL OR g.task = %s) "
                "AND (%s::text IS NULL OR g.bundle_id = %s) "
                "ORDER BY g.issued_at DESC, g.guarantee_id LIMIT %s",
                [tenant.tenant_id, task, task, bundle_id, bundle_id, limit],
            ).fetchall()
        return [_record(row) for row in rows]


def _record(row: tuple[Any, ...]) -> GuaranteeRecord:
    guarantee_id, task, bundle_id, by, issued_at, expires_at, content, *ended = row
    withdrawal = None if ended[0] is None else Withdrawal(*ended)
    return GuaranteeRecord(
        guarantee_id, task, bundle_id, by, issued_at, expires_at, content, withdrawal
    )
