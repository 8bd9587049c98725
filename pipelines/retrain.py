"""Retraining: from labels to a challenger that is measured, shadowed and proposed.

A retraining is a run in the log of runs. Its plan says why it was begun and what was known then;
each step first looks whether it was done. Killed anywhere, it is taken up by the next attempt, on
the same labels, and makes one model. What becomes of it is read in `pipelines.proposals`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from contracts.tables import LABELS
from lakehouse.control.drift import DriftLog
from lakehouse.control.runs import RunLog, RunRecord, RunStatus
from lakehouse.data.history import VersionedTableStore
from lakehouse.data.tables import Layer, Snapshot, TableRef
from lakehouse.errors import InputError, PlataError, Terminal
from lakehouse.manifest import RunManifest
from lakehouse.run import RunContext
from lakehouse.telemetry import run_logger
from lakehouse.tenancy import TenantContext
from models.gates import GatePolicy
from models.task import Task
from monitoring.drift import DriftVerdict
from pipelines.bundles import Changes
from pipelines.evaluate import EvaluationPorts, Question, evaluate_answers
from pipelines.judged_texts import Within
from pipelines.labelled_texts import LabelsFile
from pipelines.ledger_texts import Knowledge, LedgerTexts, read_ledger, standing_at
from pipelines.past_tickets import NOW
from pipelines.promotion import Asked, PromotionPorts, champion_of, judge_bundle, successor
from pipelines.retrain_policy import Reason, RetrainPolicy, Trigger, due
from pipelines.shadow import Proposal as ShadowProposal
from pipelines.shadow import start_experiment
from pipelines.steps import OnStep, unobserved
from pipelines.tenant_config import CostConfig
from pipelines.train import Tell, say_nothing, train_on
from registry.bundles import Bundle, BundleRef
from registry.challenges import ExperimentLog, Mode
from registry.refs import ModelRef, Registry

RETRAIN_KIND = "retrain"
RETRAINING_TAG = "plata.retraining"
BY = "plata-retrain"
"""Who starts and stops what a retraining does by itself, in the logs."""

_MOST_RUNS = 10_000
_LOOKS = 100
_CONCLUSIVE = {DriftVerdict.STABLE, DriftVerdict.WATCH, DriftVerdict.DRIFT}


@dataclass(frozen=True, slots=True)
class RetrainPorts:
    """What a retraining works with. `gates` are asked of it; `price` is what compute costs."""

    store: VersionedTableStore
    log: RunLog
    drift: DriftLog
    promotion: PromotionPorts
    evaluation: EvaluationPorts
    experiments: ExperimentLog
    gates: GatePolicy
    price: CostConfig | None = None

    @property
    def registry(self) -> Registry:
        """Where models are."""
        return self.promotion.registry


class Step(StrEnum):
    """The steps of a retraining, in order."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    SHADOW = "shadow"


Around = Callable[[Step, Callable[[], None]], None]
"""Handed each step and what performs it; see `pipelines.flows`."""


def plainly(step: Step, work: Callable[[], None]) -> None:
    """Be an `Around` that only does the work."""
    work()


@dataclass(frozen=True, slots=True)
class Retraining:
    """One retraining of a task's model, as it was begun."""

    run: RunContext
    task: str
    reason: Reason
    known: Knowledge
    file: LabelsFile | None = None

    def plan(self) -> dict[str, Any]:
        """Return plain JSON values; the versions it names are kept by the upkeep of tables."""
        file = self.file and {
            "path": str(self.file.path),
            "text_column": self.file.text_column,
            "label_column": self.file.label_column,
        }
        reason = {"trigger": self.reason.trigger.value, "reason": self.reason.said}
        return {"task": self.task, **reason, **self.known.as_dict(), "file": file}

    @classmethod
    def of(cls, record: RunRecord) -> Retraining:
        """Read a retraining from the log of runs."""
        plan, file = record.plan, record.plan["file"]
        return cls(
            run=record.run,
            task=plan["task"],
            reason=Reason(Trigger(plan["trigger"]), plan["reason"]),
            known=Knowledge.of(plan),
            file=file and LabelsFile(Path(file["path"]), file["text_column"], file["label_column"]),
        )


