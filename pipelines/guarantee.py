"""Guarantees at work: issued from Silver, judged before every run, withdrawn where they fail.

The sample is every ticket the audit drew, of the runs in which a bundle of the same answers said
something about tickets as they came in. Answers given again to past tickets are not in it: what
people had said of those may have taught the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from contracts.tables import CLASSIFICATIONS, LABELS
from lakehouse.control.drift import DriftLog
from lakehouse.control.guarantees import GuaranteeLog, GuaranteeRecord, Withdrawal
from lakehouse.control.postgres import Postgres
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError
from lakehouse.telemetry import tenant_logger
from lakehouse.tenancy import TenantContext
from models.guarantee import (
    WINDOW,
    Guarantee,
    GuaranteeTerms,
    Lapse,
    Looked,
    Promise,
    Standing,
    promises_of,
    standing,
)
from models.routing import Decision, PinnedRouting
from models.task import Task
from monitoring.drift import DriftVerdict
from pipelines.answered import CHAMPION, with_columns
from pipelines.plan import RUN_KIND
from pipelines.standing_labels import standing_labels
from registry.bundle_log import BundleLog
from registry.bundles import Bundle
from registry.refs import text_digest

PLATA = "plata"
"""Who withdraws what a person did not."""

_REMEMBERED_REPORTS = 200
_ANSWER = [
    "ticket_id",
    "run_id",
    "task",
    "tier",
    "predicted_label",
    "score",
    "decision",
    "drawn",
    "guarantee_id",
    "fallback_reason",
    "bundle_id",
    "inference_timestamp",
]


@dataclass(frozen=True, slots=True)
class GuaranteePorts:
    """What guarantees are made from and judged by."""

    store: TableStore
    log: GuaranteeLog
    drift: DriftLog
    bundles: BundleLog

    @classmethod
    def over(cls, postgres: Postgres, store: TableStore) -> GuaranteePorts:
        """Build them on the control plane's database."""
        return cls(store, GuaranteeLog(postgres), DriftLog(postgres), BundleLog(postgres))


@dataclass(frozen=True, slots=True)
class Issued:
    """A guarantee, and the answers it was proven from (see `promises_of`)."""

    guarantee: Guarantee
    answers: pa.Table


def issue(
    tenant: TenantContext,
    task: Task,
    bundle: Bundle,
    ports: GuaranteePorts,
    *,
    at: datetime,
    by: str,
    until: datetime | None = None,
) -> Guarantee:
    """Prove what can be proven now and record it, also where that is nothing: the newest counts.

    `until` leaves out what was answered later, for people to have had the time; it is to be chosen
    by the calendar, not by what they said. Raises `InputError` where nothing was drawn.
    """
    made = prove(tenant, task, bundle, ports, at=at, until=until)
    ports.log.record(tenant, _record(made.guarantee, by))
    return made.guarantee


def prove(
    tenant: TenantContext,
    task: Task,
    bundle: Bundle,
    ports: GuaranteePorts,
    *,
    at: datetime,
    until: datetime | None = None,
) -> Issued:
    """Do as `issue`, and record nothing."""
    terms = terms_of(task)
    heads = [ports.store.head(table.table, tenant) for table in (LABELS, CLASSIFICATIONS)]
    answers = sampled_answers(tenant, task, bundle, ports, at=at, until=until)
    drawn = answers.filter(pl.col("drawn"))
    if drawn.is_empty():
        msg = (
            f"no ticket of '{tenant.tenant_id}' was drawn for task '{task.name}' with the answers "
            f"of {bundle.bundle_id}; run with an audit_share above 0, and let people answer"
        )
        raise InputError(msg)
    rows = answers.select("predicted_label", "score", "drawn", "right").to_arrow()
    moments = drawn["inference_timestamp"]
    first, last = moments.min(), moments.max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    made = Guarantee(
        guarantee_id="",
        task=task.name,
        bundle_id=bundle.bundle_id,
        terms=terms,
        promises=promises_of(rows, terms, task.labels),
        first=first,
        last=last,
        labels_version=None if heads[0] is None else heads[0].version,
        answers_version=None if heads[1] is None else heads[1].version,
        issued_at=at,
    )
    name = text_digest(f"{tenant.tenant_id}/{made.as_dict()}")[:12]
    return Issued(replace(made, guarantee_id=f"guarantee-{name}"), rows)


