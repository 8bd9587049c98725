"""Plans that were shown and may be applied, with what each was expected to take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakehouse.control.postgres import Postgres
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext

_COLUMNS = "plan_id, kind, made_at, plan, estimate"


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan as it was shown. `kind` is that of the run which applies it."""

    plan_id: str
    kind: str
    made_at: datetime
    plan: Mapping[str, Any]
    estimate: Mapping[str, Any]


class PlanLog:
    """`meta.plans` of a tenant: plans are only added."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def keep(self, tenant: TenantContext, plan: StoredPlan) -> None:
        """Keep a plan; keeping it again changes nothing."""
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                f"INSERT INTO meta.plans (tenant_id, {_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s) "
                "ON CONFLICT DO NOTHING",
                [
                    tenant.tenant_id,
                    plan.plan_id,
                    plan.kind,
                    plan.made_at,
                    json.dumps(plan.plan),
                    json.dumps(plan.estimate),
                ],
            )

    def find(self, tenant: TenantContext, plan_id: str) -> StoredPlan:
        """Return a plan. Raises `InputError` that names the newest ones there are."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM meta.plans WHERE tenant_id = %s "
                "ORDER BY plan_id = %s DESC, made_at DESC LIMIT 3",
                [tenant.tenant_id, plan_id],
            ).fetchall()
        found = [StoredPlan(*row) for row in rows]
        if found and found[0].plan_id == plan_id:
            return found[0]
        there = ", ".join(plan.plan_id for plan in found) or "none yet"
        msg = (
            f"tenant '{tenant.tenant_id}' has no plan '{plan_id}'; its newest: {there}. "
            f"Make one with `plata plan reenrich` or `plata plan run`"
        )
        raise InputError(msg)
