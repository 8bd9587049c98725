"""A run: Raw to Gold for one tenant, planned once, in named steps that can be killed and resumed.

Every write is fenced by run and part, and every clock is the run's own: a run that was killed and
taken up again leaves the same tables as one that was not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial

import msgspec
import pyarrow as pa

from contracts.contract import Contract
from contracts.tables import BRONZE, CLASSIFICATIONS, GOLD, LABELS, PQRS_EVENTS, SILVER
from features.index import EmbeddingIndex
from lakehouse.compute.batches import Cluster
from lakehouse.control.catalogue import TableCatalogue
from lakehouse.control.landings import Landing, LandingIndex
from lakehouse.control.llm_ledger import LlmLedger
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import QualityResult, RunLog, RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.content import Content, content_of
from lakehouse.data.history import VersionedTableStore
from lakehouse.data.maintenance import TableMaintenance, Tidied
from lakehouse.data.storage import FileStore
from lakehouse.data.tables import Snapshot
from lakehouse.errors import InputError
from lakehouse.manifest import Environment, FileInput, RunManifest
from lakehouse.run import RunContext, RunId
from lakehouse.telemetry import run_logger
from lakehouse.tenancy import TenantContext
from models.routing import PinnedRouting
from models.task import Task
from pipelines.audits import Audits
from pipelines.bronze import stage_landings
from pipelines.catalogue import refresh_catalogue
from pipelines.enrich import Enricher, ModelSteps, OnTook, uncounted
from pipelines.errors import NothingToDoError, RunFailedError
from pipelines.gold import count_gold, write_gold
from pipelines.gold_checks import check_gold
from pipelines.gold_serving import serve_gold
from pipelines.gold_view import read_silver
from pipelines.guarantee import GuaranteePorts, routings_to_plan, withdraw_failed
from pipelines.pending import pending_tickets
from pipelines.plan import RUN_KIND, RunPlan, plan_run, planned_landings, stranded_runs
from pipelines.promotion import PromotionPorts, bundle_to_plan
from pipelines.quality import audit_rows, audit_staged, layer_begun, publish_layer, require
from pipelines.run_events import RunEvents, Silent
from pipelines.shadow import (
    arms_of,
    ask_shadow,
    challenge_to_plan,
    deciding_bundles,
    recorder,
    shadow_of,
)
from pipelines.silver import SilverInput, refine_events
from pipelines.sla_terms import SlaTerms
from pipelines.steps import OnStep, Progress, unobserved
from pipelines.tenant_config import tasks_of, terms_of, upkeep_of
from pipelines.upkeep import Upkeep, warned
from registry.bundles import Bundle
from registry.refs import Registry

GOLD_KIND = "gold"
"""A run that only counts Gold again, after labels came in."""


class Step(StrEnum):
    """The steps of a run, in order."""

    BRONZE = "bronze"
    SILVER = "silver"
    EMBEDDINGS = "embeddings"
    ENTITIES = "entities"
    CLASSIFICATIONS = "classifications"
    INDEX = "index"
    GOLD = "gold"


Tell = Callable[[Step, int, int], None]
"""Told a step, its rows done and its rows in all; once at its start, and as it goes."""


def tell_nobody(step: Step, done: int, total: int) -> None:
    """Be a `Tell` that does nothing."""


Around = Callable[[Step, Callable[[], None]], None]
"""Handed a step and the call that performs it, to stand around it as an orchestrator does."""


def plainly(step: Step, work: Callable[[], None]) -> None:
    """Be an `Around` that only calls."""
    work()


@dataclass(frozen=True, slots=True)
class RunPorts:
    """What a run works with. `cluster` None computes in this process; `maintenance` None tidies
    nothing afterwards.
    """

    store: VersionedTableStore
    files: FileStore
    landings: LandingIndex
    log: RunLog
    registry: Registry
    index: EmbeddingIndex
    postgres: Postgres
    models: ModelSteps
    cluster: Cluster | None = None
    events: RunEvents = field(default_factory=Silent)
    maintenance: TableMaintenance | None = None

    @property
    def promotion(self) -> PromotionPorts:
        """What says which bundle a run is planned against."""
        return PromotionPorts.over(self.postgres, self.registry)

    @property
    def guarantees(self) -> GuaranteePorts:
        """What says how much may be accepted where a guarantee is asked for."""
        return GuaranteePorts.over(self.postgres, self.store)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run and its plan, as the log has them. `resumed` where an earlier attempt was killed.

    `audits` are what this process judged of it so far.
    """

    run: RunContext
    plan: RunPlan
    resumed: bool = False
    audits: Audits = field(default_factory=Audits, compare=False)


