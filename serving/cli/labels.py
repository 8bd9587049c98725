"""`plata labels`: what people said of tickets, how far they agree, and what was decided of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from serving.cli.output import emit, grid, operator

app = typer.Typer(
    no_args_is_help=True,
    help="What people said of tickets: what stands, how far they agree, who decides.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tickets.")]
OfTask = Annotated[str | None, typer.Option("--task", "-k", help="One task; all by default.")]
AboutTask = Annotated[str, typer.Option("--task", "-k", help="The task it is about.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the ledger, personal data covered.")]
Ticket = Annotated[str, typer.Argument(help="The ticket's id.")]
MaybeTicket = Annotated[str | None, typer.Argument(help="The ticket's id.")]
OfReviewer = Annotated[
    str | None, typer.Option("--reviewer", "-r", help="Answers of this account.")
]

_FACTS = {
    "submitted": "respondió",
    "discarded": "descartó",
    "withdrawn": "retiró su respuesta",
    "restored": "vuelve a contar",
    "reviewer_removed": "su cuenta se eliminó; la respuesta sigue",
    "revoked": "se anuló",
    "adjudicated": "decidió",
    "reopened": "se reabrió la disputa",
}


@app.command("list")
def list_labels(
    tenant: OfTenant,
    task: OfTask = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="What was known at that moment (ISO 8601, UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the label that stands of each ticket, newest first.

    Examples:

    plata labels list --tenant alcaldia-norte --task tipo

    plata labels list --tenant alcaldia-norte --as-of 2026-01-31 --json
    """
    from lakehouse.data.as_of import AsOf
    from lakehouse.errors import InputError
    from pipelines.bootstrap import open_platform
    from pipelines.selection import named
    from pipelines.standing_labels import standing_labels

    moment = None if as_of is None else AsOf.parse(as_of).moment
    if as_of is not None and moment is None:
        msg = f"'{as_of}' is no day or moment; labels are told as of one, such as 2026-01-31"
        raise InputError(msg)
    platform = open_platform()
    context = platform.tenant(tenant)
    rows = [
        row
        for one in named(platform.tasks(context), task)
        for row in standing_labels(one.name, context, platform.store, as_of=moment).to_pylist()
    ]
    rows.sort(key=lambda row: (row["responded_at"], row["ticket_id"]), reverse=True)
    shown = rows[:limit]
    emit(
        {"tenant": tenant, "labels": len(rows), "shown": shown},
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: {len(rows)} etiquetas que valen",
            ["ticket", "tarea", "etiqueta", "revisores", "sugerida", "motivo", "desde"],
            [
                [
                    row["ticket_id"],
                    row["task"],
                    row["label"],
                    row["reviewers"],
                    row["suggested_label"],
                    row["reason"],
                    row["responded_at"].strftime("%Y-%m-%d %H:%M"),
                ]
                for row in shown
            ],
            whole=["ticket"],
        ),
    )


@app.command()
def history(ticket: Ticket, tenant: OfTenant, as_json: AsJson = False) -> None:
    """Tell all that people did about a ticket, in order, and what stands.

    Example: plata labels history 6f1c2a52-… --tenant alcaldia-norte
    """
    from labeling.ledger import Fact, standing
    from pipelines.bootstrap import open_platform
    from pipelines.errors import NothingToDoError
    from pipelines.standing_labels import label_facts

    platform = open_platform()
    context = platform.tenant(tenant)
    facts = label_facts(context, platform.store).filter(ticket_id=ticket)
    if facts.is_empty():
        msg = f"nobody has answered about ticket '{ticket}'; see `plata labels list`"
        raise NothingToDoError(msg)
    told = facts.sort("responded_at", "observed_at", "label_id", nulls_last=False).to_dicts()
    stands = dict(standing(facts).select("task", "label").iter_rows())
    emit(
        {"ticket_id": ticket, "stands": stands, "facts": told},
        as_json=as_json,
        table=lambda: grid(
            f"{ticket}: "
            + (", ".join(f"{task} = {label}" for task, label in stands.items()) or "sin etiqueta"),
            ["respuesta de", "quién", "qué", "etiqueta", "tarea", "guía", "decidió", "por qué"],
            [
                [
                    row["responded_at"].strftime("%Y-%m-%d %H:%M"),
                    row["reviewer"],
                    _FACTS[row["fact"] or Fact.SUBMITTED],
                    row["label"],
                    row["task"],
                    row["guideline_version"],
                    row["decided_by"],
                    row["comment"],
                ]
                for row in told
            ],
        ),
    )


