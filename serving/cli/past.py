"""`plata reenrich`, `plata diff`, `plata plan` and `plata apply`: any bundle over the past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.bars import bar
from serving.cli.output import emit, write_page
from serving.cli.past_view import drawn_diff, drawn_estimate, drawn_reenrich, drawn_run

plans = typer.Typer(no_args_is_help=True, help="Say what work would take, before it is done.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tickets.")]
AsOfPast = Annotated[
    str,
    typer.Option(
        "--as-of",
        help="A run id, a day or moment (UTC), or versions: 'silver_tickets@2 silver_messages@3'.",
    ),
]
Where = Annotated[
    str | None, typer.Option(help="Only tickets for which this holds: SQL over silver.tickets.")
]
OfTasks = Annotated[
    list[str] | None, typer.Option("--task", "-k", help="One task, once each; all by default.")
]
OfBundle = Annotated[
    str, typer.Option("--bundle", "-b", help="bundle:/NAME@ALIAS, bundle:/NAME/ID or its id.")
]
Publish = Annotated[
    bool, typer.Option("--publish", help="Append the answers to Silver as a new run, count Gold.")
]
Seconds = Annotated[
    float | None, typer.Option("--budget-seconds", help="Stop after the batch that reaches this.")
]
Cost = Annotated[
    float | None,
    typer.Option("--budget-cost", help="The same in the tenant's money: compute and LLM tokens."),
]


def register(app: typer.Typer) -> None:
    """Add the commands at the top of the program."""
    app.command()(reenrich)
    app.command()(diff)
    app.command()(apply)
    app.add_typer(plans, name="plan")


def reenrich(
    tenant: OfTenant,
    bundle: Annotated[
        str | None,
        typer.Option("--bundle", "-b", help="bundle:/NAME@ALIAS, bundle:/NAME/ID or its id."),
    ] = None,
    as_of: AsOfPast = "now",
    where: Where = None,
    task: OfTasks = None,
    publish: Publish = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the one that was killed or stopped.")
    ] = False,
    budget_seconds: Seconds = None,
    budget_cost: Cost = None,
    as_json: AsJson = False,
) -> None:
    """Ask any bundle about tickets as they were; answers go beside Silver, which stays as it is.

    What is known is not asked again. `plata plan reenrich` says first what it would take.

    Example: plata reenrich --tenant alcaldia-norte --as-of 2026-01-31
    --bundle bundle:/alcaldia-norte@champion --where "source_channel = 'email'"
    """
    from lakehouse.errors import InputError
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.errors import NothingToDoError
    from pipelines.reenrich_plan import begin, plan_reenrich, unfinished

    if resume == (bundle is not None):
        msg = "give --bundle to begin one, or --resume to go on with the one that is not over"
        raise InputError(msg)
    platform = open_platform()
    context = platform.tenant(tenant)
    left = unfinished(context, platform.run_ports)
    if bundle is not None:
        request = _request(platform, context, bundle, as_of, where, task)
        plan = plan_reenrich(request, context, platform.run_ports, publish=publish)
        at = datetime.now(UTC)
        work = begin(plan, context, platform.run_ports, at=at, code_version=code_version())
    elif left is not None:
        work = left
    else:
        msg = f"no reenrichment of tenant '{tenant}' is open; see `plata runs list -t {tenant}`"
        raise NothingToDoError(msg)
    _carry_out(platform, context, work, budget_seconds, budget_cost, as_json)


def diff(
    old: Annotated[str, typer.Argument(help="The bundle to compare with: an alias or an id.")],
    new: Annotated[str, typer.Argument(help="The bundle that would take its place.")],
    tenant: OfTenant,
    as_of: AsOfPast = "now",
    where: Where = None,
    task: OfTasks = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to open in a browser.")] = None,
    send_to_review: Annotated[
        int | None,
        typer.Option("--send-to-review", min=1, max=500, help="Flips a task to put before people."),
    ] = None,
    budget_seconds: Seconds = None,
    budget_cost: Cost = None,
    as_json: AsJson = False,
) -> None:
    """Say what changes between two bundles: labels, scores, and which numbers of Gold would move.

    Answers that are known are taken; the rest is asked and kept beside Silver.

    Example: plata diff bundle:/alcaldia-norte@champion bundle-1a2b3c4d5e6f
    --tenant alcaldia-norte --as-of 2026-01-31 --html cambios.html
    """
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.diff import Named, diff_bundles
    from pipelines.diff_page import page
    from pipelines.plan import REENRICH_KIND
    from pipelines.reenrich_plan import Request

    platform = open_platform()
    context = platform.tenant(tenant)
    sides = [Named(name, platform.bundles.find(context, name)) for name in (old, new)]
    with _tickets_shown() as tell:
        report = diff_bundles(
            sides[0],
            sides[1],
            Request(as_of, sides[0].bundle, where, tuple(task or ())),
            context,
            platform.run_ports,
            platform.sql_ports.engine,
            at=datetime.now(UTC),
            code_version=code_version(),
            budget=_budget(platform, context, REENRICH_KIND, budget_seconds, budget_cost),
            tell=tell,
        )
    if html is not None:
        titles = {one.name: one.titles for one in platform.tasks(context)}
        write_page(html, page(report, titles))
    sent = _sent(platform, context, report, sides[1].bundle, send_to_review)
    value = {**report.as_dict(), "html": html, "sent_to_review": sent}
    emit(value, as_json=as_json, table=lambda: drawn_diff(report, html, sent))


@plans.command("reenrich")
def plan_reenrich_command(
    tenant: OfTenant,
    bundle: OfBundle,
    as_of: AsOfPast = "now",
    where: Where = None,
    task: OfTasks = None,
    publish: Publish = False,
    as_json: AsJson = False,
) -> None:
    """Say what a reenrichment would take: rows, texts to ask about, time, cost, memory.

    Tries some batches out, and keeps the plan for `plata apply`; nothing else is written.

    Example: plata plan reenrich --tenant alcaldia-norte --as-of 2026-01-31
    --bundle bundle:/alcaldia-norte@champion
    """
    from pipelines.bootstrap import open_platform
    from pipelines.estimates import estimate_reenrich, price_in
    from pipelines.reenrich_plan import plan_reenrich
    from pipelines.stored_plans import keep_plan

    platform = open_platform()
    context = platform.tenant(tenant)
    request = _request(platform, context, bundle, as_of, where, task)
    plan = plan_reenrich(request, context, platform.run_ports, publish=publish)
    config = platform.tenants.config(context)
    at = datetime.now(UTC)
    with _batches_tried() as tell:
        found = estimate_reenrich(
            plan,
            context,
            platform.run_ports,
            platform.sql_ports.engine,
            platform.scratch_lake,
            at=at,
            price=price_in(None if config is None else config.values),
            tell=tell,
        )
    plan_id = keep_plan(plan, found, context, platform.postgres, at=at)
    value = {"plan_id": plan_id, "estimate": found.as_dict(), "plan": plan.as_dict()}
    what = f"preguntar a {request.bundle.bundle_id} por {as_of}{', y publicarlo' * publish}"
    emit(value, as_json=as_json, table=lambda: drawn_estimate(tenant, plan_id, what, found))


@plans.command("run")
def plan_run_command(
    tenant: OfTenant,
    bundle: Annotated[
        str | None, typer.Option("--bundle", "-b", help="Another bundle than the champion.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run over the files that wait would take: texts, time, cost, memory.

    Takes them to Silver's structure aside and tries the models out; keeps the plan for
    `plata apply`, and nothing else.

    Example: plata plan run --tenant alcaldia-norte
    """
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.errors import NothingToDoError
    from pipelines.estimates import price_in
    from pipelines.run import next_run
    from pipelines.run_estimate import estimate_run
    from pipelines.stored_plans import keep_plan

    platform = open_platform()
    context = platform.tenant(tenant)
    at = datetime.now(UTC)
    planned = next_run(
        context,
        platform.tasks(context),
        platform.run_ports,
        at=at,
        code_version=code_version(),
        bundle=bundle,
    )
    if planned is None:
        msg = f"nothing waits for tenant '{tenant}': bring files in with `plata ingest`"
        raise NothingToDoError(msg)
    config = platform.tenants.config(context)
    with _batches_tried() as tell:
        found = estimate_run(
            planned,
            platform.run_ports,
            platform.scratch_lake,
            price=price_in(None if config is None else config.values),
            tell=tell,
        )
    plan_id = keep_plan(planned.plan, found, context, platform.postgres, at=at)
    value = {"plan_id": plan_id, "estimate": found.as_dict(), "plan": planned.plan.as_dict()}
    files = len(planned.plan.landings)
    what = f"correr {files} archivos con {planned.plan.bundle.bundle_id}"
    unproven = [one.task for one in planned.plan.routings if one.guarantee_id is None]
    if unproven:
        what += f"; sin garantía vigente no se acepta nada de {', '.join(unproven)}"
    emit(value, as_json=as_json, table=lambda: drawn_estimate(tenant, plan_id, what, found))