def open_run(
    tenant: TenantContext,
    tasks: Sequence[Task],
    ports: RunPorts,
    *,
    at: datetime,
    code_version: str = "unknown",
    bundle: str | None = None,
) -> PlannedRun | None:
    """Take up the run that was killed, else plan one over what waits; None where nothing waits.

    It is planned against the tenant's champion, with the experiment that runs, or against the
    `bundle` that is named, with none. Hold
    `ports.log.exclusive(tenant, RUN_KIND)` from here to `close_run`.
    A guarantee that drift or the audit speaks against is withdrawn first.
    """
    unfinished = ports.log.unfinished(tenant, RUN_KIND)
    if unfinished is not None:
        planned = PlannedRun(unfinished.run, RunPlan.of(unfinished.plan), resumed=True)
        _require_bundle(planned, bundle, ports)
        return planned
    fresh = next_run(tenant, tasks, ports, at=at, code_version=code_version, bundle=bundle)
    if fresh is not None:
        for one in deciding_bundles(fresh.plan.bundle, fresh.plan.challenge):
            withdraw_failed(tenant, tasks, one, ports.guarantees, now=at)
    if fresh is not None:
        ports.log.start(fresh.run, RUN_KIND, fresh.plan.as_dict())
    return fresh


def next_run(
    tenant: TenantContext,
    tasks: Sequence[Task],
    ports: RunPorts,
    *,
    at: datetime,
    code_version: str = "unknown",
    bundle: str | None = None,
) -> PlannedRun | None:
    """Plan a run over what waits, and write nothing; None where nothing waits."""
    waiting = ports.landings.waiting(tenant)
    if not waiting and not stranded_runs(tenant, ports.log):
        return None
    chosen, asked = bundle_to_plan(tenant, tasks, ports.promotion, bundle)
    run = RunContext.begin(
        tenant, kind=RUN_KIND, at=at, seed=chosen.seed, code_version=code_version
    )
    challenge = None if bundle else challenge_to_plan(tenant, tasks, chosen, ports.postgres)
    bundles = deciding_bundles(chosen, challenge)
    plan = plan_run(
        run,
        chosen,
        waiting,
        asked=asked,
        store=ports.store,
        log=ports.log,
        terms=terms_now(tenant, ports),
        challenge=challenge,
        routings=routings_to_plan(tenant, tasks, bundles, ports.guarantees, now=at),
    )
    return PlannedRun(run, plan)


def _require_bundle(planned: PlannedRun, asked: str | None, ports: RunPorts) -> None:
    """Raise `InputError` where an open run was planned against another bundle than is asked for."""
    if asked is None:
        return
    tenant, has = planned.run.tenant, planned.plan.bundle.bundle_id
    if ports.promotion.bundles.find(tenant, asked).bundle_id == has:
        return
    msg = (
        f"run {planned.run.run_id} is open and keeps {has}; finish it with "
        f"`plata run --tenant {tenant.tenant_id}`, or give it up with "
        f"`plata runs abandon {planned.run.run_id} --tenant {tenant.tenant_id}`"
    )
    raise InputError(msg)