@dataclass(frozen=True, slots=True)
class Outlook:
    """How things stand with a task. `reason` is why it is to be retrained now, None if it is not.

    `found` is what it would be trained on, None where it is not due or `missing` says what is not
    there yet.
    """

    task: Task
    labels: int
    new_labels: int
    drift_alert: datetime | None
    last_trained: datetime | None
    reason: Reason | None
    found: LedgerTexts | None
    missing: str | None
    known: Knowledge

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        given = None if self.found is None else self.found.given
        return {
            "task": self.task.name,
            "labels": self.labels,
            "new_labels": self.new_labels,
            "drift_alert": self.drift_alert and self.drift_alert.isoformat(),
            "last_trained": self.last_trained and self.last_trained.isoformat(),
            "due": None if self.reason is None else self.reason.said,
            "missing": self.missing,
            "learn_from": None if given is None else int((~given.aside).sum()),
            "judge_on": None if given is None else int(given.aside.sum()),
            "judge_since": None if self.found is None else self.found.since.isoformat(),
            "dropped": None if given is None else dict(given.dropped),
        }


def retrainings(tenant: TenantContext, log: RunLog, task: str | None = None) -> list[RunRecord]:
    """Return the tenant's retrainings, of one task where it is named, newest first."""
    every = (r for r in log.recent(tenant, limit=_MOST_RUNS) if r.kind == RETRAIN_KIND)
    return [record for record in every if task in (None, record.plan["task"])]


def look(
    tenant: TenantContext,
    task: Task,
    policy: RetrainPolicy,
    ports: RetrainPorts,
    *,
    now: datetime,
    asked: bool = False,
) -> Outlook:
    """Say whether a task is to be retrained and on what; `asked` begins one whatever the policy."""
    known = Knowledge.at(NOW, tenant, store=ports.store, log=ports.log, now=now)
    labels = standing_at(task.name, tenant, ports.store, known)
    before = retrainings(tenant, ports.log, task.name)
    last = Retraining.of(before[0]).known if before else None
    new = labels
    if last is not None:
        then = standing_at(task.name, tenant, ports.store, last)
        new = labels.join(then, on=["ticket_id", "label"], how="anti")
    alert = _alert(tenant, task, ports)
    last_trained = None if last is None else last.as_of
    reason = due(policy, now, new_labels=len(new), drift_alert=alert, last_trained=last_trained)
    if asked and reason is None:
        reason = Reason(Trigger.ASKED, f"asked for, {len(new)} new labels")
    found, missing = None, None
    if reason is not None:
        file = policy.labels.get(task.name)
        try:
            ports.promotion.bundles.find(tenant, BundleRef.champion(tenant))
            found = read_ledger(task, tenant, ports.store, known, file=file)
        except PlataError as error:
            if not isinstance(error, Terminal):
                raise
            missing = str(error)
    return Outlook(task, len(labels), len(new), alert, last_trained, reason, found, missing, known)


def _alert(tenant: TenantContext, task: Task, ports: RetrainPorts) -> datetime | None:
    """Return when drift from what the champion learned was found, None where the last look found
    none. What was found of an earlier champion no longer counts.
    """
    own = _champions_model(tenant, task, ports)
    for record in ports.drift.recent(tenant, task=task.name, limit=_LOOKS):
        if own is not None and record.model == own.uri and record.verdict in _CONCLUSIVE:
            return record.measured_at if record.verdict == DriftVerdict.DRIFT else None
    return None


def begin(
    outlook: Outlook,
    tenant: TenantContext,
    policy: RetrainPolicy,
    ports: RetrainPorts,
    *,
    at: datetime,
    code_version: str = "unknown",
) -> Retraining:
    """Write down that a task is being retrained, and on what, before anything is done."""
    assert outlook.reason is not None
    retraining = Retraining(
        RunContext.begin(tenant, kind=RETRAIN_KIND, at=at, code_version=code_version),
        outlook.task.name,
        outlook.reason,
        outlook.known,
        policy.labels.get(outlook.task.name),
    )
    ports.log.start(retraining.run, RETRAIN_KIND, retraining.plan())
    return retraining


