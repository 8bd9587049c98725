from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lakehouse.control.plans import PlanLog
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines import answer_batches
from pipelines.budget import Budget, BudgetSpentError, Price
from pipelines.estimates import estimate_reenrich
from pipelines.plan import REENRICH_KIND, RunPlan
from pipelines.reenrich import carry_out
from pipelines.reenrich_plan import ReenrichPlan
from pipelines.run import next_run, run_tenant
from pipelines.run_estimate import estimate_run
from pipelines.stored_plans import keep_plan, require_as_planned, work_of

ENGINE = DuckDbEngine()


def kept(here: Any, plan: ReenrichPlan) -> str:
    found = estimate_reenrich(
        plan,
        here.kit.NORTE,
        here.ports,
        ENGINE,
        here.kit.scratch,
        at=here.kit.THIRD,
        price=Price(),
    )
    ports = here.ports
    return keep_plan(plan, found, here.kit.NORTE, ports.postgres, at=here.kit.THIRD)


def test_a_plan_is_applied_once_and_goes_on_where_it_was_stopped(
    place: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_batches, "BATCH_TEXTS", 16)
    here = place()
    tenant, ports, at = here.kit.NORTE, here.ports, here.kit.THIRD
    plan = here.plan(here.champion("7"), where="day >= '2026-01-02'", tasks=("tipo",))
    plan_id = kept(here, plan)
    stored = PlanLog(ports.postgres).find(tenant, plan_id)
    assert (stored.kind, ReenrichPlan.of(stored.plan)) == (REENRICH_KIND, plan)
    assert stored.estimate["asks"] > 16
    work = work_of(plan_id, tenant, ports, at=at)
    clock = iter(range(1_000))
    stopped = carry_out(
        work, ports, ENGINE, budget=Budget(seconds=2, clock=lambda: float(next(clock)))
    )
    assert not stopped.over
    again = work_of(plan_id, tenant, ports, at=at)
    assert again.run.run_id == work.run.run_id
    assert carry_out(again, ports, ENGINE).over
    with pytest.raises(InputError, match=f"is applied: {work.run.run_id} is COMPLETED"):
        work_of(plan_id, tenant, ports, at=at)


def test_a_plan_nobody_made_is_refused_with_the_newest_there_are(
    place: Callable[[], Any],
) -> None:
    here = place()
    with pytest.raises(InputError, match="its newest: none yet"):
        work_of("plan-x", here.kit.NORTE, here.ports, at=here.kit.THIRD)
    plan_id = kept(here, here.plan(here.champion()))
    with pytest.raises(InputError, match=f"its newest: {plan_id}"):
        work_of("plan-x", here.kit.NORTE, here.ports, at=here.kit.THIRD)


def test_a_tenant_knows_only_its_own_plans(place: Callable[[], Any]) -> None:
    here = place()
    plan_id = kept(here, here.plan(here.champion()))
    sur = TenantContext.parse("sur")
    TenantDirectory(here.ports.postgres).create(sur, name="Sur")
    with pytest.raises(InputError, match="none yet"):
        PlanLog(here.ports.postgres).find(sur, plan_id)


def test_a_plan_of_a_run_holds_for_the_files_it_saw_and_for_no_others(
    place: Callable[[], Any],
) -> None:
    here = place()
    tenant, ports, tasks = here.kit.NORTE, here.ports, here.kit.tasks()

    def land(name: str, seed: int) -> None:
        lines = here.kit.write_lines(here.lake.parent / name, here.kit.seeded_lines(seed, 12))
        here.kit.land(ports, lines, here.kit.THIRD)

    land("one.jsonl", 21)
    planned = next_run(tenant, tasks, ports, at=here.kit.THIRD)
    assert planned is not None
    before = here.kit.tables(here.url, here.lake)
    found = estimate_run(planned, ports, here.kit.scratch, price=Price())
    assert here.kit.tables(here.url, here.lake) == before
    assert (found.tickets, found.there, found.known) == (12, 0, 0)
    assert 0 < found.seconds.low < found.seconds.expected < found.seconds.high
    plan_id = keep_plan(planned.plan, found, tenant, ports.postgres, at=here.kit.THIRD)
    plan = RunPlan.of(PlanLog(ports.postgres).find(tenant, plan_id).plan)
    assert plan == planned.plan
    require_as_planned(plan, tenant, ports)
    clock = iter(range(1_000))
    budget = Budget(seconds=9, clock=lambda: float(next(clock)))
    with pytest.raises(BudgetSpentError):
        run_tenant(tenant, tasks, ports, at=here.kit.THIRD, on_step=budget.between_parts())
    require_as_planned(plan, tenant, ports)
    assert run_tenant(tenant, tasks, ports, at=here.kit.THIRD) is not None
    land("two.jsonl", 22)
    with pytest.raises(InputError, match="1 files wait now; plan again"):
        require_as_planned(plan, tenant, ports)