def execute(
    planned: PlannedRun,
    ports: RunPorts,
    *,
    steps: Sequence[Step] = tuple(Step),
    on_step: OnStep = unobserved,
    tell: Tell = tell_nobody,
    around: Around = plainly,
) -> Mapping[str, float]:
    """Perform steps in order and return the seconds each took; `around` is handed each of them.

    A critical check that fails closes the run as FAILED. Whatever else goes wrong leaves it open,
    to be resumed.
    """
    seconds = {}
    for step in steps:
        began = time.perf_counter()
        try:
            work = partial(perform, step, planned, ports, on_step=on_step, tell=tell)
            with ports.events.step(planned.run, step.value):
                around(step, work)
        except RunFailedError as error:
            for contract in (*BRONZE, *SILVER, *GOLD):
                ports.store.discard(contract.table, planned.run)
            _catalogue(planned.run.tenant, ports)
            ports.log.finish(planned.run, RunStatus.FAILED, error=str(error))
            raise
        seconds[step.value] = time.perf_counter() - began
    return seconds


def perform(
    step: Step,
    planned: PlannedRun,
    ports: RunPorts,
    *,
    on_step: OnStep = unobserved,
    tell: Tell = tell_nobody,
) -> None:
    """Perform one step. Idempotent: what an earlier attempt wrote is not written again."""
    _STEPS[step](_Work(planned.run, planned.plan, ports, on_step, tell, planned.audits))


def close_run(
    planned: PlannedRun,
    ports: RunPorts,
    *,
    seconds: Mapping[str, float],
    on_step: OnStep = unobserved,
) -> tuple[RunManifest, RunStatus]:
    """Write the run's manifest and end it: DEGRADED where a check that is no more than a warning
    failed, else COMPLETED. Then the tables are tidied, which changes nothing about the run.
    """
    status = _status(planned.run, ports)
    manifest = _manifest(planned, ports, seconds)
    _catalogue(planned.run.tenant, ports)
    ports.log.finish(planned.run, status, manifest=manifest.as_dict())
    if ports.maintenance is not None:
        _tidy(planned.run, ports.maintenance, ports, on_step)
    return manifest, status


def _tidy(run: RunContext, maintenance: TableMaintenance, ports: RunPorts, on_step: OnStep) -> None:
    try:
        policy = upkeep_of(TenantDirectory(ports.postgres).config(run.tenant))
        keeper = Upkeep(run.tenant, maintenance, ports.log, policy=policy)
        done = keeper.tidy(now=run.started_at, on_step=on_step, failed=warned(run, ports.log))
        if done != Tidied():
            _catalogue(run.tenant, ports)
    except Exception as error:  # noqa: BLE001 — the run has ended, whatever becomes of its upkeep
        run_logger(run).warning("tidying_failed", error=f"{type(error).__name__}: {error}")


def _status(run: RunContext, ports: RunPorts) -> RunStatus:
    results = ports.log.quality(run.tenant, run.run_id)
    return RunStatus.COMPLETED if all(r.passed for r in results) else RunStatus.DEGRADED


def run_tenant(
    tenant: TenantContext,
    tasks: Sequence[Task],
    ports: RunPorts,
    *,
    at: datetime,
    code_version: str = "unknown",
    bundle: str | None = None,
    on_step: OnStep = unobserved,
    tell: Tell = tell_nobody,
) -> RunManifest | None:
    """Run a tenant from Raw to Gold; None where nothing waits. Raises `TenantBusyError`."""
    with ports.log.exclusive(tenant, RUN_KIND):
        planned = open_run(tenant, tasks, ports, at=at, code_version=code_version, bundle=bundle)
        if planned is None:
            return None
        seconds = execute(planned, ports, on_step=on_step, tell=tell)
        return close_run(planned, ports, seconds=seconds, on_step=on_step)[0]


def run_bronze(
    tenant: TenantContext,
    tasks: Sequence[Task],
    ports: RunPorts,
    *,
    at: datetime,
    code_version: str = "unknown",
    tell: Tell = tell_nobody,
) -> PlannedRun | None:
    """Take what waits to Bronze and leave the run open for Silver; None where nothing waits."""
    with ports.log.exclusive(tenant, RUN_KIND):
        planned = open_run(tenant, tasks, ports, at=at, code_version=code_version)
        if planned is not None:
            execute(planned, ports, steps=[Step.BRONZE], tell=tell)
        return planned