@dataclass(slots=True)
class _Work:
    """A retraining at work: what the steps hand each other."""

    retraining: Retraining
    task: Task
    tasks: Sequence[Task]
    ports: RetrainPorts
    tell: Tell
    on_step: OnStep
    texts: LedgerTexts | None = None
    model: ModelRef | None = None
    shadow: str = "none"

    @property
    def tenant(self) -> TenantContext:
        return self.retraining.run.tenant

    def read(self) -> LedgerTexts:
        """Read the labels of the plan, once."""
        if self.texts is None:
            own = self.retraining
            self.tell("reading the labels", 0, 0)
            self.texts = read_ledger(
                self.task, self.tenant, self.ports.store, own.known, file=own.file
            )
        return self.texts

    def train(self) -> None:
        """Register a model of these labels, unless an attempt before this one has."""
        run = self.retraining.run
        self.model = trained_by(run, self.task, self.ports.registry)
        if self.model is not None:
            return
        self.on_step("before the model")
        self.model = train_on(
            self.read().given,
            self.task,
            run,
            registry=self.ports.registry,
            cluster=self.ports.evaluation.cluster,
            tags={RETRAINING_TAG: run.run_id},
            tell=self.tell,
        ).model
        self.on_step("after the model")

    def bundle(self) -> Bundle:
        """Return the champion with the new model in its place, and keep it."""
        assert self.model is not None
        bundle = challenger_with(self.model, self.task, self.tenant, self.tasks, self.ports)
        note = f"retraining {self.retraining.run.run_id}: {self.retraining.reason.said}"
        bundles = self.ports.promotion.bundles
        bundles.keep(self.tenant, self.tenant.tenant_id, bundle, by=BY, note=note)
        return bundle

    def evaluate(self) -> None:
        """Compare with the champion on the tickets that judge, unless that was done."""
        run, log = self.retraining.run, self.ports.evaluation.log
        done = (one.evaluation_id for one in log.recent(self.tenant, task=self.task.name))
        bundle = self.bundle()
        if run.run_id in done:
            return
        champion = self.ports.promotion.bundles.find(self.tenant, BundleRef.champion(self.tenant))
        known = self.retraining.known
        within = Within(self.read().since, known.as_of, known.versions[str(LABELS.table)])
        question = Question(
            self.task, bundle, champion, people=True, within=within, price=self.ports.price
        )
        self.on_step("before the evaluation")
        evaluate_answers(question, run, self.ports.evaluation, tell=self.tell)
        self.on_step("after the evaluation")

    def start_shadow(self) -> None:
        """Let the challenger answer aside, where no other experiment runs."""
        own = self.retraining
        self.on_step("before the shadow")
        self.shadow = shadow(
            self.bundle(), own, self.task, self.tasks, self.ports, at=own.run.started_at
        )
        self.on_step("after the shadow")


_STEPS: Mapping[Step, Callable[[_Work], None]] = {
    Step.TRAIN: _Work.train,
    Step.EVALUATE: _Work.evaluate,
    Step.SHADOW: _Work.start_shadow,
}


def carry_out(
    retraining: Retraining,
    tasks: Sequence[Task],
    ports: RetrainPorts,
    *,
    tell: Tell = say_nothing,
    on_step: OnStep = unobserved,
    around: Around = plainly,
) -> RunManifest:
    """Train, evaluate, start the shadow, and close the run; done again, it does what is left.

    What stays wrong until a person changes something closes it as FAILED, and it is not tried again
    on the same labels; whatever else goes wrong leaves it open.
    """
    run = retraining.run
    try:
        work = _Work(retraining, _own(retraining, tasks), tasks, ports, tell, on_step)
        for step in Step:
            around(step, partial(_STEPS[step], work))
        manifest = _manifest(work)
    except Exception as error:
        if isinstance(error, Terminal):
            ports.log.finish(run, RunStatus.FAILED, error=str(error))
        raise
    on_step("before the end")
    ports.log.finish(run, RunStatus.COMPLETED, manifest=manifest.as_dict())
    run_logger(run).info("retrained", task=retraining.task, **manifest.pins)
    return manifest