def apply(
    plan: Annotated[str, typer.Argument(help="The plan's id, as `plata plan` gave it.")],
    tenant: OfTenant,
    budget_seconds: Seconds = None,
    budget_cost: Cost = None,
    as_json: AsJson = False,
) -> None:
    """Do exactly what a plan said. Killed or stopped by its budget, it goes on when said again.

    Example: plata apply plan-20260201T100000-1a2b3c4d --tenant alcaldia-norte --budget-seconds 600
    """
    from lakehouse.control.plans import PlanLog
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.plan import RUN_KIND
    from pipelines.stored_plans import work_of

    platform = open_platform()
    context = platform.tenant(tenant)
    stored = PlanLog(platform.postgres).find(context, plan)
    if stored.kind == RUN_KIND:
        _apply_run(platform, context, stored, budget_seconds, budget_cost, as_json)
        return
    at = datetime.now(UTC)
    work = work_of(plan, context, platform.run_ports, at=at, code_version=code_version())
    _carry_out(platform, context, work, budget_seconds, budget_cost, as_json)


def _apply_run(
    platform: Any,
    tenant: Any,
    stored: Any,
    seconds: float | None,
    cost: float | None,
    as_json: bool,
) -> None:
    from pipelines.bootstrap import code_version
    from pipelines.budget import BudgetSpentError
    from pipelines.plan import RUN_KIND, RunPlan
    from pipelines.run import run_tenant
    from pipelines.stored_plans import require_as_planned

    plan = RunPlan.of(stored.plan)
    require_as_planned(plan, tenant, platform.run_ports)
    budget = _budget(platform, tenant, RUN_KIND, seconds, cost)
    value: dict[str, Any] = {"plan_id": stored.plan_id, "over": True}
    try:
        with _steps_shown() as tell:
            manifest = run_tenant(
                tenant,
                platform.tasks(tenant),
                platform.run_ports,
                at=datetime.now(UTC),
                code_version=code_version(),
                bundle=plan.bundle.bundle_id,
                on_step=budget.between_parts(),
                tell=tell,
            )
    except BudgetSpentError as error:
        value |= {"over": False, "why": str(error)}
    else:
        value |= {"run_id": None if manifest is None else manifest.run.run_id}
    emit(value, as_json=as_json, table=lambda: drawn_run(tenant.tenant_id, value))