def run_silver(tenant: TenantContext, ports: RunPorts, *, tell: Tell = tell_nobody) -> PlannedRun:
    """Take an open run's Bronze to Silver. Raises `NothingToDoError` where no run is open."""
    with ports.log.exclusive(tenant, RUN_KIND):
        planned = _open_after_bronze(tenant, ports)
        steps = [
            Step.SILVER,
            Step.EMBEDDINGS,
            Step.ENTITIES,
            Step.CLASSIFICATIONS,
            Step.INDEX,
        ]
        execute(planned, ports, steps=steps, tell=tell)
        return planned


def run_gold(
    tenant: TenantContext,
    ports: RunPorts,
    *,
    at: datetime,
    code_version: str = "unknown",
    tell: Tell = tell_nobody,
) -> RunManifest:
    """Count Gold from Silver: as the end of an open run, else as a run of its own.

    Raises `NothingToDoError` where the open run has not finished Silver.
    """
    with ports.log.exclusive(tenant, RUN_KIND):
        record = ports.log.unfinished(tenant, RUN_KIND)
        if record is None:
            return _count_again(tenant, ports, at, code_version)
        planned = PlannedRun(record.run, RunPlan.of(record.plan), resumed=True)
        if not _silver_is_done(planned, ports):
            msg = (
                f"run {planned.run.run_id} has not finished Silver; "
                f"finish it with `plata run --tenant {tenant.tenant_id}`"
            )
            raise NothingToDoError(msg)
        seconds = execute(planned, ports, steps=[Step.INDEX, Step.GOLD], tell=tell)
        return close_run(planned, ports, seconds=seconds)[0]


@dataclass(frozen=True, slots=True)
class _Work:
    """One step at work."""

    run: RunContext
    plan: RunPlan
    ports: RunPorts
    on_step: OnStep
    tell: Tell
    audits: Audits

    def due(self) -> pa.Table:
        return pending_tickets(self.run, self.plan, self.ports.store)

    def enricher(self) -> Enricher:
        return Enricher(
            self.run,
            self.plan.bundle,
            self.ports.store,
            self.ports.registry,
            self.ports.models,
            self.ports.cluster,
            self.on_step,
            on_took=self._on_took(),
            routings=self.plan.routings,
        )

    def _on_took(self) -> OnTook:
        challenge = self.plan.challenge
        if challenge is None:
            return uncounted
        return recorder(self.run, challenge, self.ports.postgres)

    def progress(self, step: Step, total: int) -> Progress:
        meter = _Meter(step, total, self.tell)
        return meter.add

    def begun(self, layer: Sequence[Contract]) -> bool:
        return layer_begun(self.run, layer, store=self.ports.store)

    def audited(self, layer: Sequence[Contract]) -> list[QualityResult]:
        ports = self.ports
        return audit_staged(self.run, layer, store=ports.store, log=ports.log, audits=self.audits)

    def publish(self, layer: Sequence[Contract]) -> None:
        publish_layer(self.run, layer, store=self.ports.store, on_step=self.on_step)

    def judge(self, results: list[QualityResult]) -> None:
        self.ports.log.record_quality(self.run, results)
        require(results)


@dataclass(slots=True)
class _Meter:
    step: Step
    total: int
    tell: Tell
    done: int = field(default=0)

    def __post_init__(self) -> None:
        self.tell(self.step, 0, self.total)

    def add(self, rows: int) -> None:
        self.done += rows
        self.tell(self.step, self.done, self.total)


def _bronze(work: _Work) -> None:
    landings = planned_landings(work.plan, work.run.tenant, work.ports.landings)
    if not work.begun(BRONZE):
        stage_landings(
            work.run,
            landings,
            store=work.ports.store,
            files=work.ports.files,
            at=work.plan.version(PQRS_EVENTS.table),
            on_step=work.on_step,
            progress=work.progress(Step.BRONZE, sum(landing.events or 0 for landing in landings)),
            audits=work.audits,
        )
        work.judge(work.audited(BRONZE))
    work.publish(BRONZE)
    work.on_step("before consume")
    work.ports.landings.consume(work.run, landings)
    work.on_step("after consume")


