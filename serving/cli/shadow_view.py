"""How experiments and what they found are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType

from pipelines.shadow_report import ExperimentReport, Share, SideReport, TaskReport
from registry.challenges import Experiment
from serving.cli.output import grid


def experiments_drawn(tenant: str, every: Sequence[Experiment]) -> RenderableType:
    """Draw one row an experiment."""
    if not every:
        return f"{tenant} has had no experiment; `plata shadow start BUNDLE -t {tenant}`"
    return grid(
        f"{tenant}: experiments",
        ["experiment", "mode", "share", "challenger", "started", "stopped", "reason"],
        [
            [
                one.experiment_id,
                one.mode.value,
                one.share,
                one.bundle_id,
                f"{one.started_at:%Y-%m-%d %H:%M} by {one.started_by}",
                "runs"
                if one.stopped_at is None
                else f"{one.stopped_at:%Y-%m-%d %H:%M} by {one.stopped_by}",
                one.reason,
            ]
            for one in every
        ],
        whole=["experiment", "challenger"],
    )


def report_drawn(report: ExperimentReport) -> RenderableType:
    """Draw the sides of every task, then the flips and what was spent on endpoints."""
    one = report.experiment
    title = (
        f"{report.tenant}: {one.experiment_id}, {len(report.runs)} runs, {report.tickets} tickets"
    )
    if not report.runs:
        return f"{title}; no run planned with it has ended yet"
    rows = [
        [
            task.task,
            name,
            side.bundle_id,
            side.answers,
            _share(side.accuracy),
            _milliseconds(side),
        ]
        for task in report.tasks
        for name, side in (("champion", task.champion), ("challenger", task.challenger))
    ]
    columns = ["task", "side", "bundle", "answers", "right, of those audited", "ms an answer"]
    drawn: list[RenderableType] = [grid(title, columns, rows)]
    drawn += [agreement_said(task) for task in report.tasks]
    drawn += [_flips(task) for task in report.tasks if task.diff is not None and task.diff.flips]
    if report.tokens:
        drawn.append(_tokens(report))
    return Group(*drawn)


def agreement_said(task: TaskReport) -> str:
    """Say how often both agree and who alone was right; of an A/B test, what each said."""
    if task.agreement is None or task.paired is None:
        own = ((task.champion, "champion"), (task.challenger, "challenger"))
        said = "; ".join(
            f"{name}: {', '.join(f'{label} {n}' for label, n in side.labels.items()) or 'nothing'}"
            for side, name in own
        )
        return f"{task.task}: {said}"
    both = task.paired
    if not both.tickets:
        agreed = _share(task.agreement)
        return f"{task.task}: they agree on {agreed}; no person has judged one of them yet"
    return (
        f"{task.task}: they agree on {_share(task.agreement)}; of {both.tickets} audited tickets "
        f"{both.only_challenger} only the challenger has right, {both.only_champion} only the "
        f"champion (p = {both.p:.3f})"
    )


def _flips(task: TaskReport) -> RenderableType:
    assert task.diff is not None
    moved = [cell for cell in task.diff.confusion if cell.old != cell.new]
    moved.sort(key=lambda cell: -cell.tickets)
    examples: dict[tuple[str, str], str] = {}
    for flip in task.diff.examples:
        examples.setdefault((flip.old, flip.new), flip.text)
    return grid(
        f"{task.task}: {task.diff.flips} flips",
        ["champion", "challenger", "tickets", "an example, masked"],
        [[c.old, c.new, c.tickets, examples.get((c.old, c.new), "")] for c in moved],
    )


def _tokens(report: ExperimentReport) -> RenderableType:
    return grid(
        "Tokens",
        ["side", "task", "model", "calls", "prompt", "completion", "cost"],
        [
            [
                own.side,
                own.spending.task,
                own.spending.model,
                own.spending.calls,
                own.spending.prompt_tokens,
                own.spending.completion_tokens,
                f"{own.spending.cost} {own.spending.currency}",
            ]
            for own in report.tokens
        ],
    )


def _share(share: Share) -> str:
    if share.share is None:
        return "none yet"
    ends = share.interval
    return f"{share.share:.1%} [{ends.low:.1%}, {ends.high:.1%}] ({share.count} of {share.of})"


def _milliseconds(side: SideReport) -> float | None:
    return 1000 * side.seconds / side.timed if side.timed else None
