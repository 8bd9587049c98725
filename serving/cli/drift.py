"""`plata drift`: whether what arrives still looks like what the models were trained on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from serving.cli.output import emit

app = typer.Typer(no_args_is_help=True, help="Compare what arrives with what models learned from.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tickets.")]
OfTask = Annotated[str | None, typer.Option("--task", "-k", help="One task; all by default.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DAY")]


@app.command()
def report(
    tenant: OfTenant,
    task: OfTask = None,
    since: Day = None,
    until: Day = None,
    run: Annotated[str | None, typer.Option(help="Only what this run answered.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw Evidently's report of the champions' answers and record its numbers in `meta.drift`.

    Looks at what the newest run answered; with --since or --until, at the tickets of those days,
    whichever run answered them. A guarantee that drift ends is withdrawn at once.

    Example: plata drift report --tenant alcaldia-norte --task tipo --since 2026-02-01
    """
    from datetime import UTC

    from lakehouse.run import RunContext, RunId
    from monitoring.drift import DriftPolicy
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.guarantee import withdraw_failed
    from pipelines.monitor import DRIFT_KIND, Subject, Window, newest_run, watch_as_run
    from pipelines.promotion import champion_of
    from pipelines.selection import named
    from serving.cli.drift_view import as_values, drawn

    first, last = (None if day is None else day.date() for day in (since, until))
    platform = open_platform()
    context = platform.tenant(tenant)
    tasks = named(platform.tasks(context), task)
    asked = run is not None or first is not None or last is not None
    run_id = (RunId(run) if run else None) if asked else newest_run(context, platform.runs)
    now, version = datetime.now(UTC), code_version()
    watch_as_run(
        RunContext.begin(context, kind=DRIFT_KIND, at=now, code_version=version),
        [Subject(t, platform.registry.resolve_model(t.model)) for t in tasks],
        Window(run_id, first, last),
        store=platform.store,
        registry=platform.registry,
        log=platform.drift,
        runs=platform.runs,
        reports=platform.home / "reports",
        policy=DriftPolicy(),
    )
    champion = champion_of(context, platform.bundles)
    if champion is not None:
        withdraw_failed(context, tasks, champion, platform.guarantees, now=datetime.now(UTC))
    records = platform.drift.recent(context, limit=len(tasks))
    emit(as_values(records), as_json=as_json, table=lambda: drawn(records, tenant))


@app.command()
def show(
    tenant: OfTenant,
    task: OfTask = None,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many comparisons.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Print the newest comparisons on record, with their numbers and pages.

    Example: plata drift show --tenant alcaldia-norte --last 5
    """
    from pipelines.bootstrap import open_platform
    from serving.cli.drift_view import as_values, drawn

    platform = open_platform()
    records = platform.drift.recent(platform.tenant(tenant), task=task, limit=last)
    emit(as_values(records), as_json=as_json, table=lambda: drawn(records, tenant))
