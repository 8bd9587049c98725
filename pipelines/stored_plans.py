"""Plans kept as they were shown, and the work each stands for, which is done once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime

from lakehouse.control.plans import PlanLog, StoredPlan
from lakehouse.control.postgres import Postgres
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines.estimates import WorkEstimate
from pipelines.plan import REENRICH_KIND, RUN_KIND, RunPlan
from pipelines.reenrich_plan import Reenrich, ReenrichPlan, begin, unfinished
from pipelines.run import RunPorts

_REMEMBERED_RUNS = 10_000


def keep_plan(
    plan: ReenrichPlan | RunPlan,
    estimate: WorkEstimate,
    tenant: TenantContext,
    postgres: Postgres,
    *,
    at: datetime,
) -> str:
    """Keep a plan with what it was expected to take, and return its id."""
    values = plan.as_dict()
    mark = json.dumps([tenant.tenant_id, at.isoformat(), values], sort_keys=True)
    digest = hashlib.sha256(mark.encode()).hexdigest()[:8]
    plan_id = f"plan-{at:%Y%m%dT%H%M%S}-{digest}"
    kind = RUN_KIND if isinstance(plan, RunPlan) else REENRICH_KIND
    stored = StoredPlan(plan_id, kind, at, values, estimate.as_dict())
    PlanLog(postgres).keep(tenant, stored)
    return plan_id


def work_of(
    plan_id: str,
    tenant: TenantContext,
    ports: RunPorts,
    *,
    at: datetime,
    code_version: str = "unknown",
) -> Reenrich:
    """Return the work of a plan: begun now, or the one that was killed or stopped.

    Raises `InputError` where it is over already.
    """
    stored = PlanLog(ports.postgres).find(tenant, plan_id)
    left = unfinished(tenant, ports)
    if left is not None and left.plan.plan_id == plan_id:
        return left
    for record in ports.log.recent(tenant, limit=_REMEMBERED_RUNS):
        if record.kind == REENRICH_KIND and record.plan.get("plan_id") == plan_id:
            msg = f"plan '{plan_id}' is applied: {record.run.run_id} is {record.status}"
            raise InputError(msg)
    plan = replace(ReenrichPlan.of(stored.plan), plan_id=plan_id)
    return begin(plan, tenant, ports, at=at, code_version=code_version)


def require_as_planned(plan: RunPlan, tenant: TenantContext, ports: RunPorts) -> None:
    """Raise `InputError` where a run begun now, or one that is open, would not be the plan's.

    An open run of the same files and bundle is the plan's own: it was stopped, and goes on.
    """
    left = ports.log.unfinished(tenant, RUN_KIND)
    waiting = {landing.content_sha256 for landing in ports.landings.waiting(tenant)}
    if left is not None:
        begun = RunPlan.of(left.plan)
        same = (begun.landings, begun.bundle) == (plan.landings, plan.bundle)
        found = f"run {left.run.run_id} is open and is another"
    else:
        same, found = waiting == set(plan.landings), f"{len(waiting)} files wait now"
    if not same:
        msg = (
            f"the plan is not of what there is to do: it was made over {len(plan.landings)} files, "
            f"and {found}; plan again with `plata plan run --tenant {tenant.tenant_id}`"
        )
        raise InputError(msg)