def terms_of(task: Task) -> GuaranteeTerms:
    """Return what a task asks for. Raises `InputError` where it asks for nothing."""
    if task.guarantee is None:
        msg = (
            f"task '{task.name}' asks for no guarantee; write `guarantee: {{alpha: 0.05}}` under "
            "its `routing` and configure the tenant with it"
        )
        raise InputError(msg)
    return task.guarantee


def sampled_answers(
    tenant: TenantContext,
    task: Task,
    bundle: Bundle,
    ports: GuaranteePorts,
    *,
    at: datetime,
    until: datetime | None = None,
) -> pl.DataFrame:
    """Return the answers a guarantee rests on, of tickets as they came in, each once.

    Beside the columns of Silver, `right` says whether the label that stood at `at` agrees: null
    where there was none.
    """
    same = _same_answers(tenant, task.name, bundle, ports.bundles)
    asked = (
        _answers(tenant, task.name, ports.store)
        .filter(
            pl.col("bundle_id").is_in(same),
            pl.col("run_id").str.starts_with(f"{RUN_KIND}-"),
            pl.col("drawn").is_not_null(),
            pl.col("fallback_reason").is_null(),
            pl.col("inference_timestamp") <= (at if until is None else min(at, until)),
        )
        .sort("inference_timestamp", "run_id")
        .unique("ticket_id", keep="last", maintain_order=True)
    )
    return _judged(asked, tenant, task.name, ports.store, at=at)


def _answers(tenant: TenantContext, task: str, store: TableStore) -> pl.DataFrame:
    rows = store.scan(CLASSIFICATIONS.table, tenant, columns=_ANSWER)
    found = CLASSIFICATIONS.empty() if rows is None else rows
    frame = pl.from_arrow(with_columns(found, CLASSIFICATIONS, _ANSWER))
    assert isinstance(frame, pl.DataFrame)
    return frame.filter(task=task, tier=CHAMPION)


def _judged(
    answers: pl.DataFrame, tenant: TenantContext, task: str, store: TableStore, *, at: datetime
) -> pl.DataFrame:
    said = pl.from_arrow(standing_labels(task, tenant, store, as_of=at))
    assert isinstance(said, pl.DataFrame)
    known = said.select("ticket_id", "label")
    joined = answers.join(known, on="ticket_id", how="left", maintain_order="left")
    right = (pl.col("label") == pl.col("predicted_label")).alias("right")
    return joined.with_columns(right)


def _same_answers(
    tenant: TenantContext, task: str, bundle: Bundle, bundles: BundleLog
) -> list[str]:
    """Name the bundles that answer the task alike: what was said of the one holds for another."""
    wanted = bundle.answers_id(task)
    every = (kept.bundle for kept in bundles.all(tenant))
    having = (one for one in every if any(pins.task == task for pins in one.tasks))
    return sorted(
        {bundle.bundle_id, *(o.bundle_id for o in having if o.answers_id(task) == wanted)}
    )


def standing_of(
    tenant: TenantContext, task: Task, bundle: Bundle, ports: GuaranteePorts, *, now: datetime
) -> Standing:
    """Judge the newest guarantee of a task for a bundle; reads, writes nothing."""
    terms = terms_of(task)
    record = ports.log.newest(tenant, task.name, bundle_id=bundle.bundle_id)
    record = record or ports.log.newest(tenant, task.name)
    if record is None:
        return standing(None, now=now, bundle_id=bundle.bundle_id, terms=terms)
    found = Guarantee.of(record.content)
    if record.withdrawal is not None:
        return Standing(found, Lapse(record.withdrawal.lapse), record.withdrawal.why)
    return standing(
        found,
        now=now,
        bundle_id=bundle.bundle_id,
        terms=terms,
        drifted=_drifted(tenant, bundle, found, ports.drift),
        since=looks(tenant, found, ports.store, now=now),
    )


def looks(
    tenant: TenantContext, guarantee: Guarantee, store: TableStore, *, now: datetime
) -> list[Looked]:
    """Count what the audit found, since, of the answers that were accepted under a guarantee."""
    given = _answers(tenant, guarantee.task, store).filter(
        guarantee_id=guarantee.guarantee_id, decision=Decision.AUDIT.value
    )
    checked = (
        _judged(given, tenant, guarantee.task, store, at=now)
        .filter(pl.col("right").is_not_null())
        .sort("inference_timestamp", "ticket_id")
    )
    return [_looked(promise, checked) for promise in guarantee.promises]


