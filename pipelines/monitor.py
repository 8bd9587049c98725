"""Watch for drift: compare what a champion answered with the reference kept with its version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.text import describe
from lakehouse.control.drift import DriftLog, DriftMeasure, DriftRecord
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError, PlataError
from lakehouse.manifest import RunManifest
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from models.folder import REFERENCE_FILE
from models.task import Task
from monitoring.drift import (
    COLUMNS,
    EMBEDDING,
    LABEL,
    SCORE,
    ColumnDrift,
    DriftPolicy,
    DriftReport,
    detect_drift,
    sample,
    without_reference,
)
from monitoring.report import DrawnReport, ReportOrder, draw_reports
from pipelines.answered import asked_text, first_words, standing_answers, vectors_of
from pipelines.plan import RUN_KIND
from registry.refs import ModelRef, Registry

DRIFT_KIND = "drift"

_RECENT_RUNS = 200

Draw = Callable[[Sequence[ReportOrder]], list[DrawnReport]]


@dataclass(frozen=True, slots=True)
class Window:
    """Which answers to look at: of one run, of tickets between two days (inclusive), or all."""

    run_id: RunId | None = None
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            msg = f"the window begins on {self.since}, after its end on {self.until}"
            raise InputError(msg)


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found for one task. `evidently` and `html` are empty where nothing was drawn."""

    task: str
    model: ModelRef
    report: DriftReport
    evidently: tuple[ColumnDrift, ...] = ()
    html: Path | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """A task and the exact model whose answers to it are looked at."""

    task: Task
    model: ModelRef


def watch(
    run: RunContext,
    subjects: Sequence[Subject],
    window: Window,
    *,
    store: TableStore,
    registry: Registry,
    log: DriftLog,
    reports: Path,
    policy: DriftPolicy,
    draw: Draw = draw_reports,
) -> list[Watched]:
    """Compare, draw and record every subject, in the name of `run`; twice replaces its own.

    Reports go to `<reports>/<tenant>/<run>/<task>/`. Our own numbers give the verdict; Evidently's
    stand beside them. A model without a reference, and too few rows, are verdicts too.
    """
    pairs = [_pair(subject, window, run.tenant, store, registry, policy) for subject in subjects]
    found = [_compared(*pair, policy=policy, seed=run.seed) for pair in pairs]
    root = reports / run.tenant.tenant_id / run.run_id
    orders = {
        subject.task.name: _order(*pair, folder=root / subject.task.name, policy=policy, run=run)
        for subject, pair, report in zip(subjects, pairs, found, strict=True)
        if report.columns
    }
    drawn = dict(zip(orders, draw(list(orders.values())), strict=True))
    watched = [
        _watched(subject, report, drawn.get(subject.task.name))
        for subject, report in zip(subjects, found, strict=True)
    ]
    for result in watched:
        log.record(run, _record(run, result))
    return watched


def watch_as_run(
    run: RunContext,
    subjects: Sequence[Subject],
    window: Window,
    *,
    store: TableStore,
    registry: Registry,
    log: DriftLog,
    runs: RunLog,
    reports: Path,
    policy: DriftPolicy,
    draw: Draw = draw_reports,
) -> list[Watched]:
    """Do `watch` as a run of its own, in the log of runs with the versions it looked at."""
    pins = {f"{s.task.name}.champion": s.model.uri for s in subjects}
    wanted = {name: None if v is None else str(v) for name, v in asdict(window).items()}
    runs.start(run, DRIFT_KIND, {"pins": pins, "window": wanted})
    try:
        watched = watch(
            run,
            subjects,
            window,
            store=store,
            registry=registry,
            log=log,
            reports=reports,
            policy=policy,
            draw=draw,
        )
    except PlataError as error:
        runs.finish(run, RunStatus.FAILED, error=str(error))
        raise
    counts = {f"compared.{w.task}": w.report.current_rows for w in watched}
    manifest = RunManifest(run, pins=pins, counts=counts)
    runs.finish(run, RunStatus.COMPLETED, manifest=manifest.as_dict())
    return watched


