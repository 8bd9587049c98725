"""`plata retrain`: new labels become a challenger, and a proposal for a person or a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.output import emit, operator
from serving.cli.telling import told

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose models.")]
Gates = Annotated[
    Path | None,
    typer.Option("--policy", help="YAML file of the gates; the tenant's own by default."),
]


@app.callback(invoke_without_command=True)
def retrain(
    context: typer.Context,
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose models.")] = "",
    task: Annotated[
        str | None, typer.Option("--task", "-k", help="One task; by default those it configures.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what is due and on what it would learn; do nothing.")
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Whatever the tenant's `retrain` says.")
    ] = False,
    policy: Gates = None,
    as_json: AsJson = False,
) -> None:
    """Retrain what is due: train, evaluate, start a shadow, propose. For a schedule, such as cron.

    Due is what the tenant's configuration says under `retrain`: every so many days, after so many
    new labels, or once drift is found. What an earlier call began is finished first, and with
    `approve: policy` what the gates let is promoted. Twice in a row the second finds nothing to do.

    Examples:

    plata retrain --tenant alcaldia-norte --plan

    plata retrain --tenant alcaldia-norte

    plata retrain --tenant alcaldia-norte --task tipo --now

    plata retrain status --tenant alcaldia-norte

    plata retrain approve tipo --tenant alcaldia-norte --reason "reads the new service"
    """
    if context.invoked_subcommand is not None:
        return
    if not tenant:
        msg = "Missing option '--tenant' / '-t'."
        raise typer.BadParameter(msg)
    from datetime import UTC, datetime

    from models.gates import read_policy
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.retrain import look
    from pipelines.retrain_round import wanted
    from serving.cli.retrain_view import outlooks_drawn, round_drawn

    platform = open_platform()
    whose = platform.tenant(tenant)
    tasks, wishes = platform.tasks(whose), platform.retrain_policy(whose)
    ports = platform.retraining(whose, None if policy is None else read_policy(policy))
    at = datetime.now(UTC)
    if plan:
        found = [
            look(whose, one, wishes, ports, now=at, asked=now)
            for one in wanted(tasks, wishes, task)
        ]
        emit(
            [one.as_dict() for one in found],
            as_json=as_json,
            table=lambda: outlooks_drawn(tenant, found),
        )
        return
    from pipelines.flows import retrain_flow

    with told() as tell:
        done = retrain_flow(
            whose,
            tasks,
            wishes,
            ports,
            prefect_api_url=platform.endpoints.prefect_api_url,
            now=at,
            task=task,
            asked=now,
            code_version=code_version(),
            tell=tell,
        )
    emit(done.as_dict(), as_json=as_json, table=lambda: round_drawn(tenant, done))


@app.command()
def status(
    tenant: OfTenant,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many retrainings.")] = 10,
    policy: Gates = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of retrainings: what waits for a decision, gate by gate, and how to take it.

    Example: plata retrain status --tenant alcaldia-norte
    """
    from serving.cli.retrain_view import proposals_drawn

    _, _, found = _proposals(tenant, policy, last)
    emit(
        [one.as_dict() for one in found],
        as_json=as_json,
        table=lambda: proposals_drawn(tenant, found),
    )


@app.command()
def approve(
    tenant: OfTenant,
    which: Annotated[
        str, typer.Argument(help="A task, or a retraining's id; not needed where one waits.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also where a gate fails; needs --reason.")
    ] = False,
    policy: Gates = None,
    as_json: AsJson = False,
) -> None:
    """Promote a proposal, if every gate lets it. Ends with code 1 where one fails.

    Runs planned from now on use it, and its shadow ends. `plata rollback` goes back.

    Example: plata retrain approve tipo --tenant alcaldia-norte --reason "reads the new service"
    """
    from datetime import UTC, datetime

    from pipelines.promotion import Asked
    from pipelines.proposals import approve as approve_proposal
    from pipelines.proposals import newest_proposal
    from pipelines.tenant_config import gates_said
    from serving.cli.promote import show

    platform, ports, found = _proposals(tenant, policy, _ENOUGH)
    whose = platform.tenant(tenant)
    chosen = newest_proposal(found, which or None, whose)
    by = operator()
    own = chosen.retraining
    outcome = approve_proposal(
        chosen,
        Asked(by, by, reason or f"retraining {own.run.run_id}: {own.reason.said}", force),
        platform.retrain_policy(whose),
        ports,
        at=datetime.now(UTC),
    )
    asked = gates_said(platform.tenants.config(whose)) if policy is None else str(policy)
    show(outcome, tenant, asked, as_json=as_json, plan=False)
    if outcome.refused:
        raise typer.Exit(1)


_ENOUGH = 1_000


def _proposals(tenant: str, policy: Path | None, last: int) -> tuple[Any, Any, Any]:
    from models.gates import read_policy
    from pipelines.bootstrap import open_platform
    from pipelines.proposals import proposals

    platform = open_platform()
    whose = platform.tenant(tenant)
    ports = platform.retraining(whose, None if policy is None else read_policy(policy))
    wishes = platform.retrain_policy(whose)
    return platform, ports, proposals(whose, platform.tasks(whose), wishes, ports, last=last)