def _silver(work: _Work) -> None:
    if work.begun(SILVER):
        return
    own = [*(RunId(name) for name in work.plan.carried), work.run.run_id]
    wanted = SilverInput(own, work.plan.versions)
    found = refine_events(
        work.run, wanted, store=work.ports.store, on_step=work.on_step, audits=work.audits
    )
    work.judge(found)


def _embeddings(work: _Work) -> None:
    due = work.due()
    work.enricher().embed(due, progress=work.progress(Step.EMBEDDINGS, len(due)))


def _entities(work: _Work) -> None:
    if not work.plan.bundle.entities:  # nobody asks for a text
        return
    due = work.due()
    total = len(due) * len(work.plan.bundle.entities)
    work.enricher().extract(due, progress=work.progress(Step.ENTITIES, total))


def _classifications(work: _Work) -> None:
    enricher, challenge = work.enricher(), work.plan.challenge
    tickets, expected, arms, aside = 0, 0, [(enricher, pa.table({}))], []
    if enricher.voices():  # else nobody asks for a text
        due = work.due()
        tickets, arms = len(due), arms_of(enricher, challenge, due)
        expected = sum(len(rows) * arm.voices() for arm, rows in arms)
        progress = work.progress(Step.CLASSIFICATIONS, expected)
        for arm, rows in arms:
            arm.classify(rows, progress=progress)
        shadow = shadow_of(enricher, challenge)
        if shadow is not None and not work.begun(SILVER):
            aside = [ask_shadow(shadow, due)]
    if not work.begun(SILVER):
        parts = work.ports.store.staged(CLASSIFICATIONS.table, work.run)
        given = sum(part.rows for part in parts)
        fallen = sum((arm.fallen() for arm, _ in arms), Counter[tuple[str, str]]())
        every = every_answer(given, expected - fallen.total())
        own = [*_own_answers(fallen, tickets), *_guarantees(work.plan)]
        work.judge([*work.audited(SILVER), every, *own, *aside])
    work.publish(SILVER)


def _index(work: _Work) -> None:
    due = work.due()
    progress = work.progress(Step.INDEX, len(due))
    work.enricher().index(work.ports.index, due, progress=progress)


def _gold(work: _Work) -> None:
    labels_at = work.plan.version(LABELS.table)
    publish_gold(work.run, work.ports, labels_at, work.plan.sla, work.on_step)


_STEPS: Mapping[Step, Callable[[_Work], None]] = {
    Step.BRONZE: _bronze,
    Step.SILVER: _silver,
    Step.EMBEDDINGS: _embeddings,
    Step.ENTITIES: _entities,
    Step.CLASSIFICATIONS: _classifications,
    Step.INDEX: _index,
    Step.GOLD: _gold,
}


_EVERY_ANSWER = "every due ticket has every model's answer"


def every_answer(given: int, expected: int) -> QualityResult:
    """Compare how many answers there are with tickets times models."""
    table = CLASSIFICATIONS.table
    return QualityResult(
        table.layer.value,
        table.entity,
        _EVERY_ANSWER,
        "critical",
        given == expected,
        str(given),
        str(expected),
    )


_OWN_ANSWERS = "every champion answers by itself"


def _own_answers(fallen: Counter[tuple[str, str]], due: int) -> list[QualityResult]:
    """Warn where the baseline stood in for a champion, and say how often and why."""
    if not fallen:
        return []
    found = ", ".join(f"{task} {n} ({reason})" for (task, reason), n in sorted(fallen.items()))
    table = CLASSIFICATIONS.table
    return [
        QualityResult(
            table.layer.value,
            table.entity,
            _OWN_ANSWERS,
            "warning",
            False,
            f"the baseline answered for {found} of {due}",
            "0",
        )
    ]


_GUARANTEED = "every guarantee that is asked for holds"


def _guarantees(plan: RunPlan) -> list[QualityResult]:
    """Warn of the tasks that ask for a guarantee and have none: nothing of theirs is accepted."""
    if not plan.routings:
        return []
    missing = [one for one in plan.routings if one.guarantee_id is None]
    found = "; ".join(f"{one.task} of {one.bundle_id} has none ({one.reason})" for one in missing)
    table = CLASSIFICATIONS.table
    return [
        QualityResult(
            table.layer.value,
            table.entity,
            _GUARANTEED,
            "warning",
            not missing,
            f"nothing is accepted: {found}" if missing else "all hold",
            "all hold",
        )
    ]


