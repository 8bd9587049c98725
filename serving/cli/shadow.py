"""`plata shadow`: try a bundle beside the one that decides, or on a share of the tickets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from serving.cli.output import emit, operator

app = typer.Typer(
    no_args_is_help=True,
    help="Try a challenger bundle on what comes in: aside, or on a share of the tickets.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose runs.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit log.")]
OfExperiment = Annotated[
    str | None, typer.Option("--experiment", "-e", help="Which one; the newest by default.")
]


@app.command()
def start(
    bundle: Annotated[str, typer.Argument(help="bundle:/NAME@ALIAS, bundle:/NAME/ID or its id.")],
    tenant: OfTenant,
    mode: Annotated[
        str, typer.Option(help="shadow decides nothing; ab decides about --share of the tickets.")
    ] = "shadow",
    share: Annotated[
        float | None, typer.Option(help="With --mode ab: more than 0 and less than 1.")
    ] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Start an experiment: runs planned from now on ask the bundle too. One runs at a time.

    Examples:

    plata shadow start bundle-528af0c91323 --tenant alcaldia-norte --reason "more on fees"

    plata shadow start bundle-528af0c91323 --tenant alcaldia-norte --mode ab --share 0.1
    """
    from datetime import UTC, datetime

    from lakehouse.errors import InputError
    from pipelines.bootstrap import open_platform
    from pipelines.shadow import Proposal, start_experiment
    from registry.challenges import ExperimentLog, Mode

    if mode not in {known.value for known in Mode}:
        msg = f"'{mode}' is no mode; expected shadow or ab"
        raise InputError(msg)
    part = (0.1 if mode == Mode.AB else 1.0) if share is None else share
    platform = open_platform()
    context = platform.tenant(tenant)
    experiment = start_experiment(
        context,
        platform.tasks(context),
        Proposal(bundle, Mode(mode), part, operator(), reason),
        platform.promotion,
        ExperimentLog(platform.postgres),
        at=datetime.now(UTC),
    )
    _emit(experiment, f"{experiment.experiment_id}: runs planned from now on take part", as_json)


@app.command()
def stop(tenant: OfTenant, reason: Reason = "", as_json: AsJson = False) -> None:
    """End the experiment: runs planned from now on take no part; a run under way keeps it.

    Example: plata shadow stop --tenant alcaldia-norte --reason "enough labels"
    """
    from datetime import UTC, datetime

    from pipelines.bootstrap import open_platform
    from registry.challenges import ExperimentLog

    platform = open_platform()
    context = platform.tenant(tenant)
    log = ExperimentLog(platform.postgres)
    experiment = log.stop(context, by=operator(), reason=reason, at=datetime.now(UTC))
    said = f"{experiment.experiment_id} is over; see `plata shadow report -t {tenant}`"
    _emit(experiment, said, as_json)


@app.command()
def status(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Say which experiment runs, and which ran before: who started and stopped it, and why.

    Example: plata shadow status --tenant alcaldia-norte
    """
    import msgspec

    from pipelines.bootstrap import open_platform
    from registry.challenges import ExperimentLog
    from serving.cli.shadow_view import experiments_drawn

    platform = open_platform()
    every = ExperimentLog(platform.postgres).all(platform.tenant(tenant))
    emit(
        [msgspec.to_builtins(one) for one in every],
        as_json=as_json,
        table=lambda: experiments_drawn(tenant, every),
    )


@app.command()
def report(tenant: OfTenant, experiment: OfExperiment = None, as_json: AsJson = False) -> None:
    """Compare the two: agreement, flips with masked examples, accuracy by audit labels, cost.

    Over the runs that ended. Asks no model.

    Example: plata shadow report --tenant alcaldia-norte
    """
    from lakehouse.control.llm_ledger import LlmLedger
    from pipelines.bootstrap import open_platform
    from pipelines.shadow_report import ReportPorts, report_experiment
    from registry.challenges import ExperimentLog
    from serving.cli.shadow_view import report_drawn

    platform = open_platform()
    context = platform.tenant(tenant)
    log = ExperimentLog(platform.postgres)
    chosen = log.find(context, experiment)
    ports = ReportPorts(
        log,
        platform.bundles,
        platform.runs,
        LlmLedger(platform.postgres),
        platform.store,
        platform.registry,
    )
    found = report_experiment(chosen, context, ports)
    emit(found.as_dict(), as_json=as_json, table=lambda: report_drawn(found))


def _emit(experiment: Any, said: str, as_json: bool) -> None:
    import msgspec

    emit(msgspec.to_builtins(experiment), as_json=as_json, table=lambda: said)
