"""`plata runs`: what ran, with what result, and the way out of a run that cannot go on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from serving.cli.output import emit, grid

app = typer.Typer(no_args_is_help=True, help="List runs, show one, compute one again, give one up.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose runs.")]


@app.command("list")
def list_(
    tenant: OfTenant,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest runs.

    Example: plata runs list --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    records = platform.runs.recent(platform.tenant(tenant), limit=limit)
    rows = [
        {
            "run_id": r.run.run_id,
            "kind": r.kind,
            "status": r.status.value,
            "started_at": r.run.started_at.isoformat(timespec="seconds"),
            "finished_at": None
            if r.finished_at is None
            else r.finished_at.isoformat(timespec="seconds"),
            "error": r.error,
        }
        for r in records
    ]
    emit(
        rows,
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: runs",
            ["run", "kind", "status", "started", "finished", "error"],
            [list(r.values()) for r in rows],
        ),
    )


@app.command()
def show(run_id: str, tenant: OfTenant, as_json: AsJson = False) -> None:
    """Show a run: its plan, its manifest and what its checks found, those that failed first.

    Example: plata runs show run-20260102T030405-cfb36bd5 --tenant alcaldia-norte --json
    """
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    context = platform.tenant(tenant)
    record = _found(platform, context, run_id)
    checks = platform.runs.quality(context, record.run.run_id)
    value = {
        "run_id": run_id,
        "kind": record.kind,
        "status": record.status.value,
        "error": record.error,
        "plan": record.plan,
        "manifest": record.manifest,
        "quality": [
            {
                "table": f"{c.layer}_{c.table}",
                "check": c.check,
                "severity": c.severity,
                "passed": c.passed,
                "observed": c.observed,
                "expected": c.expected,
                "measured": c.measured,
            }
            for c in sorted(checks, key=lambda c: (c.passed, c.severity, c.layer, c.table, c.check))
        ],
    }
    emit(value, as_json=as_json, table=lambda: _drawn(value))


@app.command()
def abandon(run_id: str, tenant: OfTenant, as_json: AsJson = False) -> None:
    """Give up a run that cannot go on. What it took to Bronze goes to the next run.

    Example: plata runs abandon run-20260102T030405-cfb36bd5 --tenant alcaldia-norte
    """
    from lakehouse.control.runs import RunStatus
    from lakehouse.errors import InputError
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    context = platform.tenant(tenant)
    record = _found(platform, context, run_id)
    if record.status is not RunStatus.RUNNING:
        msg = f"run '{run_id}' has ended as {record.status}; only an open run can be given up"
        raise InputError(msg)
    with platform.runs.exclusive(context, record.kind):
        platform.runs.finish(record.run, RunStatus.FAILED, error="given up by an operator")
    emit(
        {"run_id": run_id, "status": RunStatus.FAILED.value},
        as_json=as_json,
        table=lambda: f"{run_id} is given up; the next `plata run` takes its rows along",
    )


@app.command()
def reproduce(run_id: str, tenant: OfTenant, as_json: AsJson = False) -> None:
    """Compute a run again from its manifest, aside, and compare every table it wrote.

    Nothing published is touched. Ends with code 1 where a table came out otherwise, or is no longer
    what the run wrote.

    Example: plata runs reproduce run-20260102T030405-cfb36bd5 --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform
    from serving.cli.data import steps_shown

    platform = open_platform()
    context = platform.tenant(tenant)
    record = _found(platform, context, run_id)
    with steps_shown() as tell:
        found = platform.reproduce(record, tell=tell)
    emit(found.as_dict(), as_json=as_json, table=lambda: _compared(found))
    if found.differing:
        raise typer.Exit(1)


def _compared(found: Any) -> Any:
    from rich.console import Group

    said = "agrees" if not found.differing else f"differs in {', '.join(found.differing)}"
    return Group(
        grid(
            f"{found.of_run} computed again: {said}",
            ["table", "rows", "recorded", "came out", "in the lake"],
            [
                [
                    t.table,
                    t.rows,
                    t.recorded[:12],
                    "the same" if t.reproduced else t.recomputed[:12],
                    "the same" if t.kept else t.held[:12],
                ]
                for t in found.tables
            ],
        ),
        *(f"not as it was then: {reason}" for reason in found.reasons),
    )


def _found(platform: Any, tenant: Any, run_id: str) -> Any:
    from lakehouse.errors import InputError
    from lakehouse.run import RunId

    record = platform.runs.find(tenant, RunId(run_id))
    if record is None:
        msg = (
            f"tenant '{tenant.tenant_id}' has no run '{run_id}'; "
            f"see `plata runs list --tenant {tenant.tenant_id}`"
        )
        raise InputError(msg)
    return record


def _bundle(plan: Any) -> str:
    if "bundle_id" not in plan:
        return ""
    asked = plan.get("bundle_asked")
    return f", {plan['bundle_id']}" + (f" (asked for as {asked})" if asked else "")


def _drawn(value: dict[str, Any]) -> Any:
    from rich.console import Group

    manifest = value["manifest"] or {}
    pins = manifest.get("pins", {})
    warned = [c for c in value["quality"] if not c["passed"] and c["severity"] == "warning"]
    return Group(
        f"{value['run_id']}: {value['status']}{_bundle(value['plan'])}"
        + (f" ({value['error']})" if value["error"] else ""),
        *(
            f"warning: {c['table']}: {c['check']}: found {c['observed']}, expected {c['expected']}"
            for c in warned
        ),
        grid("Versions", ["asked for", "meant"], [[k, v] for k, v in pins.items()]),
        grid(
            "Rows of this run",
            ["table", "rows", "content"],
            [
                [k, v, manifest.get("contents", {}).get(k)]
                for k, v in manifest.get("counts", {}).items()
            ],
        ),
        *_spent(manifest.get("spent", [])),
        grid(
            "Seconds", ["step", "seconds"], [[k, v] for k, v in manifest.get("seconds", {}).items()]
        ),
        grid(
            "Checks",
            ["table", "check", "severity", "passed", "found", "expected"],
            [
                [
                    c["table"],
                    c["check"],
                    c["severity"],
                    "yes" if c["passed"] else "NO",
                    c["observed"],
                    c["expected"],
                ]
                for c in value["quality"]
            ],
        ),
    )


def _spent(spent: list[dict[str, Any]]) -> list[Any]:
    """Draw what LLMs cost, where any was asked."""
    columns = ["task", "model", "calls", "unusable", "unmetered", "prompt_tokens"]
    columns += ["completion_tokens", "cost", "currency"]
    if not spent:
        return []
    rows = [
        [_money(row[name]) if name == "cost" else row[name] for name in columns] for row in spent
    ]
    return [grid("Spent on LLMs", [name.replace("_", " ") for name in columns], rows)]


def _money(cost: float) -> str:
    return f"{cost:,.6f}"