def _looked(promise: Promise, checked: pl.DataFrame) -> Looked:
    own = checked.filter(pl.col("predicted_label").is_in(promise.labels))
    wrong = ~own["right"]
    return Looked(
        labels=promise.labels,
        checked=len(own),
        wrong=int(wrong.sum()),
        newest=min(len(own), WINDOW),
        newest_wrong=int(wrong.tail(WINDOW).sum()),
    )


def _drifted(
    tenant: TenantContext, bundle: Bundle, guarantee: Guarantee, drift: DriftLog
) -> str | None:
    """Say which report found drift of the model that answers, after the guarantee was issued."""
    champion = next(pins.champion for pins in bundle.tasks if pins.task == guarantee.task)
    for report in drift.recent(tenant, task=guarantee.task, limit=_REMEMBERED_REPORTS):
        late = report.measured_at > guarantee.issued_at
        if late and report.model == champion.uri and report.verdict == DriftVerdict.DRIFT:
            return f"{report.run_id} found drift in {report.model}"
    return None


def withdraw(
    tenant: TenantContext,
    task: str,
    log: GuaranteeLog,
    *,
    at: datetime,
    by: str,
    reason: str,
) -> GuaranteeRecord:
    """Withdraw the newest guarantee of a task. Raises `InputError` where none stands."""
    record = log.newest(tenant, task)
    if record is None or record.withdrawal is not None:
        found = "none yet" if record is None else f"{record.guarantee_id}, withdrawn already"
        msg = f"task '{task}' of '{tenant.tenant_id}' has no guarantee to withdraw ({found})"
        raise InputError(msg)
    ended = Withdrawal(by, at, Lapse.PERSON.value, reason)
    log.withdraw(tenant, record.guarantee_id, ended)
    return replace(record, withdrawal=ended)


def withdraw_failed(
    tenant: TenantContext,
    tasks: Sequence[Task],
    bundle: Bundle,
    ports: GuaranteePorts,
    *,
    now: datetime,
) -> list[Standing]:
    """Withdraw the bundle's guarantees that drift or the audit speaks against, for good.

    Age and another bundle need no row: they are plain to see, and the bundle may come back.
    """
    failed = []
    for task in _asking(tasks, bundle):
        found = standing_of(tenant, task, bundle, ports, now=now)
        if found.guarantee is None or found.lapse not in (Lapse.DRIFT, Lapse.ERRORS):
            continue
        ended = Withdrawal(PLATA, now, found.lapse.value, found.why)
        if ports.log.withdraw(tenant, found.guarantee.guarantee_id, ended):
            tenant_logger(tenant).warning("guarantee_withdrawn", **_told(found))
            failed.append(found)
    return failed


def routings_to_plan(
    tenant: TenantContext,
    tasks: Sequence[Task],
    bundles: Sequence[Bundle],
    ports: GuaranteePorts,
    *,
    now: datetime,
) -> tuple[PinnedRouting, ...]:
    """Say what each bundle may accept of the tasks that ask for a guarantee.

    Where none holds nothing is accepted, which is logged here and told by the run's checks.
    """
    found = []
    for bundle in bundles:
        for task in _asking(tasks, bundle):
            judged = standing_of(tenant, task, bundle, ports, now=now)
            if not judged.valid:
                told = {"task": task.name, "bundle_id": bundle.bundle_id, **_told(judged)}
                tenant_logger(tenant).warning("guarantee_missing", **told)
            found.append(judged.routing(task.name, bundle.bundle_id))
    return tuple(found)


def _asking(tasks: Sequence[Task], bundle: Bundle) -> list[Task]:
    answered = {pins.task for pins in bundle.tasks}
    return [task for task in tasks if task.guarantee is not None and task.name in answered]


def _told(found: Standing) -> dict[str, Any]:
    own = {} if found.guarantee is None else {"guarantee_id": found.guarantee.guarantee_id}
    return {**own, "lapse": str(found.lapse), "why": found.why}


def _record(guarantee: Guarantee, by: str) -> GuaranteeRecord:
    return GuaranteeRecord(
        guarantee_id=guarantee.guarantee_id,
        task=guarantee.task,
        bundle_id=guarantee.bundle_id,
        issued_by=by,
        issued_at=guarantee.issued_at,
        expires_at=guarantee.expires_at,
        content=guarantee.as_dict(),
    )
