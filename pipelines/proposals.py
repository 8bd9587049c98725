"""What became of retrainings: proposals that wait for a decision, and the decision itself.

A proposal is nothing that is stored: a retraining that ended, whose model is not the champion, is
one. Its verdict is what the gates say now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from lakehouse.control.runs import RunRecord, RunStatus
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from models.gates import Gate, Verdict
from models.task import Task
from pipelines.promotion import (
    Asked,
    Decision,
    Outcome,
    champion_of,
    judge_and_promote,
    judge_bundle,
    promote_bundle,
)
from pipelines.retrain import (
    BY,
    Retraining,
    RetrainPorts,
    challenger_with,
    model_of,
    retrainings,
    shadow,
)
from pipelines.retrain_policy import Approve, RetrainPolicy
from registry.bundles import Bundle
from registry.refs import CHAMPION, ModelRef, resolve_uri

_MOST_RUNS = 10_000


class Stage(StrEnum):
    """How far a retraining is. PROPOSED waits for a decision; the newest of a task only."""

    RUNNING = "running"
    FAILED = "failed"
    PROPOSED = "proposed"
    PROMOTED = "promoted"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A retraining with what became of it. `model` is None until there is one.

    `bundle` is what a promotion would make the champion, None but for a proposal; `verdict` is the
    gates' say about it, or that by which it was promoted. `shadow_runs` counts the runs in which
    the model answered aside.
    """

    retraining: Retraining
    stage: Stage
    model: ModelRef | None = None
    bundle: Bundle | None = None
    verdict: Mapping[str, Any] | None = None
    shadow_runs: int = 0
    counts: Mapping[str, int] | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        own = self.retraining
        return {
            "retraining": own.run.run_id,
            "task": own.task,
            "trigger": own.reason.trigger.value,
            "reason": own.reason.said,
            "as_of": own.known.as_of.isoformat(),
            "stage": self.stage.value,
            "model": self.model and self.model.uri,
            "bundle": self.bundle and self.bundle.bundle_id,
            "shadow_runs": self.shadow_runs,
            "counts": self.counts and dict(self.counts),
            "verdict": self.verdict and dict(self.verdict),
            "error": self.error,
        }


def proposals(
    tenant: TenantContext,
    tasks: Sequence[Task],
    policy: RetrainPolicy,
    ports: RetrainPorts,
    *,
    last: int = 10,
) -> list[Proposal]:
    """Tell what became of the newest retrainings, newest first."""
    known = {task.name: task for task in tasks}
    found: list[Proposal] = []
    decided: set[str] = set()
    for record in retrainings(tenant, ports.log)[:last]:
        task = known.get(record.plan["task"])
        if task is None:
            continue
        found.append(_told(record, task, tasks, policy, ports, newest=task.name not in decided))
        if record.status is RunStatus.COMPLETED:
            decided.add(task.name)
    return found


def _told(
    record: RunRecord,
    task: Task,
    tasks: Sequence[Task],
    policy: RetrainPolicy,
    ports: RetrainPorts,
    *,
    newest: bool,
) -> Proposal:
    retraining, tenant = Retraining.of(record), record.run.tenant
    if record.manifest is None:
        stage = Stage.RUNNING if record.status is RunStatus.RUNNING else Stage.FAILED
        return Proposal(retraining, stage, error=record.error)
    model = resolve_uri(record.manifest["pins"]["model"], ports.registry)
    assert isinstance(model, ModelRef)
    runs = _shadow_runs(model, task, tenant, ports)
    counts = record.manifest["counts"]
    promoted, verdict = _promotion(model, task, retraining, ports)
    if promoted or not newest:
        stage = Stage.PROMOTED if promoted else Stage.REPLACED
        return Proposal(retraining, stage, model, None, verdict, runs, counts)
    bundle = challenger_with(model, task, tenant, tasks, ports)
    gates = ports.gates
    if policy.approve is Approve.PERSON:  # who approves is known once somebody does
        gates = replace(gates, approvers=None)
    also = _shadow_gates(runs, policy)
    outcome = judge_bundle(tenant, bundle, Asked(BY, BY, ""), gates, ports.promotion, also=also)
    if outcome.verdict is None:
        return Proposal(retraining, Stage.UNCHANGED, model, None, None, runs, counts)
    said = outcome.verdict.as_dict()
    return Proposal(retraining, Stage.PROPOSED, model, bundle, said, runs, counts)


def _promotion(
    model: ModelRef, task: Task, retraining: Retraining, ports: RetrainPorts
) -> tuple[bool, Mapping[str, Any] | None]:
    """Say whether a model became the champion since it was trained, and by which verdict."""
    tenant, bundles = retraining.run.tenant, ports.promotion.bundles
    for move in bundles.history(tenant, tenant.tenant_id):
        if move.alias != CHAMPION or move.at < retraining.run.started_at:
            continue
        if model_of(bundles.find(tenant, move.after), task) == model:
            return True, move.verdict
    return False, None


