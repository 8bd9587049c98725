"""`plata promote` and `plata rollback`: which bundle runs are planned against, and back again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.output import emit, operator

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose runs.")]


def register(app: typer.Typer) -> None:
    """Add the commands at the top of the program."""
    app.command()(promote)
    app.command()(rollback)


def promote(
    what: Annotated[
        str,
        typer.Argument(help="A bundle, or the name of a model or prompt, or its models:/NAME/7."),
    ],
    tenant: OfTenant,
    version: Annotated[
        str, typer.Argument(help="With a name: a number, or an alias such as @retador.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also where a gate fails; needs --reason.")
    ] = False,
    approved_by: Annotated[
        str, typer.Option(help="Who agrees; whoever runs this by default.")
    ] = "",
    policy: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of the gates; by default the tenant's own, else the packaged."
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the verdict, promote nothing.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Make a bundle the one that runs are planned against, if every gate lets it.

    A model or prompt alone makes the bundle that differs from the champion in it. Killed at any
    point, it is finished by running it again. A run that is planned keeps its bundle. Ends with
    code 1 where a gate fails.

    Example: plata promote alcaldia-norte.tipo 3 --tenant alcaldia-norte --reason "more on fees"
    """
    from pipelines.bootstrap import open_platform
    from pipelines.bundles import changes_of, version_of
    from pipelines.promotion import successor
    from registry.bundles import BundleRef
    from registry.refs import resolve_uri

    platform = open_platform()
    context = platform.tenant(tenant)
    if what.startswith("bundle") and not version:
        bundle = platform.bundles.find(context, what)
    else:
        tasks = platform.tasks(context)
        champion = platform.bundles.find(context, BundleRef.champion(context))
        uri = version_of(what, version, champion, tasks) if version else what
        changes = changes_of(resolve_uri(uri, platform.registry), champion, tasks)
        bundle = successor(context, tasks, changes, platform.promotion)
    promoted(
        context,
        bundle,
        platform,
        reason=reason,
        force=force,
        approved_by=approved_by,
        policy=policy,
        plan=plan,
        as_json=as_json,
    )


def promoted(
    context: Any,
    bundle: Any,
    platform: Any,
    *,
    reason: str,
    as_json: bool,
    force: bool = False,
    approved_by: str = "",
    policy: Path | None = None,
    plan: bool = False,
) -> None:
    """Judge a bundle, promote it where the verdict or `force` says so, and show what came of it."""
    from lakehouse.errors import InputError
    from models.gates import read_policy
    from pipelines.bundles import check_tasks
    from pipelines.promotion import Asked, champion_of, judge_and_promote, judge_bundle
    from pipelines.prompt_tests import PROMPT_TEST_KIND, trials_due
    from pipelines.prompt_tests import gates_of as tests_of
    from pipelines.tenant_config import gates_of, gates_said

    if force and not reason.strip():
        msg = "--force goes against the gates, and is recorded with its reason; give --reason"
        raise InputError(msg)
    tasks = platform.tasks(context)
    check_tasks(bundle, tasks)
    by = operator()
    platform.bundles.keep(context, context.tenant_id, bundle, by=by, note=reason)
    asked = Asked(by, approved_by or by, reason, force)
    act = judge_bundle if plan else judge_and_promote
    before = champion_of(context, platform.bundles)
    due = [] if before is None else trials_due(bundle, before, tasks, platform.registry)
    tests = list(tests_of(due, platform.asking(context, PROMPT_TEST_KIND))) if due else []
    config = platform.tenants.config(context)
    gates = gates_of(config) if policy is None else read_policy(policy)
    outcome = act(context, bundle, asked, gates, platform.promotion, also=tests)
    whose = gates_said(config) if policy is None else str(policy)
    show(outcome, context.tenant_id, whose, as_json=as_json, plan=plan)
    if outcome.refused and not plan:
        raise typer.Exit(1)


def rollback(
    tenant: OfTenant,
    to: Annotated[str | None, typer.Option(help="A bundle that was the champion once.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    as_json: AsJson = False,
) -> None:
    """Go back to the champion before, at once; no gate is asked of what ran already.

    Runs planned from now on use it. Once more goes one further back.

    Example: plata rollback --tenant alcaldia-norte --reason "complaints taken for questions"
    """
    from pipelines.bootstrap import open_platform
    from pipelines.promotion import Decision, champion_of, roll_back

    platform = open_platform()
    context = platform.tenant(tenant)
    before = champion_of(context, platform.bundles)
    decision = Decision(operator(), reason or "rolled back")
    bundle = roll_back(context, platform.tasks(context), decision, platform.promotion, to=to)
    emit(
        {"bundle": bundle.bundle_id, "before": None if before is None else before.bundle_id},
        as_json=as_json,
        table=lambda: f"runs planned from now on use {bundle.bundle_id}",
    )


def show(outcome: Any, tenant: str, whose: str, *, as_json: bool, plan: bool) -> None:
    """Print what came of asking for a promotion; `whose` gates were asked."""
    from dataclasses import asdict

    from rich.console import Group

    from registry.bundle_diff import bundle_changes
    from serving.cli.bundles_view import changes_drawn, verdict_drawn

    changes = () if outcome.before is None else bundle_changes(outcome.before, outcome.bundle)
    verdict = None if outcome.verdict is None else outcome.verdict.as_dict()
    parts = [] if not changes else [changes_drawn(outcome.before, outcome.bundle, changes)]
    parts += [] if verdict is None else [verdict_drawn(verdict), f"the gates are those of {whose}"]
    emit(
        {
            "bundle": outcome.bundle.bundle_id,
            "before": None if outcome.before is None else outcome.before.bundle_id,
            "changes": [asdict(change) for change in changes],
            "verdict": verdict,
            "policy": None if verdict is None else whose,
            "promoted": outcome.promoted,
            "forced": outcome.forced,
        },
        as_json=as_json,
        table=lambda: Group(*parts, _said(outcome, tenant, plan=plan)),
    )


def _said(outcome: Any, tenant: str, *, plan: bool) -> str:
    name = outcome.bundle.bundle_id
    if outcome.promoted:
        return f"runs planned from now on use {name}" + (", by force" if outcome.forced else "")
    if outcome.before is not None and outcome.before.bundle_id == name:
        return f"{name} is the champion of {tenant} already"
    if plan and not outcome.refused:
        return f"nothing was promoted; do it with `plata promote {name} --tenant {tenant}`"
    said = "would not be promoted" if plan else "was not promoted"
    return (
        f"{name} {said}: {len(outcome.verdict.failed)} of its gates failed. It is kept; "
        f"go past them with `plata promote {name} --tenant {tenant} --force --reason …`"
    )