def newest_run(tenant: TenantContext, runs: RunLog) -> RunId | None:
    """Return the last run from Raw to Gold, None where there was none lately."""
    recent = runs.recent(tenant, limit=_RECENT_RUNS)
    return next((record.run.run_id for record in recent if record.kind == RUN_KIND), None)


def read_reference(model: ModelRef, registry: Registry) -> pa.Table | None:
    """Return what the model's version was trained on, as `COLUMNS`; None where it keeps none."""
    path = registry.fetch(model) / REFERENCE_FILE
    return pq.read_table(path) if path.is_file() else None


def current_rows(
    subject: Subject, window: Window, tenant: TenantContext, store: TableStore
) -> pa.Table:
    """Return the model's newest answers in the window as `COLUMNS`, in the order of tickets.

    A ticket whose text or vector is not in Silver is left out.
    """
    task, model = subject.task, subject.model
    answers = _within(window, standing_answers(task.name, tenant, store, run_id=window.run_id))
    named = pc.equal(answers["model_name"], model.name)
    answers = answers.filter(pc.and_(named, pc.equal(answers["model_version"], model.version)))
    vectors = vectors_of(answers, tenant, store)
    words = first_words(answers["ticket_id"], tenant, store)
    words = words.filter(pc.is_in(words["ticket_id"], value_set=_flat(vectors["ticket_id"])))
    ours = answers.take(_places(words["ticket_id"], answers["ticket_id"]))
    near = vectors.take(_places(words["ticket_id"], vectors["ticket_id"]))
    described = describe(_flat(asked_text(words, task.text_field)))
    columns = {name: described[name] for name in described.column_names}
    columns |= {LABEL: ours["predicted_label"], SCORE: ours["score"], EMBEDDING: near["embedding"]}
    return pa.table({name: columns[name] for name in COLUMNS})


def _pair(
    subject: Subject,
    window: Window,
    tenant: TenantContext,
    store: TableStore,
    registry: Registry,
    policy: DriftPolicy,
) -> tuple[pa.Table | None, pa.Table]:
    reference = read_reference(subject.model, registry)
    return reference, current_rows(subject, window, tenant, store)


def _compared(
    reference: pa.Table | None, current: pa.Table, *, policy: DriftPolicy, seed: int
) -> DriftReport:
    if reference is None:
        return without_reference(len(current))
    return detect_drift(reference, current, policy, seed=seed)


def _order(
    reference: pa.Table, current: pa.Table, *, folder: Path, policy: DriftPolicy, run: RunContext
) -> ReportOrder:
    before, after = (
        sample(rows, policy.report_rows, seed=run.seed) for rows in (reference, current)
    )
    return ReportOrder(before, after, folder, policy.risk)


def _watched(subject: Subject, report: DriftReport, drawn: DrawnReport | None) -> Watched:
    if drawn is None:
        return Watched(subject.task.name, subject.model, report)
    return Watched(subject.task.name, subject.model, report, drawn.columns, drawn.html)


def _record(run: RunContext, watched: Watched) -> DriftRecord:
    report = watched.report
    return DriftRecord(
        run_id=run.run_id,
        task=watched.task,
        model=watched.model.uri,
        verdict=report.verdict.value,
        reference_rows=report.reference_rows,
        current_rows=report.current_rows,
        report_path=None if watched.html is None else str(watched.html),
        measured_at=run.started_at,
        measures=tuple(
            DriftMeasure(c.feature, c.method, c.score, c.threshold, c.drifted)
            for c in (*report.columns, *watched.evidently)
        ),
    )


def _within(window: Window, answers: pa.Table) -> pa.Table:
    if window.since is not None:
        answers = answers.filter(pc.greater_equal(answers["day"], window.since))
    if window.until is not None:
        answers = answers.filter(pc.less_equal(answers["day"], window.until))
    return answers


def _places(wanted: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.index_in(wanted, value_set=_flat(among))


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