@app.command()
def agreement(tenant: OfTenant, task: OfTask = None, as_json: AsJson = False) -> None:
    """Measure how far reviewers agree beyond chance: by pair, by reviewer and by label.

    Krippendorff's alpha is over all of them, Cohen's kappa over two: 1 where all agree, 0 where
    they agree as often as chance would. Only tickets that several people answered tell of it.

    Example: plata labels agreement --tenant alcaldia-norte --task tipo
    """
    from dataclasses import asdict

    from labeling.agreement import measure
    from labeling.ledger import standing_answers
    from pipelines.bootstrap import open_platform
    from pipelines.selection import named
    from pipelines.standing_labels import label_facts

    platform = open_platform()
    context = platform.tenant(tenant)
    answers = standing_answers(label_facts(context, platform.store))
    found = {
        one.name: measure(answers.filter(task=one.name))
        for one in named(platform.tasks(context), task)
    }
    rows = [
        [name, *row]
        for name, of_task in found.items()
        for row in [
            ["todos", of_task.shared, None, of_task.alpha],
            *(
                [name, f"{p.first} · {p.second}", p.tickets, p.agreed, p.kappa]
                for p in of_task.pairs
            ),
            *([name, r.reviewer, r.comparisons, r.agreed, None] for r in of_task.reviewers),
            *([name, f"etiqueta {c.label}", c.answers, None, c.alpha] for c in of_task.classes),
        ]
    ]
    emit(
        {name: asdict(of_task) for name, of_task in found.items()},
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: acuerdo entre revisores (1 = siempre, 0 = como por azar)",
            ["tarea", "quiénes", "comparaciones", "coinciden", "alfa o kappa"],
            rows,
        ),
    )