def _own(retraining: Retraining, tasks: Sequence[Task]) -> Task:
    for task in tasks:
        if task.name == retraining.task:
            return task
    have = ", ".join(task.name for task in tasks)
    msg = f"retraining {retraining.run.run_id} is of task '{retraining.task}'; there are: {have}"
    raise InputError(msg)


def trained_by(run: RunContext, task: Task, registry: Registry) -> ModelRef | None:
    """Return the version a retraining has registered, None where it has none yet."""
    for info in registry.models():
        if info.name == task.model and info.tags.get(RETRAINING_TAG) == run.run_id:
            return registry.model_version(info.name, info.version)
    return None


def challenger_with(
    model: ModelRef,
    task: Task,
    tenant: TenantContext,
    tasks: Sequence[Task],
    ports: RetrainPorts,
) -> Bundle:
    """Return the champion as it is now with a model in the task's place."""
    return successor(tenant, tasks, Changes(models={task.name: model}), ports.promotion)


def shadow(
    bundle: Bundle,
    retraining: Retraining,
    task: Task,
    tasks: Sequence[Task],
    ports: RetrainPorts,
    *,
    at: datetime,
) -> str:
    """Start the challenger's shadow and name it, or say why not.

    A model is shadowed once: what a person has stopped is not started again. The shadow of an
    earlier retraining of the same task gives way to it.
    """
    tenant, experiments = retraining.run.tenant, ports.experiments
    bundles = ports.promotion.bundles
    model = model_of(bundle, task)
    for experiment in experiments.all(tenant):
        if model_of(bundles.find(tenant, experiment.bundle_id), task) == model:
            return experiment.experiment_id
    asked = Asked(BY, BY, "")
    gates = replace(ports.gates, approvers=None)
    verdict = judge_bundle(tenant, bundle, asked, gates, ports.promotion).verdict
    if verdict is None or not verdict.passed:
        return "none: the gates refuse it" if verdict else "none: it is the champion"
    running = experiments.running(tenant)
    if running is not None:
        theirs = model_of(bundles.find(tenant, running.bundle_id), task)
        if running.started_by != BY or theirs == _champions_model(tenant, task, ports):
            return f"waits for {running.experiment_id} to end"
        said = f"a newer retraining of '{task.name}', {retraining.run.run_id}"
        experiments.stop(tenant, by=BY, reason=said, at=at)
    reason = f"retraining {retraining.run.run_id}: {retraining.reason.said}"
    wanted = ShadowProposal(bundle.bundle_id, Mode.SHADOW, 1.0, BY, reason)
    return start_experiment(
        tenant, tasks, wanted, ports.promotion, experiments, at=at
    ).experiment_id


def model_of(bundle: Bundle, task: Task) -> ModelRef | None:
    """Return the model a bundle answers a task with, None where it has no such task."""
    return next((pins.champion for pins in bundle.tasks if pins.task == task.name), None)


def _champions_model(tenant: TenantContext, task: Task, ports: RetrainPorts) -> ModelRef | None:
    champion = champion_of(tenant, ports.promotion.bundles)
    return None if champion is None else model_of(champion, task)


def _manifest(work: _Work) -> RunManifest:
    """Tell what was read and made."""
    own, bundle = work.retraining, work.bundle()
    assert work.model is not None
    texts = work.read()
    given = texts.given
    inputs = tuple(
        Snapshot(_table(name), work.tenant.tenant_id, version)
        for name, version in own.known.versions.items()
        if version is not None
    )
    return RunManifest(
        own.run,
        inputs=inputs,
        pins={"model": work.model.uri, "bundle": bundle.bundle_id, "shadow": work.shadow},
        digests={"model": work.model.digest, "labels": given.digest},
        counts={
            "labels": texts.labels,
            "learned": int((~given.aside).sum()),
            "judging": int(given.aside.sum()),
            "drawn": texts.fair,
            **given.dropped,
        },
    )


def _table(name: str) -> TableRef:
    layer, _, entity = name.partition("_")
    return TableRef(Layer(layer), entity)
