"""`plata backfill`: compute a layer again for some days, and add what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from serving.cli.bars import bar
from serving.cli.output import emit, grid

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose data.")]


class Computed(StrEnum):
    """The layers that can be computed from the one below."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


@app.callback(invoke_without_command=True)
def backfill(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Whose data.")] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, included.")
    ] = None,
    layer: Annotated[Computed | None, typer.Option(help="The layer to compute.")] = None,
    enrich: Annotated[
        bool,
        typer.Option(
            "--enrich",
            help="In Silver: have the models in force answer about tickets they never read.",
        ),
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what is missing and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compute a layer again for some days, and add what is missing.

    It is computed from the layer below, and nothing that is there is changed. One that was killed
    goes on with `plata backfill resume`.

    Example: plata backfill --tenant alcaldia-norte --from 2026-01-01 --to 2026-01-31 --layer silver

    After a promotion, add --enrich: what was answered before stays, and the newest answer counts.
    """
    if context.invoked_subcommand is not None:
        return
    given = {"--tenant": tenant, "--from": first, "--to": last, "--layer": layer}
    absent = [name for name, value in given.items() if value is None]
    if absent:
        raise typer.BadParameter(f"missing: {', '.join(absent)}")
    assert tenant is not None
    assert first is not None
    assert last is not None
    from lakehouse.data.tables import Layer
    from pipelines.alone import alone
    from pipelines.backfill import Days, carry_out, plan_backfill
    from pipelines.bootstrap import code_version, open_platform

    days = Days(first.date(), last.date())
    platform = open_platform()
    of_tenant = platform.tenant(tenant)
    ports = platform.run_ports
    with alone(of_tenant, ports):
        _refuse_second(of_tenant, platform.postgres)
        with _chunks_shown("looking for what is missing") as tell:
            found = plan_backfill(
                of_tenant,
                Layer(str(layer)),
                days,
                ports,
                platform.scratch_lake,
                at=datetime.now(UTC),
                enrich=platform.tasks(of_tenant) if enrich else None,
                code_version=code_version(),
                tell=tell,
            )
        if plan or not found.plan.chunks:
            _show(tenant, found, as_json)
            return
        with _chunks_shown("adding it") as tell:
            found = carry_out(found, ports, platform.scratch_lake, tell=tell)
    _show(tenant, found, as_json)


@app.command()
def resume(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Go on with the backfill that was paused or killed.

    Example: plata backfill resume --tenant alcaldia-norte
    """
    from lakehouse.control.backfills import BackfillLog
    from pipelines.alone import alone
    from pipelines.backfill import carry_out
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    of_tenant = platform.tenant(tenant)
    ports = platform.run_ports
    with alone(of_tenant, ports):
        found = _unfinished(of_tenant, platform.postgres)
        BackfillLog(ports.postgres).pause(of_tenant, found.run.run_id, paused=False)
        with _chunks_shown("adding what is missing") as tell:
            found = carry_out(found, ports, platform.scratch_lake, tell=tell)
    _show(tenant, found, as_json)


@app.command()
def pause(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Ask the backfill at work to stop before its next chunk.

    Example: plata backfill pause --tenant alcaldia-norte
    """
    from dataclasses import replace

    from lakehouse.control.backfills import BackfillLog
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    of_tenant = platform.tenant(tenant)
    found = _unfinished(of_tenant, platform.postgres)
    BackfillLog(platform.postgres).pause(of_tenant, found.run.run_id, paused=True)
    _show(tenant, replace(found, paused=True), as_json)


@app.command()
def status(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Show the backfill that is not over: its chunks, and how far it is.

    Example: plata backfill status --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    _show(tenant, _unfinished(platform.tenant(tenant), platform.postgres), as_json)


def _unfinished(tenant: Any, postgres: Any) -> Any:
    from pipelines.backfill import unfinished
    from pipelines.errors import NothingToDoError

    found = unfinished(tenant, postgres)
    if found is None:
        msg = (
            f"tenant '{tenant.tenant_id}' has no unfinished backfill; "
            f"those that are over are in `plata runs list --tenant {tenant.tenant_id}`"
        )
        raise NothingToDoError(msg)
    return found


def _refuse_second(tenant: Any, postgres: Any) -> None:
    from lakehouse.errors import InputError
    from pipelines.backfill import unfinished

    left = unfinished(tenant, postgres)
    if left is not None:
        msg = (
            f"backfill '{left.run.run_id}' is not over: go on with `plata backfill resume --tenant "
            f"{tenant.tenant_id}`, or give it up with `plata runs abandon {left.run.run_id}`"
        )
        raise InputError(msg)


@contextmanager
def _chunks_shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """Draw one bar on standard error; nothing where nobody watches."""
    with bar(what) as (progress, task):
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _show(tenant: str, found: Any, as_json: bool) -> None:
    emit(found.as_dict(), as_json=as_json, table=lambda: _drawn(tenant, found))


def _drawn(tenant: str, found: Any) -> Any:
    plan, days = found.plan, found.plan.days
    what = f"{tenant}: {plan.layer} from {days.first} to {days.last}"
    if not plan.chunks:
        return f"{what}: nothing is missing"
    state = "paused" if found.paused else "over" if found.over else "not over"
    return grid(
        f"{what}: {found.run.run_id}, {state}",
        ["chunk", "done", "computed from rows", "missing rows"],
        [
            [
                chunk.name[:40],
                "yes" if number < found.chunks_done else "no",
                chunk.rows,
                ", ".join(f"{table}: {rows:,}" for table, rows in chunk.new.items()),
            ]
            for number, chunk in enumerate(plan.chunks)
        ],
    )
