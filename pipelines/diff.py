"""Two bundles over the same past: answers gathered on both sides, compared, and sent to people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from contracts.tables import CLASSIFICATIONS_SIDE
from lakehouse.data.query import QueryEngine
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.answer_batches import answers_to
from pipelines.answer_diff import diff_answers
from pipelines.budget import Budget
from pipelines.diff_report import DiffReport, Side, pin_changes
from pipelines.gold_diff import gold_moves
from pipelines.gold_view import silver_at
from pipelines.past_tickets import past_tickets, read_versions
from pipelines.reenrich import carry_out
from pipelines.reenrich import tell_nobody as nobody_told
from pipelines.reenrich_plan import ReenrichPlan, Request, begin, plan_reenrich
from pipelines.run import RunPorts
from registry.bundles import Bundle

DIFF_KIND = "diff"

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Named:
    """A bundle and what it was asked for as."""

    asked: str
    bundle: Bundle


def diff_bundles(
    old: Named,
    new: Named,
    request: Request,
    tenant: TenantContext,
    ports: RunPorts,
    engine: QueryEngine,
    *,
    at: datetime,
    code_version: str = "unknown",
    budget: Budget | None = None,
    looks: int = 50,
    tell: Tell = nobody_told,
) -> DiffReport:
    """Compare the answers of two bundles, asking only what neither Silver nor the side table knows.

    `request` says the point in time, which tickets and which tasks; its bundle does not matter.
    Raises `InputError` where the budget did not reach for all answers: they are kept.
    """
    tasks = request.tasks or _common(old.bundle, new.bundle)
    wanted = [replace(request, bundle=side.bundle, tasks=tasks) for side in (old, new)]
    plan = plan_reenrich(wanted[0], tenant, ports)
    moments = (at, at + timedelta(microseconds=1))  # A run is named after its moment.
    both = [
        _gathered(
            replace(plan, request=one), tenant, ports, engine, then, code_version, budget, tell
        )
        for one, then in zip(wanted, moments, strict=True)
    ]
    run = RunContext.begin(tenant, kind=DIFF_KIND, at=at, code_version=code_version)
    tickets = past_tickets(plan.versions, tenant, ports.store, where=request.where, engine=engine)
    view = silver_at(plan.versions, tenant, ports.store, terms=plan.sla)
    return DiffReport(
        tenant=tenant.tenant_id,
        as_of=request.as_of,
        versions=read_versions(plan.versions),
        where=request.where,
        old=Side(old.asked, old.bundle.bundle_id),
        new=Side(new.asked, new.bundle.bundle_id),
        pins=pin_changes(old.bundle, new.bundle),
        tickets=len(tickets),
        tasks=diff_answers(both[0], both[1], tickets, looks=looks),
        gold=gold_moves(view, both[0], both[1], run),
        made_at=at.isoformat(timespec="minutes"),
    )


def _common(old: Bundle, new: Bundle) -> tuple[str, ...]:
    answered = {task.task for task in old.tasks}
    found = tuple(task.task for task in new.tasks if task.task in answered)
    if not found:
        msg = (
            f"bundles {old.bundle_id} and {new.bundle_id} answer no task in common: "
            f"{', '.join(sorted(answered))} and {', '.join(task.task for task in new.tasks)}"
        )
        raise InputError(msg)
    return found


def _gathered(
    plan: ReenrichPlan,
    tenant: TenantContext,
    ports: RunPorts,
    engine: QueryEngine,
    at: datetime,
    code_version: str,
    budget: Budget | None,
    tell: Tell,
) -> pl.DataFrame:
    """Return a side's answers: those that are known, else after a reenrichment of its own."""
    answers = answers_to(plan, tenant, ports, engine)
    if answers is not None:
        return answers
    work = begin(plan, tenant, ports, at=at, code_version=code_version)
    done = carry_out(work, ports, engine, budget=budget, tell=tell)
    if not done.over:
        msg = (
            f"the budget is spent: {done.done} of {done.tickets} tickets are answered and kept in "
            f"'{done.run.run_id}'; go on with `plata reenrich --resume --tenant {tenant.tenant_id}`"
        )
        raise InputError(msg)
    head = ports.store.head(CLASSIFICATIONS_SIDE.table, tenant)
    known = {**plan.known, str(CLASSIFICATIONS_SIDE.table): None if head is None else head.version}
    found = answers_to(replace(plan, known=known), tenant, ports, engine)
    assert found is not None
    return found