def _shadow_runs(model: ModelRef, task: Task, tenant: TenantContext, ports: RetrainPorts) -> int:
    """Count the runs in which a model answered aside, in whatever bundle."""
    ended = {
        record.run.run_id
        for record in ports.log.recent(tenant, limit=_MOST_RUNS)
        if record.status in (RunStatus.COMPLETED, RunStatus.DEGRADED)
    }
    runs: set[str] = set()
    for experiment in ports.experiments.all(tenant):
        tried = ports.promotion.bundles.find(tenant, experiment.bundle_id)
        if model_of(tried, task) == model:
            spent = ports.experiments.spent(tenant, experiment.experiment_id)
            runs |= {one.run_id for one in spent if one.bundle_id == experiment.bundle_id}
    return len(runs & ended)


def _shadow_gates(runs: int, policy: RetrainPolicy) -> list[Gate]:
    wanted = policy.shadow_runs
    why = "what it says of what comes in is seen before it decides"
    return [Gate("shadow", runs >= wanted, f"{runs} runs", f"at least {wanted}", why)][:wanted]


def newest_proposal(
    found: Sequence[Proposal], wanted: str | None, tenant: TenantContext
) -> Proposal:
    """Return the one that waits for a decision, by its retraining, its task, or the only one.

    Raises `InputError` that lists what waits.
    """
    waiting = [one for one in found if one.stage is Stage.PROPOSED]
    meant = [
        one for one in waiting if wanted in (None, one.retraining.run.run_id, one.retraining.task)
    ]
    if len(meant) == 1:
        return meant[0]
    have = ", ".join(f"{one.retraining.run.run_id} ({one.retraining.task})" for one in waiting)
    sought = f"is '{wanted}'" if wanted else "is the only one"
    msg = (
        f"no proposal of '{tenant.tenant_id}' {sought}; there wait: {have or 'none'}. "
        f"See `plata retrain status --tenant {tenant.tenant_id}`"
    )
    raise InputError(msg)


def approve(
    proposal: Proposal,
    asked: Asked,
    policy: RetrainPolicy,
    ports: RetrainPorts,
    *,
    at: datetime,
) -> Outcome:
    """Promote a proposal if every gate lets it, or `asked.force` says to; its shadow ends then."""
    assert proposal.bundle is not None
    tenant = proposal.retraining.run.tenant
    also = _shadow_gates(proposal.shadow_runs, policy)
    outcome = judge_and_promote(
        tenant, proposal.bundle, asked, ports.gates, ports.promotion, also=also
    )
    if outcome.promoted:
        _end_shadow(tenant, ports, at=at)
    return outcome


def _end_shadow(tenant: TenantContext, ports: RetrainPorts, *, at: datetime) -> None:
    """End the shadow of what is the champion now: nothing is left to compare."""
    running = ports.experiments.running(tenant)
    champion = champion_of(tenant, ports.promotion.bundles)
    if running is None or champion is None or running.started_by != BY:
        return
    if running.bundle_id == champion.bundle_id:
        ports.experiments.stop(tenant, by=BY, reason="it was promoted", at=at)


def attend(
    tenant: TenantContext,
    tasks: Sequence[Task],
    policy: RetrainPolicy,
    ports: RetrainPorts,
    *,
    at: datetime,
) -> list[Proposal]:
    """See to proposals: promote what the policy may and the gates let, and start waiting shadows.

    Returns those that were promoted. A promotion of this kind that was killed is finished.
    """
    _finish_promotion(tenant, ports, at=at)
    known = {task.name: task for task in tasks}
    promoted = []
    for one in proposals(tenant, tasks, policy, ports):
        if one.stage is not Stage.PROPOSED:
            continue
        assert one.bundle is not None
        assert one.verdict is not None
        if policy.approve is Approve.POLICY and Verdict.of(one.verdict).passed:
            reason = f"retraining {one.retraining.run.run_id}: {one.retraining.reason.said}"
            if approve(one, Asked(BY, BY, reason), policy, ports, at=at).promoted:
                promoted.append(one)
                continue
        shadow(one.bundle, one.retraining, known[one.retraining.task], tasks, ports, at=at)
    return promoted


def _finish_promotion(tenant: TenantContext, ports: RetrainPorts, *, at: datetime) -> None:
    moves = ports.promotion.bundles.history(tenant, tenant.tenant_id)
    newest = next((move for move in moves if move.alias == CHAMPION), None)
    if newest is None or newest.by != BY:
        return
    champion = ports.promotion.bundles.find(tenant, newest.after)
    promote_bundle(tenant, champion, Decision(BY, newest.reason), ports.promotion)
    _end_shadow(tenant, ports, at=at)
