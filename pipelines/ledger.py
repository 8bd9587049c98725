"""Who writes the ledger: what people say in the queue becomes facts of Silver `labels`, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.quality import CRITICAL
from contracts.tables import LABELS
from labeling.ledger import AUDIT, Fact
from labeling.observed import Seen, disputes_of, news, out_of_sight, subject_of
from labeling.queue import Reason, ReviewQueue
from lakehouse.control.runs import QualityResult, RunLog, RunStatus
from lakehouse.data.tables import TableStore
from lakehouse.errors import TenantMismatchError
from lakehouse.manifest import RunManifest
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.errors import RunFailedError
from pipelines.quality import audit_rows, require
from pipelines.standing_labels import label_facts

PULL_KIND = "review-pull"
"""The kind of run that writes what the queue shows. Whoever writes labels holds its lock."""

_LABELS = (Fact.SUBMITTED.value, Fact.ADJUDICATED.value)
"""The facts that bring a label."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought. `run_id` is None where there was nothing new; `added` is by task.

    `facts` counts all that was written by what it tells. `out_of_sight` counts by task the answers
    that stand and whose tickets are in no queue any more: a dataset or records were deleted there.
    """

    run_id: str | None
    added: Mapping[str, int]
    facts: Mapping[str, int] = field(default_factory=dict)
    out_of_sight: Mapping[str, int] = field(default_factory=dict)


def pull(
    run: RunContext, tasks: Sequence[Task], *, store: TableStore, queue: ReviewQueue, log: RunLog
) -> Pulled:
    """Write what the queues show and Silver does not know yet to `labels`, all at once.

    Every queue is read before anything is written. Doing it twice adds nothing, in whatever state
    the first was killed; an answer that was changed, discarded or taken back since is one more
    fact. Raises `RunFailedError`, and writes nothing, where one breaks the contract of labels or is
    no label of its task.
    """
    with log.exclusive(run.tenant, PULL_KIND):
        close_killed(run.tenant, PULL_KIND, store=store, log=log)
        names = [task.name for task in tasks]
        queues = [queue_name for task in names for queue_name in (task, disputes_of(task))]
        shown = [case for name in queues for case in queue.cases(name, run.tenant)]
        accounts = queue.accounts(run.tenant)
        known = label_facts(run.tenant, store).filter(pl.col("task").is_in(names))
        fresh = news(shown, accounts, known)
        rows = fact_rows(fresh, known, run)
        added = Counter(row["task"] for row in rows.to_pylist() if row["fact"] in _LABELS)
        pulled = Pulled(
            run.run_id if fresh else None,
            {name: added[name] for name in names},
            dict(Counter(one.fact.value for one in fresh)),
            out_of_sight(shown, known),
        )
        if fresh:
            write_facts(run, PULL_KIND, rows, tasks, store=store, log=log)
        return pulled


def fact_rows(seen: Sequence[Seen], known: pl.DataFrame, run: RunContext) -> pa.Table:
    """Shape facts as rows of `labels`. Raises `TenantMismatchError` for another tenant's.

    What was asked because of a dispute keeps the reason for which the ticket was asked first.
    """
    foreign = {one.case.id.tenant_id for one in seen} - {run.tenant.tenant_id}
    if foreign:
        msg = f"answers for tenant '{run.tenant.tenant_id}' are about cases of {sorted(foreign)}"
        raise TenantMismatchError(msg)
    drawn = frozenset(known.filter(reason=AUDIT).select("task", "ticket_id").iter_rows())
    rows = [_row(one, run, drawn) for one in seen]
    return pa.Table.from_pylist(rows, schema=LABELS.schema)


def write_facts(
    run: RunContext,
    kind: str,
    rows: pa.Table,
    tasks: Sequence[Task],
    *,
    store: TableStore,
    log: RunLog,
) -> None:
    """Write facts as one run, in one commit, once they keep their contract and their tasks."""
    log.start(run, kind, {"labels": sorted(rows["label_id"].to_pylist())})
    _judge(run, rows, tasks, log)
    written = store.append(LABELS.table, rows, run)
    counts = Counter(f"labels.{row['task']}" for row in rows.to_pylist() if row["fact"] in _LABELS)
    manifest = RunManifest(run, outputs=(written,), counts=dict(counts))
    log.finish(run, RunStatus.COMPLETED, manifest=manifest.as_dict())


def close_killed(tenant: TenantContext, kind: str, *, store: TableStore, log: RunLog) -> None:
    """Close a writer that was killed, by whether its one write was done."""
    left = log.unfinished(tenant, kind)
    if left is None:
        return
    rows = store.scan(LABELS.table, tenant, columns=["run_id"], run_id=left.run.run_id)
    if rows is not None and len(rows):
        log.finish(left.run, RunStatus.COMPLETED, manifest=RunManifest(left.run).as_dict())
    else:
        log.finish(left.run, RunStatus.FAILED, error="ended before its labels were written")


def _judge(run: RunContext, rows: pa.Table, tasks: Sequence[Task], log: RunLog) -> None:
    """Hold rows against their contract and their tasks; a failure ends the run."""
    results = [*audit_rows(run, {LABELS: rows}, log=log), _of_their_tasks(rows, tasks)]
    log.record_quality(run, results)
    try:
        require(results)
    except RunFailedError as error:
        log.finish(run, RunStatus.FAILED, error=str(error))
        raise


def _of_their_tasks(rows: pa.Table, tasks: Sequence[Task]) -> QualityResult:
    """Count the labels that their task's configuration does not name, by task."""
    known = {(task.name, label) for task in tasks for label in task.labels}
    given = rows.filter(pc.is_in(rows["fact"], value_set=pa.array(_LABELS)))
    pairs = zip(given["task"].to_pylist(), given["label"].to_pylist(), strict=True)
    strange = Counter(task for task, label in pairs if (task, label) not in known)
    named = ", ".join(f"{task} ({count})" for task, count in sorted(strange.items()))
    return QualityResult(
        LABELS.table.layer.value,
        LABELS.table.entity,
        "labels are of their task",
        CRITICAL,
        not strange,
        f"{strange.total()} labels: {named}" if strange else "0 labels",
        "0 labels",
        measured=float(strange.total()),
    )


def _row(one: Seen, run: RunContext, drawn: frozenset[tuple[str, str]]) -> dict[str, Any]:
    case, origin, task = one.case, one.case.origin, subject_of(one.case.id.task)
    reason = origin.reason
    if reason is Reason.DISPUTE:
        reason = Reason.AUDIT if (task, case.id.ticket_id) in drawn else Reason.DOUBT
    return {
        "tenant_id": run.tenant.tenant_id,
        "run_id": run.run_id,
        "source": origin.source,
        "day": origin.day,
        "label_id": one.label_id,
        "ticket_id": case.id.ticket_id,
        "task": task,
        "label": one.label,
        "reviewer": one.reviewer,
        "reason": reason.value,
        "suggested_label": origin.suggestion,
        "suggested_score": origin.score,
        "model_name": origin.model_name,
        "model_version": origin.model_version,
        "guideline_version": case.guideline_version,
        "responded_at": one.at,
        "fact": one.fact.value,
        "bundle_id": case.id.bundle_id,
        "observed_at": run.started_at,
    }