def routings_now(
    tenant: TenantContext, bundles: Sequence[Bundle], ports: RunPorts, *, now: datetime
) -> tuple[PinnedRouting, ...]:
    """Return what bundles may accept of the tasks that ask for a guarantee, as configured now."""
    config = TenantDirectory(ports.postgres).config(tenant)
    if config is None:
        return ()
    tasks = tasks_of(config.values, tenant)
    return routings_to_plan(tenant, tasks, bundles, ports.guarantees, now=now)


def terms_now(tenant: TenantContext, ports: RunPorts) -> SlaTerms:
    """Return the legal terms of the tenant's newest configuration."""
    return terms_of(TenantDirectory(ports.postgres).config(tenant))


def publish_gold(
    run: RunContext, ports: RunPorts, labels_at: int | None, terms: SlaTerms, on_step: OnStep
) -> None:
    """Count Gold from Silver as it stands; judge it, then write and serve it."""
    view = read_silver(run, ports.store, labels_at=labels_at, terms=terms)
    figures = count_gold(view, run)
    results = [*check_gold(figures, view), *audit_rows(run, figures, log=ports.log)]
    ports.log.record_quality(run, results)
    require(results)
    write_gold(figures, run, store=ports.store, on_step=on_step)
    serve_gold(figures, run, postgres=ports.postgres, on_step=on_step)


def _count_again(
    tenant: TenantContext, ports: RunPorts, at: datetime, code_version: str
) -> RunManifest:
    run = RunContext.begin(tenant, kind=GOLD_KIND, at=at, code_version=code_version)
    killed = ports.log.unfinished(tenant, GOLD_KIND)
    if killed is not None:
        reason = f"killed; {run.run_id} counted instead"
        ports.log.finish(killed.run, RunStatus.FAILED, error=reason)
    inputs = _heads(tenant, ports, SILVER)
    labels_at = next((s.version for s in inputs if s.table == LABELS.table), None)
    terms = terms_now(tenant, ports)
    versions = {str(s.table): s.version for s in inputs}
    ports.log.start(run, GOLD_KIND, {"versions": versions, "sla": msgspec.to_builtins(terms)})
    began = time.perf_counter()
    try:
        with ports.events.step(run, Step.GOLD.value):
            publish_gold(run, ports, labels_at, terms, unobserved)
    except RunFailedError as error:
        ports.log.finish(run, RunStatus.FAILED, error=str(error))
        raise
    contents = written_by(run, ports.store, GOLD)
    manifest = RunManifest(
        run,
        inputs=inputs,
        outputs=_heads(tenant, ports, GOLD),
        counts={table: content.rows for table, content in contents.items()},
        contents=contents,
        environment=Environment.here(),
        seconds={Step.GOLD.value: time.perf_counter() - began},
    )
    _catalogue(tenant, ports)
    ports.log.finish(run, _status(run, ports), manifest=manifest.as_dict())
    return manifest


def _catalogue(tenant: TenantContext, ports: RunPorts) -> None:
    refresh_catalogue(tenant, store=ports.store, catalogue=TableCatalogue(ports.postgres))


def _open_after_bronze(tenant: TenantContext, ports: RunPorts) -> PlannedRun:
    record = ports.log.unfinished(tenant, RUN_KIND)
    if record is None:
        msg = (
            "no run waits for Silver; take files to Bronze first with "
            f"`plata run --only bronze --tenant {tenant.tenant_id}`"
        )
        raise NothingToDoError(msg)
    planned = PlannedRun(record.run, RunPlan.of(record.plan), resumed=True)
    if not _bronze_is_done(planned, ports):
        execute(planned, ports, steps=[Step.BRONZE])
    return planned


def _bronze_is_done(planned: PlannedRun, ports: RunPorts) -> bool:
    waiting = {landing.content_sha256 for landing in ports.landings.waiting(planned.run.tenant)}
    return not waiting & set(planned.plan.landings)


