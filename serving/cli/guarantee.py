"""`plata guarantee`: how wrong the accepted part may be, proven and in plain words."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from serving.cli.output import emit, grid, operator

app = typer.Typer(
    no_args_is_help=True,
    help="Promise how wrong accepted answers may be: proven from the audit, or withdrawn.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose answers.")]
OfTask = Annotated[
    str | None, typer.Option("--task", "-k", help="One task; all that ask for a guarantee.")
]


@app.command()
def issue(
    tenant: OfTenant,
    task: OfTask = None,
    until: Annotated[
        datetime | None,
        typer.Option(help="Leave out what was answered later (UTC), for people to catch up."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove what can be proven from the audit's labels, and record it. The newest one counts.

    For the tenant's champion bundle, and the tasks whose `routing` has a `guarantee`. Drawn tickets
    without a label count as wrong: choose --until by the calendar, not by what people said.

    Examples:

    plata guarantee issue --tenant alcaldia-norte

    plata guarantee issue --tenant alcaldia-norte --task tipo --until 2026-11-14
    """
    from datetime import UTC

    from pipelines.bootstrap import open_platform
    from pipelines.guarantee import issue as prove_and_record
    from serving.cli.guarantee_view import said

    platform = open_platform()
    context = platform.tenant(tenant)
    ports, bundle = platform.guarantees, _champion(platform, context)
    now = datetime.now(UTC)
    moment = None if until is None else until.replace(tzinfo=until.tzinfo or UTC)
    made = [
        prove_and_record(context, one, bundle, ports, at=now, by=operator(), until=moment)
        for one in _asking(platform, context, task)
    ]
    emit(
        [one.as_dict() for one in made],
        as_json=as_json,
        table=lambda: "\n\n".join(said(one) for one in made),
    )


@app.command()
def show(
    tenant: OfTenant,
    task: OfTask = None,
    as_json: AsJson = False,
) -> None:
    """Say what is promised now, for how long, and what more labels would buy. Writes nothing.

    Example: plata guarantee show --tenant alcaldia-norte
    """
    from contextlib import suppress
    from datetime import UTC

    from lakehouse.errors import InputError
    from pipelines.bootstrap import open_platform
    from pipelines.guarantee import prove, standing_of
    from pipelines.guarantee_outlook import Outlook, outlook
    from serving.cli.guarantee_view import told

    platform = open_platform()
    context = platform.tenant(tenant)
    ports, bundle = platform.guarantees, _champion(platform, context)
    now = datetime.now(UTC)
    values: list[dict[str, Any]] = []
    words: list[str] = []
    for one in _asking(platform, context, task):
        found = standing_of(context, one, bundle, ports, now=now)
        made, ahead = None, list[Outlook]()
        with suppress(InputError):  # nothing was drawn yet, which is said
            proven = prove(context, one, bundle, ports, at=now)
            made = proven.guarantee
            ahead = outlook(proven.answers, made.promises, made.terms, seed=bundle.seed)
        values.append(
            {
                "task": one.name,
                "valid": found.valid,
                "lapse": None if found.lapse is None else found.lapse.value,
                "why": found.why,
                "guarantee": None if found.guarantee is None else found.guarantee.as_dict(),
                "now": None if made is None else made.as_dict(),
                "outlook": [{"labels": o.labels, "coverage": o.coverage} for o in ahead],
            }
        )
        words.append(told(one, found, made, ahead))
    emit(values, as_json=as_json, table=lambda: "\n\n".join(words))


@app.command()
def withdraw(
    tenant: OfTenant,
    task: Annotated[str, typer.Option("--task", "-k", help="Which task's.")],
    reason: Annotated[str, typer.Option(help="Why; kept for good.")],
    as_json: AsJson = False,
) -> None:
    """Withdraw the newest guarantee of a task: runs planned from now on accept nothing of it.

    Example: plata guarantee withdraw --tenant alcaldia-norte --task tipo --reason "new law"
    """
    from datetime import UTC

    from pipelines.bootstrap import open_platform
    from pipelines.guarantee import withdraw as take_back

    platform = open_platform()
    context = platform.tenant(tenant)
    log = platform.guarantees.log
    gone = take_back(context, task, log, at=datetime.now(UTC), by=operator(), reason=reason)
    emit(
        {"task": task, "guarantee_id": gone.guarantee_id, "reason": reason},
        as_json=as_json,
        table=lambda: (
            f"{tenant}: la garantía {gone.guarantee_id} de '{task}' fue retirada; las corridas "
            "que se planeen desde ahora no aceptan nada por ella"
        ),
    )


@app.command()
def history(
    tenant: OfTenant,
    task: OfTask = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the guarantees that were issued, newest first, and what became of them.

    Example: plata guarantee history --tenant alcaldia-norte --task tipo
    """
    import msgspec

    from models.guarantee import Lapse
    from pipelines.bootstrap import open_platform
    from serving.cli.guarantee_view import LAPSES

    platform = open_platform()
    log = platform.guarantees.log
    found = log.history(platform.tenant(tenant), task=task, limit=limit)
    emit(
        [msgspec.to_builtins(one) for one in found],
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: garantías",
            ["garantía", "tarea", "paquete", "emitida", "por", "automático", "retirada"],
            [
                [
                    one.guarantee_id,
                    one.task,
                    one.bundle_id,
                    f"{one.issued_at:%Y-%m-%d %H:%M}",
                    one.issued_by,
                    f"{one.content['coverage']:.0%}",
                    None
                    if one.withdrawal is None
                    else f"{one.withdrawal.at:%Y-%m-%d}: {LAPSES[Lapse(one.withdrawal.lapse)]} "
                    f"({one.withdrawal.why})",
                ]
                for one in found
            ],
        ),
    )


def _champion(platform: Any, tenant: Any) -> Any:
    from registry.bundles import BundleRef

    return platform.bundles.find(tenant, BundleRef.champion(tenant))


def _asking(platform: Any, tenant: Any, task: str | None) -> list[Any]:
    from pipelines.guarantee import terms_of
    from pipelines.selection import named

    chosen = named(platform.tasks(tenant), task)
    asking = [one for one in chosen if one.guarantee is not None]
    if not asking:
        terms_of(chosen[0])
    return asking