@app.command()
def disputes(
    tenant: OfTenant,
    task: OfTask = None,
    push: Annotated[
        bool, typer.Option("--push", help="Put them into their own queue, to be settled there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List tickets that reviewers answered differently and nobody settled; a tie has no label.

    With --push each goes into the queue `disputas-TASK`: what is answered there decides.

    Examples:

    plata labels disputes --tenant alcaldia-norte

    plata labels disputes --tenant alcaldia-norte --task tipo --push
    """
    from pipelines.bootstrap import open_platform
    from pipelines.disputes import open_disputes, push_disputes
    from pipelines.review import mlflow_page
    from pipelines.selection import named

    platform = open_platform()
    context = platform.tenant(tenant)
    tasks = named(platform.tasks(context), task)
    pushed = [
        push_disputes(
            context,
            one,
            store=platform.store,
            queue=platform.queue,
            log=platform.runs,
            page=mlflow_page(platform.endpoints.mlflow_url),
            policy=platform.review_policy(context),
        )
        for one in tasks
        if push
    ]
    found = [one for t in tasks for one in open_disputes(t, context, platform.store)]
    where = "".join(f"\n{done.task}: {done.added} nuevas en {done.page}" for done in pushed)
    emit(
        {
            "tenant": tenant,
            "disputes": [
                {
                    "ticket_id": one.ticket_id,
                    "task": one.task,
                    "label": one.label,
                    "votes": [{"reviewer": name, "label": label} for name, label in one.votes],
                    "since": one.since,
                }
                for one in found
            ],
            "pushed": [
                {"task": d.task, "added": d.added, "withdrawn": d.withdrawn, "page": d.page}
                for d in pushed
            ],
        },
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: {len(found)} tickets en disputa{where}",
            ["ticket", "tarea", "respuestas", "mayoría", "última"],
            [
                [
                    one.ticket_id,
                    one.task,
                    ", ".join(f"{name}: {label}" for name, label in one.votes),
                    one.label,
                    one.since.strftime("%Y-%m-%d %H:%M"),
                ]
                for one in found
            ],
            whole=["ticket"],
        ),
    )


@app.command()
def settle(
    ticket: Ticket,
    tenant: OfTenant,
    task: AboutTask,
    label: Annotated[str, typer.Option("--label", "-l", help="What it is.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Decide a ticket's label: it beats what reviewers say, until the dispute is reopened.

    Example: plata labels settle 6f1c2a52-… --tenant alcaldia-norte --task tipo --label queja
    --reason "pide sanción, no información"
    """
    _decide(
        lambda ports, chosen, by: ports.settle(chosen, ticket, label, by),
        tenant,
        task,
        reason,
        as_json=as_json,
    )


@app.command()
def reopen(
    ticket: Ticket, tenant: OfTenant, task: AboutTask, reason: Reason, as_json: AsJson = False
) -> None:
    """Take a decision back: the label is again what reviewers say.

    Example: plata labels reopen 6f1c2a52-… --tenant alcaldia-norte --task tipo
    --reason "guía nueva"
    """
    _decide(
        lambda ports, chosen, by: ports.reopen(chosen, ticket, by),
        tenant,
        task,
        reason,
        as_json=as_json,
    )


@app.command()
def revoke(
    tenant: OfTenant,
    task: AboutTask,
    reason: Reason,
    ticket: MaybeTicket = None,
    reviewer: OfReviewer = None,
    as_json: AsJson = False,
) -> None:
    """Take answers out of the count: a ticket's, a reviewer's, or both together.

    The machine's answer holds again in the next Gold where no label is left. `restore` undoes it.

    Examples:

    plata labels revoke 6f1c2a52-… --tenant alcaldia-norte --task tipo --reason "ticket de prueba"

    plata labels revoke --reviewer ana --tenant alcaldia-norte --task tipo --reason "sin formación"
    """
    _decide(
        lambda ports, chosen, by: ports.revoke(chosen, by, ticket_id=ticket, reviewer=reviewer),
        tenant,
        task,
        reason,
        as_json=as_json,
    )


@app.command()
def restore(
    tenant: OfTenant,
    task: AboutTask,
    reason: Reason,
    ticket: MaybeTicket = None,
    reviewer: OfReviewer = None,
    as_json: AsJson = False,
) -> None:
    """Let answers count again that `revoke` took out.

    Example: plata labels restore --reviewer ana --tenant alcaldia-norte --task tipo
    --reason "revisadas por eva"
    """
    _decide(
        lambda ports, chosen, by: ports.restore(chosen, by, ticket_id=ticket, reviewer=reviewer),
        tenant,
        task,
        reason,
        as_json=as_json,
    )


@app.command()
def doubts(
    tenant: OfTenant,
    task: OfTask = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of each task.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List labels that may be wrong, the worst first: the model was confident of another.

    Compares each label with what the model had said before anybody gave it (confident learning).
    It is a hint for a second look, not a correction: the model may be the one who errs.

    Example: plata labels doubts --tenant alcaldia-norte --task tipo --limit 10
    """
    from dataclasses import asdict

    from pipelines.bootstrap import open_platform
    from pipelines.label_doubts import doubted_labels
    from pipelines.selection import named

    platform = open_platform()
    context = platform.tenant(tenant)
    found = [
        doubted_labels(one, context, platform.store) for one in named(platform.tasks(context), task)
    ]
    counted = ", ".join(f"{d.task}: {len(d.found)} de {d.compared} comparadas" for d in found)
    emit(
        [
            {
                "task": one.task,
                "labels": one.labels,
                "compared": one.compared,
                "doubted": len(one.found),
                "found": [asdict(doubt) for doubt in one.found[:limit]],
            }
            for one in found
        ],
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: etiquetas por revisar otra vez ({counted})",
            ["ticket", "tarea", "etiqueta", "el modelo creía", "confianza en la dada", "margen"],
            [
                [doubt.ticket_id, one.task, doubt.label, doubt.instead, doubt.own, doubt.margin]
                for one in found
                for doubt in one.found[:limit]
            ],
            whole=["ticket"],
        ),
    )


def _decide(decide: Any, tenant: str, task: str, reason: str, *, as_json: bool) -> None:
    """Write a decision of whoever is at the keyboard, and say how many facts it is."""
    from datetime import UTC, datetime

    from lakehouse.run import RunContext
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.catalogue import refresh_catalogue
    from pipelines.label_decisions import DECISION_KIND, Decision, Decisions
    from pipelines.selection import named

    decision = Decision(operator(), reason)
    platform = open_platform()
    context = platform.tenant(tenant)
    (chosen,) = named(platform.tasks(context), task)
    run = RunContext.begin(
        context, kind=DECISION_KIND, at=datetime.now(UTC), code_version=code_version()
    )
    count = decide(Decisions(run, platform.store, platform.runs), chosen, decision)
    refresh_catalogue(context, store=platform.store, catalogue=platform.catalogue)
    emit(
        {"tenant": tenant, "task": task, "run_id": run.run_id, "by": decision.by, "facts": count},
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: decisión de {decision.by} ({run.run_id})",
            ["tarea", "hechos nuevos"],
            [[task, count]],
        ),
    )
