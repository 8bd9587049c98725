"""`plata review`: doubtful tickets to people, and what people said back."""

from __future__ import annotations

from typing import Annotated

import typer

from serving.cli import review_accounts
from serving.cli.output import emit, grid

app = typer.Typer(no_args_is_help=True, help="Send tickets to human review, bring answers back.")
app.add_typer(review_accounts.app, name="account")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tickets.")]
OfTask = Annotated[str | None, typer.Option("--task", "-k", help="One task; all by default.")]


@app.command()
def push(
    tenant: OfTenant,
    task: OfTask = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="Cases without a label a queue may hold.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Fill the review queues: every audited ticket, then the least certain. Twice adds nothing.

    Cases that nobody need answer any more leave first: a doubt whose ticket was closed, and a
    ticket that has a label by now.

    Example: plata review push --tenant alcaldia-norte --limit 50
    """
    from pipelines.bootstrap import open_platform
    from pipelines.review import mlflow_page, push_all
    from pipelines.selection import named

    platform = open_platform()
    context = platform.tenant(tenant)
    done = push_all(
        context,
        named(platform.tasks(context), task),
        store=platform.store,
        queue=platform.queue,
        log=platform.runs,
        accounts=platform.reviewers,
        page=mlflow_page(platform.endpoints.mlflow_url),
        policy=platform.review_policy(context),
        limit=limit,
    )
    username = platform.reviewers.of(context).username
    emit(
        {
            "tenant": tenant,
            "reviewer": username,
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
            f"su clave: plata review account list --tenant {tenant})",
            ["tarea", "en cola", "nuevos", "retirados", "página"],
            [[p.task, p.chosen, p.added, p.withdrawn, p.page] for p in done],
        ),
    )


@app.command()
def pull(tenant: OfTenant, task: OfTask = None, as_json: AsJson = False) -> None:
    """Bring submitted answers into Silver `labels`. Twice adds nothing; drafts stay where they are.

    Example: plata review pull --tenant alcaldia-norte
    """
    from datetime import UTC, datetime

    from lakehouse.run import RunContext
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.catalogue import refresh_catalogue
    from pipelines.review import PULL_KIND
    from pipelines.review import pull as bring
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
    if done.run_id is not None:
        refresh_catalogue(context, store=platform.store, catalogue=platform.catalogue)
    emit(
        {"tenant": tenant, "run_id": done.run_id, "added": dict(done.added)},
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: " + (f"etiquetas de {done.run_id}" if done.run_id else "nada nuevo"),
            ["tarea", "etiquetas nuevas"],
            [[name, added] for name, added in done.added.items()],
        ),
    )


@app.command()
def status(tenant: OfTenant, task: OfTask = None, as_json: AsJson = False) -> None:
    """Count what waits for a person and what came back, by task and reason.

    Example: plata review status --tenant alcaldia-norte --json
    """

    from labeling.queue import CaseStatus, Reason
    from pipelines.bootstrap import open_platform
    from pipelines.review import status as count
    from pipelines.selection import named

    platform = open_platform()
    context = platform.tenant(tenant)
    tasks = named(platform.tasks(context), task)
    states = count(context, tasks, store=platform.store, queue=platform.queue)
    words = {
        Reason.DOUBT: "duda",
        Reason.AUDIT: "auditoría",
        Reason.DISPUTE: "disputa",
        Reason.DISAGREEMENT: "desacuerdo",
        Reason.ACTIVE: "aprendizaje",
    }
    columns = ["tarea", "motivo", "pendientes", "borradores", "descartados", "respondidos"]
    emit(
        [
            {
                "task": state.task,
                "labels": state.labels,
                "cases": {
                    r.value: {s.value: n for s, n in c.items()} for r, c in state.cases.items()
                },
            }
            for state in states
        ],
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: cola de revisión",
            [*columns, "tickets con etiqueta"],
            [
                [state.task, words[reason], *(counts[s] for s in CaseStatus), state.labels]
                for state in states
                for reason, counts in state.cases.items()
            ],
        ),
    )
