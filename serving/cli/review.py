"""`plata review`: doubtful tickets to people, and what people said back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.cli import review_accounts, review_here, review_plan
from serving.cli.output import emit, grid, write_page

app = typer.Typer(no_args_is_help=True, help="Send tickets to human review, bring answers back.")
app.add_typer(review_accounts.app, name="account")
app.command()(review_plan.plan)
app.command("next")(review_here.answer_cases)
app.command()(review_here.label)
app.command()(review_here.cases)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tickets.")]
OfTask = Annotated[str | None, typer.Option("--task", "-k", help="One task; all by default.")]


@app.command()
def push(
    tenant: OfTenant,
    task: OfTask = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Cases without a label a queue may hold, whatever the plan. [100]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fill the review queues: every audited ticket, then the least certain. Twice adds nothing.

    Cases that nobody need answer any more leave first: a doubt whose ticket was closed, and a
    ticket that has a label by now. A tenant with a weekly budget of labels gets what
    `plata review plan` shows, unless --limit says otherwise.

    Example: plata review push --tenant alcaldia-norte --limit 50
    """
    from pipelines.bootstrap import open_platform
    from pipelines.review import DEFAULT_LIMIT, mlflow_page, push_all
    from pipelines.selection import named

    platform = open_platform()
    context = platform.tenant(tenant)
    policy, reviewers = platform.review_policy(context), platform.reviewers.all(context)
    if limit is None and policy.budget is not None:
        done = review_plan.push_planned(platform, context, task)
    else:
        done = push_all(
            context,
            named(platform.tasks(context), task),
            store=platform.store,
            queue=platform.queue,
            log=platform.runs,
            accounts=platform.reviewers,
            page=mlflow_page(platform.endpoints.mlflow_url),
            policy=policy,
            limit=limit or DEFAULT_LIMIT,
        )
    username = reviewers[0].username
    few = policy.overlap_share > 0 and len(reviewers) < policy.overlap_reviewers
    missing = policy.overlap_reviewers - len(reviewers) if few else 0
    emit(
        {
            "tenant": tenant,
            "reviewer": username,
            "missing_reviewers": missing,
            "tasks": [
                {
                    "task": p.task,
                    "chosen": p.chosen,
                    "added": p.added,
                    "withdrawn": p.withdrawn,
                    "page": p.page,
                }
                for p in done
            ],
        },
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: casos para revisar (entra como {username}; "
            f"su clave: plata review account list --tenant {tenant})"
            + (
                f"\nUna parte la responden {policy.overlap_reviewers} personas y hay menos cuentas "
                f"({len(reviewers)}): plata review account add NOMBRE --tenant {tenant}"
                if missing
                else ""
            ),
            ["tarea", "en cola", "nuevos", "retirados", "página"],
            [[p.task, p.chosen, p.added, p.withdrawn, p.page] for p in done],
        ),
    )


@app.command()
def pull(tenant: OfTenant, task: OfTask = None, as_json: AsJson = False) -> None:
    """Bring what reviewers did into Silver `labels`. Twice adds nothing; drafts stay there.

    An answer that was changed, discarded or taken back since is one more fact. A dataset that was
    deleted takes nothing back: how many answers are out of sight is said.

    Example: plata review pull --tenant alcaldia-norte
    """
    from datetime import UTC, datetime

    from lakehouse.run import RunContext
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.catalogue import refresh_catalogue
    from pipelines.ledger import PULL_KIND
    from pipelines.ledger import pull as bring
    from pipelines.selection import named

    platform = open_platform()
    context = platform.tenant(tenant)
    now, version = datetime.now(UTC), code_version()
    run = RunContext.begin(context, kind=PULL_KIND, at=now, code_version=version)
    done = bring(
        run,
        named(platform.tasks(context), task),
        store=platform.store,
        queue=platform.queue,
        log=platform.runs,
    )
    hidden = sum(done.out_of_sight.values())
    if done.run_id is not None:
        refresh_catalogue(context, store=platform.store, catalogue=platform.catalogue)
    emit(
        {
            "tenant": tenant,
            "run_id": done.run_id,
            "added": dict(done.added),
            "facts": dict(done.facts),
            "out_of_sight": dict(done.out_of_sight),
        },
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: "
            + (f"etiquetas de {done.run_id}" if done.run_id else "nada nuevo")
            + (f"\n{hidden} respuestas valen y ya no están en ninguna cola" if hidden else ""),
            ["tarea", "etiquetas nuevas"],
            [[name, added] for name, added in done.added.items()],
        ),
    )


@app.command()
def status(
    tenant: OfTenant,
    task: OfTask = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to open in a browser.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what waits for a person and since when, who answered, and what came of it.

    Example: plata review status --tenant alcaldia-norte --html revision.html
    """
    from datetime import UTC, datetime

    from pipelines.bootstrap import open_platform
    from pipelines.review_page import page
    from pipelines.review_report import review_report
    from pipelines.selection import named
    from serving.cli.review_view import drawn_review

    platform = open_platform()
    context = platform.tenant(tenant)
    report = review_report(
        context,
        named(platform.tasks(context), task),
        store=platform.store,
        queue=platform.queue,
        postgres=platform.postgres,
        now=datetime.now(UTC),
    )
    if html is not None:
        write_page(html, page(report))
    emit(
        [found.as_dict() for found in report.tasks],
        as_json=as_json,
        table=lambda: drawn_review(report, html),
    )