def _silver_is_done(planned: PlannedRun, ports: RunPorts) -> bool:
    """Tell by the last check of the layer, and by whether any of it waits to be published."""
    results = ports.log.quality(planned.run.tenant, planned.run.run_id)
    judged = any(result.check == _EVERY_ANSWER and result.passed for result in results)
    return judged and not any(ports.store.staged(c.table, planned.run) for c in SILVER)


def _manifest(planned: PlannedRun, ports: RunPorts, seconds: Mapping[str, float]) -> RunManifest:
    run, plan = planned.run, planned.plan
    landings = planned_landings(plan, run.tenant, ports.landings)
    refs = {str(contract.table): contract.table for contract in (*BRONZE, *SILVER)}
    inputs = tuple(
        Snapshot(refs[name], run.tenant.tenant_id, version)
        for name, version in plan.versions.items()
        if version is not None
    )
    contents = written_by(run, ports.store, (*BRONZE, *SILVER, *GOLD))
    return RunManifest(
        run,
        files=tuple(_file(landing) for landing in landings),
        inputs=inputs,
        outputs=_heads(run.tenant, ports, (*BRONZE, *SILVER, *GOLD)),
        pins={
            **_bundle_pins(plan),
            **plan.bundle.pins(),
            **_guarantee_pins(plan),
            "sla": str(plan.sla),
        },
        digests=_digests(plan),
        counts={table: content.rows for table, content in contents.items()},
        contents=contents,
        environment=Environment.here(),
        seconds=seconds,
        spent=tuple(LlmLedger(ports.postgres).spent(run.tenant, run.run_id)),
    )


def _bundle_pins(plan: RunPlan) -> dict[str, str]:
    asked = {"bundle.asked": plan.bundle_asked} if plan.bundle_asked else {}
    pins = {"bundle": plan.bundle.bundle_id, **asked}
    if plan.challenge is None:
        return pins
    challenger = plan.challenge.bundle
    own = {f"challenger.{name}": pin for name, pin in challenger.pins().items()}
    said = {"experiment": plan.challenge.experiment_id, "challenger": challenger.bundle_id}
    return {**pins, **said, **own}


def _guarantee_pins(plan: RunPlan) -> dict[str, str]:
    """Say by which guarantee each task was routed, or why by none."""
    own = plan.bundle.bundle_id
    return {
        f"{'' if one.bundle_id == own else 'challenger.'}{one.task}.guarantee": one.guarantee_id
        or f"none ({one.reason})"
        for one in plan.routings
    }


def _digests(plan: RunPlan) -> dict[str, str]:
    if plan.challenge is None:
        return plan.bundle.digests()
    own = plan.challenge.bundle.digests()
    return {**plan.bundle.digests(), **{f"challenger.{name}": own[name] for name in own}}


def _file(landing: Landing) -> FileInput:
    return FileInput(landing.path, landing.landed_sha256 or "", landing.events or 0)


def _heads(
    tenant: TenantContext, ports: RunPorts, contracts: Sequence[Contract]
) -> tuple[Snapshot, ...]:
    heads = (ports.store.head(contract.table, tenant) for contract in contracts)
    return tuple(head for head in heads if head is not None)


def written_by(
    run: RunContext, store: VersionedTableStore, contracts: Sequence[Contract]
) -> dict[str, Content]:
    """Say what the run wrote to every table, as its commits do; rows are read where none does."""
    told = {contract: store.content(contract.table, run) for contract in contracts}
    read = contents_of(run, store, [c for c, content in told.items() if content is None])
    return {str(c.table): content or read[str(c.table)] for c, content in told.items()}


def contents_of(
    run: RunContext, store: VersionedTableStore, contracts: Sequence[Contract]
) -> dict[str, Content]:
    """Hash the run's own rows in every table as they stand there, whichever attempt wrote them."""
    found = {}
    for contract in contracts:
        rows = store.scan(contract.table, run.tenant, run_id=run.run_id)
        found[str(contract.table)] = Content() if rows is None else content_of(rows)
    return found