def _request(
    platform: Any,
    tenant: Any,
    bundle: str,
    as_of: str,
    where: str | None,
    tasks: list[str] | None,
) -> Any:
    from pipelines.reenrich_plan import Request

    return Request(as_of, platform.bundles.find(tenant, bundle), where, tuple(tasks or ()))


def _carry_out(
    platform: Any,
    tenant: Any,
    work: Any,
    seconds: float | None,
    cost: float | None,
    as_json: bool,
) -> None:
    from pipelines.plan import REENRICH_KIND
    from pipelines.reenrich import carry_out

    with _tickets_shown() as tell:
        done = carry_out(
            work,
            platform.run_ports,
            platform.sql_ports.engine,
            budget=_budget(platform, tenant, REENRICH_KIND, seconds, cost),
            tell=tell,
        )
    emit(done.as_dict(), as_json=as_json, table=lambda: drawn_reenrich(tenant.tenant_id, done))


def _budget(
    platform: Any, tenant: Any, kind: str, seconds: float | None, cost: float | None
) -> Any:
    from pipelines.budget import Budget, charges_of_open, nothing_charged
    from pipelines.estimates import price_in

    config = platform.tenants.config(tenant)
    price = price_in(None if config is None else config.values)
    charges = (
        nothing_charged if cost is None else charges_of_open(kind, tenant, platform.postgres, price)
    )
    return Budget(seconds, cost, price, charges)


def _sent(platform: Any, tenant: Any, report: Any, new: Any, count: int | None) -> list[Any]:
    if count is None:
        return []
    from pipelines.diff_review import send_flips
    from pipelines.review import mlflow_page

    done = send_flips(
        report.tasks,
        new,
        tenant,
        platform.tasks(tenant),
        count,
        store=platform.store,
        queue=platform.queue,
        log=platform.runs,
        accounts=platform.reviewers,
        page=mlflow_page(platform.endpoints.mlflow_url),
        policy=platform.review_policy(tenant),
    )
    return [{"task": p.task, "chosen": p.chosen, "added": p.added, "page": p.page} for p in done]


@contextmanager
def _tickets_shown() -> Iterator[Callable[[str, int, int], None]]:
    """Draw one bar on standard error; nothing where nobody watches."""
    with bar("looking what is known") as (progress, task):
        yield lambda what, done, total: progress.update(
            task, description=what, completed=done, total=total or None
        )


@contextmanager
def _steps_shown() -> Iterator[Callable[[Any, int, int], None]]:
    with bar("planning") as (progress, task):
        yield lambda step, done, total: progress.update(
            task, description=step.value, completed=done, total=total or None
        )


@contextmanager
def _batches_tried() -> Iterator[Callable[[int, int], None]]:
    with bar("trying batches out") as (progress, task):
        yield lambda done, total: progress.update(task, completed=done, total=total)
