"""How retrainings are drawn: what is due, what a round did, and what waits for a decision."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType

from pipelines.proposals import Proposal, Stage
from pipelines.retrain import Outlook
from pipelines.retrain_round import Round
from serving.cli.bundles_view import verdict_drawn
from serving.cli.output import grid


def outlooks_drawn(tenant: str, found: Sequence[Outlook]) -> RenderableType:
    """Draw a line a task, and below what stands in the way of each."""
    table = grid(
        f"{tenant}: retraining",
        ["task", "labels", "new", "drift", "last retrained", "due", "learns from", "judged on"],
        [
            [
                one.task.name,
                one.labels,
                one.new_labels,
                None if one.drift_alert is None else f"{one.drift_alert:%Y-%m-%d}",
                None if one.last_trained is None else f"{one.last_trained:%Y-%m-%d %H:%M}",
                "not yet" if one.reason is None else one.reason.said,
                _learned(one),
                _judging(one),
            ]
            for one in found
        ],
    )
    missing = [f"{one.task.name}: {one.missing}" for one in found if one.missing is not None]
    return Group(table, *missing)


def _learned(one: Outlook) -> str | None:
    if one.found is None:
        return None
    given = one.found.given
    dropped = sum(given.dropped.values())
    return f"{int((~given.aside).sum())} texts" + (f", {dropped} dropped" if dropped else "")


def _judging(one: Outlook) -> str | None:
    if one.found is None:
        return None
    aside = int(one.found.given.aside.sum())
    return f"{aside} since {one.found.since}, {one.found.fair} of them drawn"


def round_drawn(tenant: str, done: Round) -> RenderableType:
    """Draw what a round did."""
    said = [f"{run} was taken up and is done" for run in done.taken_up]
    said += [f"{run} is done; see `plata retrain status -t {tenant}`" for run in done.begun]
    said += [
        f"{one.model.uri} answers '{one.retraining.task}' in runs planned from now on"
        for one in done.promoted
        if one.model is not None
    ]
    return Group(outlooks_drawn(tenant, done.outlooks), *(said or ["nothing was to be done"]))


def proposals_drawn(tenant: str, found: Sequence[Proposal]) -> RenderableType:
    """Draw a line a retraining, and below the verdict on each that waits."""
    if not found:
        return (
            f"{tenant} has no retraining yet; see what is due with "
            f"`plata retrain --tenant {tenant} --plan`"
        )
    table = grid(
        f"{tenant}: retrainings",
        ["retraining", "task", "why", "model", "learned from", "shadow runs", "stage"],
        [
            [
                one.retraining.run.run_id,
                one.retraining.task,
                one.retraining.reason.said,
                None if one.model is None else one.model.version,
                None if one.counts is None else one.counts["learned"],
                one.shadow_runs,
                one.stage.value if one.error is None else f"{one.stage.value}: {one.error}",
            ]
            for one in found
        ],
        whole=["retraining"],
    )
    waiting = [one for one in found if one.stage is Stage.PROPOSED]
    return Group(table, *(_waiting(tenant, one) for one in waiting))


def _waiting(tenant: str, one: Proposal) -> RenderableType:
    assert one.verdict is not None
    name, run = one.retraining.task, one.retraining.run.run_id
    go = f"plata retrain approve {run} --tenant {tenant}"
    said = (
        f"{name}: approve it with `{go}`"
        if one.verdict["passed"]
        else f"{name}: not every gate lets it; past them goes `{go} --force --reason …`"
    )
    return Group(verdict_drawn(dict(one.verdict)), said)
