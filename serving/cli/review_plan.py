"""`plata review plan`: what a week's labels are spent on, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType

from serving.cli.output import emit, grid

if TYPE_CHECKING:  # they take a second to import
    from lakehouse.tenancy import TenantContext
    from pipelines.bootstrap import Platform
    from pipelines.label_plan import LabelPlan
    from pipelines.review import Pushed

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tickets.")]
_SHOWN = 20


def plan(
    tenant: OfTenant,
    shown: Annotated[int, typer.Option(min=0, help="Tickets to show; JSON has all.")] = _SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show how what is left of the week's labels is split, why, and about which tickets.

    The budget is `review: {weekly_labels: 50}` in the tenant's configuration. Nothing is asked
    before `plata review push`, which follows the plan.

    Example: plata review plan --tenant alcaldia-norte
    """
    from datetime import UTC, datetime

    from pipelines.bootstrap import open_platform
    from pipelines.label_plan import plan_labels

    platform = open_platform()
    context = platform.tenant(tenant)
    found = plan_labels(
        context,
        platform.tasks(context),
        policy=platform.review_policy(context),
        store=platform.store,
        queue=platform.queue,
        at=datetime.now(UTC),
        challenger=platform.shadow_bundle(context),
    )
    emit(found.as_dict(), as_json=as_json, table=lambda: _drawn(found, shown))


def push_planned(platform: Platform, tenant: TenantContext, task: str | None) -> list[Pushed]:
    """Put what the plan says into the queues of one task, or of all."""
    from datetime import UTC, datetime

    from pipelines.label_plan import push_plan
    from pipelines.review import mlflow_page
    from pipelines.selection import named

    tasks = platform.tasks(tenant)
    return push_plan(
        tenant,
        tasks,
        into=named(tasks, task),
        policy=platform.review_policy(tenant),
        store=platform.store,
        queue=platform.queue,
        log=platform.runs,
        accounts=platform.reviewers,
        at=datetime.now(UTC),
        page=mlflow_page(platform.endpoints.mlflow_url),
        challenger=platform.shadow_bundle(tenant),
    )


def _drawn(plan: LabelPlan, shown: int) -> RenderableType:
    from labeling.reasons import REASONS

    weekly, spent = plan.budget.weekly_labels, sum(plan.spent.values())
    split = grid(
        f"{plan.tenant}: etiquetas de la semana del {plan.week:%Y-%m-%d} (regla {plan.rule}): "
        f"{weekly}, de ellas {spent} ya pedidas, quedan {plan.left}",
        ["motivo", "etiquetas", "casos", "por qué"],
        [
            [REASONS[one.reason], one.labels, plan.chosen(one.reason), one.why]
            for one in plan.allotments
        ],
    )
    cases = grid(
        f"los primeros {shown} de {len(plan.cases)} casos" if shown < len(plan.cases) else "casos",
        ["tarea", "ticket", "motivo", "personas", "por qué"],
        [
            [case.task, case.ticket_id, REASONS[case.reason], case.labels, case.because]
            for case in plan.cases[:shown]
        ],
        whole=["ticket"],
    )
    return Group(split, *plan.notes, *([cases] if shown and plan.cases else []))
