"""Human review: doubtful and drawn tickets go to people. What they say comes back by the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from math import isnan
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labeling.accounts import ReviewerAccounts
from labeling.guidelines import newest
from labeling.policy import ReviewPolicy
from labeling.queue import (
    CaseId,
    CaseOrigin,
    CaseStatus,
    QueuedCase,
    QueueSpec,
    Reason,
    ReviewCase,
    Reviewer,
    ReviewQueue,
    tally,
)
from lakehouse.control.runs import RunLog
from lakehouse.data.tables import TableStore
from lakehouse.tenancy import TenantContext
from models.routing import Decision
from models.task import Task
from pipelines.answered import first_words, standing_answers, vectors_of
from pipelines.closed_tickets import closed_tickets
from pipelines.standing_labels import labelled_tickets

PUSH_KIND = "review-push"
DEFAULT_LIMIT = 100
DEFAULT_POLICY = ReviewPolicy()

ModelPage = Callable[[str, str], str | None]
"""Where a person reads about a model's version, given name and version."""


def no_page(name: str, version: str) -> None:
    """Be a `ModelPage` that knows none."""


def mlflow_page(mlflow_url: str) -> ModelPage:
    """Lead to MLflow's own page of a version.

    >>> mlflow_page("http://127.0.0.1:5000")("norte.tipo", "3")
    'http://127.0.0.1:5000/#/models/norte.tipo/versions/3'
    """
    return lambda name, version: f"{mlflow_url}/#/models/{name}/versions/{version}"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did for one task. `chosen` counts the cases that should be in the queue.

    `withdrawn` counts those that were taken out, because nobody need answer them any more.
    """

    task: str
    page: str
    chosen: int
    added: int
    withdrawn: int = 0


@dataclass(frozen=True, slots=True)
class QueueState:
    """A task's queue: cases by reason and status, and the labels already in Silver."""

    task: str
    cases: Mapping[Reason, Mapping[CaseStatus, int]]
    labels: int


def select_cases(
    answers: pa.Table,
    *,
    labelled: AbstractSet[str],
    closed: Mapping[str, datetime] = MappingProxyType({}),
    limit: int,
) -> pa.Table:
    """Choose the tickets people should see: every one the audit drew, then the least certain.

    Where not all that was drawn fits, the score has no say in which do: the sample stays fair.
    What the model that answered last is unsure of comes before what an older one was: a label helps
    the model in use. A ticket that has a label already is not asked about, nor is a doubt whose
    ticket was closed since the model answered; `closed` says when. Choosing depends on the rows
    alone, so that the same tickets are chosen again until they are labelled.
    """
    drawn = was_drawn(answers)
    doubted = pc.equal(answers["decision"], Decision.REVIEW.value)
    waits = pc.or_(drawn, pc.and_(doubted, pc.invert(_closed_since(answers, closed))))
    known = pc.is_in(answers["ticket_id"], value_set=pa.array(sorted(labelled), pa.string()))
    asked = pc.and_(waits, pc.invert(known))
    open_ = answers.filter(asked)
    certainty = pc.if_else(pc.is_nan(open_["score"]), -1.0, open_["score"])
    ranks = pa.table(
        {
            "current": pc.equal(open_["model_version"], current_version(answers)),
            "drawn": drawn.filter(asked),
            "certainty": pc.if_else(drawn.filter(asked), 0.0, certainty),
            "ticket_id": open_["ticket_id"],
        }
    )
    keys = [
        ("current", "descending"),
        ("drawn", "descending"),
        ("certainty", "ascending"),
        ("ticket_id", "ascending"),
    ]
    order = pc.sort_indices(ranks, sort_keys=keys)
    return open_.take(order.slice(0, limit))


def leaving(
    waiting: Sequence[QueuedCase], *, labelled: AbstractSet[str], closed: Mapping[str, datetime]
) -> list[CaseId]:
    """Choose the cases that nobody need answer any more, of those that nobody answered yet.

    Its ticket has a label, or it was in doubt and its ticket was closed while the case waited. What
    the audit drew stays, however its ticket fares: a sample of open tickets would not be fair. So
    does a case whose ticket a newer bundle has answered since, and a dispute, whose ticket has
    answers by its nature.
    """
    return [
        case.id
        for case in waiting
        if not case.answers
        and case.origin.reason is not Reason.DISPUTE
        and (case.id.ticket_id in labelled or _given_up(case, closed.get(case.id.ticket_id)))
    ]


def _given_up(case: QueuedCase, closed_at: datetime | None) -> bool:
    if case.origin.reason is not Reason.DOUBT or closed_at is None or case.put_at is None:
        return False
    return closed_at > case.put_at


def _closed_since(answers: pa.Table, closed: Mapping[str, datetime]) -> pa.Array:
    """Say which answers are about a ticket that was closed after them."""
    asked = zip(
        answers["ticket_id"].to_pylist(), answers["inference_timestamp"].to_pylist(), strict=True
    )
    return pa.array(
        [closed.get(ticket, answered) > answered for ticket, answered in asked], pa.bool_()
    )


def was_drawn(answers: pa.Table) -> pa.ChunkedArray:
    """Say which answers the audit drew; rows from before that was kept say it of the accepted."""
    return pc.fill_null(answers["drawn"], pc.equal(answers["decision"], Decision.AUDIT.value))


def current_version(answers: pa.Table) -> str | None:
    """Return the version of the model that answered last, None where none did."""
    last = pc.index(answers["inference_timestamp"], pc.max(answers["inference_timestamp"]))
    version: str | None = answers["model_version"][last.as_py()].as_py() if len(answers) else None
    return version


def push(
    tenant: TenantContext,
    task: Task,
    *,
    store: TableStore,
    queue: ReviewQueue,
    page: ModelPage = no_page,
    policy: ReviewPolicy = DEFAULT_POLICY,
    limit: int = DEFAULT_LIMIT,
) -> Pushed:
    """Fill a task's queue up to `limit` cases without a label; doing it twice adds nothing.

    What nobody need answer any more leaves the queue first, see `leaving`. A ticket that is in the
    queue stays as it is, whatever newer bundle answered it since.
    """
    withdrawn = retire(tenant, task, store=store, queue=queue)
    answers = standing_answers(task.name, tenant, store)
    labelled = labelled_tickets(task.name, tenant, store)
    closed = closed_tickets(answers["ticket_id"].to_pylist(), tenant, store)
    chosen = select_cases(answers, labelled=labelled, closed=closed, limit=limit)
    done = put_chosen(tenant, task, chosen, store=store, queue=queue, page=page, policy=policy)
    return replace(done, withdrawn=withdrawn)


def retire(tenant: TenantContext, task: Task, *, store: TableStore, queue: ReviewQueue) -> int:
    """Take out of a task's queue what nobody need answer any more, and return how many cases."""
    idle = [case for case in queue.cases(task.name, tenant) if not case.answers]
    closed = closed_tickets([case.id.ticket_id for case in idle], tenant, store)
    labelled = labelled_tickets(task.name, tenant, store)
    gone = leaving(idle, labelled=labelled, closed=closed)
    return queue.withdraw(gone, task.name, tenant) if gone else 0


def put_chosen(
    tenant: TenantContext,
    task: Task,
    chosen: pa.Table,
    *,
    store: TableStore,
    queue: ReviewQueue,
    page: ModelPage = no_page,
    policy: ReviewPolicy = DEFAULT_POLICY,
) -> Pushed:
    """Put answers that were chosen (see `standing_answers` for their columns) into a task's queue.

    A ticket that is there stays as it is, and one that has a label already is not asked about.
    A column `reason`, where there is one, says why the tickets that were not drawn are asked about.
    """
    labelled = pc.invert(_one_of(chosen["ticket_id"], labelled_tickets(task.name, tenant, store)))
    chosen = chosen.filter(labelled)
    vectors = vectors_of(chosen, tenant, store)
    spec = QueueSpec(task.name, task.titles, newest(task.name), _dimensions(vectors))
    address = queue.open(spec, tenant)
    waiting = {case.id.ticket_id for case in queue.cases(task.name, tenant)}
    fresh = chosen.filter(pc.invert(_one_of(chosen["ticket_id"], waiting)))
    words = first_words(fresh["ticket_id"], tenant, store)
    cases = cases_of(tenant, task, fresh, words, vectors, page, policy)
    return Pushed(task.name, address, len(chosen), queue.put(cases, spec, tenant))


def enrol(tenant: TenantContext, *, queue: ReviewQueue, accounts: ReviewerAccounts) -> Reviewer:
    """Let the tenant's reviewers in, and return the first account to log in with."""
    known = accounts.all(tenant)
    for reviewer in known:
        queue.enrol(reviewer, tenant)
    return known[0]


def admit(
    name: str, tenant: TenantContext, *, queue: ReviewQueue, accounts: ReviewerAccounts
) -> Reviewer:
    """Let a person review the tenant's tickets; a queue that is down lets them in with a push."""
    reviewer = accounts.add(name, tenant)
    queue.enrol(reviewer, tenant)
    return reviewer


def dismiss(
    name: str, tenant: TenantContext, *, queue: ReviewQueue, accounts: ReviewerAccounts
) -> str:
    """Let a person review no longer, and return their username; what they answered stays."""
    username = accounts.find(name, tenant).username
    queue.dismiss(username, tenant)
    accounts.remove(name, tenant)
    return username


def push_all(
    tenant: TenantContext,
    tasks: Sequence[Task],
    *,
    store: TableStore,
    queue: ReviewQueue,
    log: RunLog,
    accounts: ReviewerAccounts,
    page: ModelPage = no_page,
    policy: ReviewPolicy = DEFAULT_POLICY,
    limit: int = DEFAULT_LIMIT,
) -> list[Pushed]:
    """Let the tenant's reviewers in and fill the queue of every task, one push at a time."""
    with log.exclusive(tenant, PUSH_KIND):
        enrol(tenant, queue=queue, accounts=accounts)
        return [
            push(tenant, task, store=store, queue=queue, page=page, policy=policy, limit=limit)
            for task in tasks
        ]


def status(
    tenant: TenantContext, tasks: Sequence[Task], *, store: TableStore, queue: ReviewQueue
) -> list[QueueState]:
    """Count what waits and what came back, task by task."""
    return [
        QueueState(
            task.name,
            tally(queue.cases(task.name, tenant)),
            len(labelled_tickets(task.name, tenant, store)),
        )
        for task in tasks
    ]


def cases_of(
    tenant: TenantContext,
    task: Task,
    answers: pa.Table,
    words: pa.Table,
    vectors: pa.Table,
    page: ModelPage,
    policy: ReviewPolicy,
) -> list[ReviewCase]:
    said = {row["ticket_id"]: row for row in words.to_pylist()}
    near = dict(
        zip(vectors["ticket_id"].to_pylist(), vectors["embedding"].to_pylist(), strict=True)
    )
    return [
        _case(
            tenant,
            task,
            answer,
            said[answer["ticket_id"]],
            near.get(answer["ticket_id"]),
            page,
            policy,
        )
        for answer in answers.set_column(
            answers.schema.get_field_index("drawn"), "drawn", was_drawn(answers)
        ).to_pylist()
        if answer["ticket_id"] in said
    ]


def _case(
    tenant: TenantContext,
    task: Task,
    answer: Mapping[str, Any],
    said: Mapping[str, Any],
    vector: Sequence[float] | None,
    page: ModelPage,
    policy: ReviewPolicy,
) -> ReviewCase:
    origin = CaseOrigin(
        source=answer["source"],
        day=answer["day"],
        reason=_reason(answer),
        suggestion=answer["predicted_label"],
        score=0.0 if isnan(answer["score"]) else answer["score"],
        model_name=answer["model_name"],
        model_version=answer["model_version"],
    )
    parts = [part for part in (said["subject"], said["text"]) if part]
    return ReviewCase(
        id=CaseId(tenant.tenant_id, task.name, answer["ticket_id"], answer["bundle_id"]),
        text=policy.masking("\n\n".join(parts)),
        origin=origin,
        explanation=policy.masking(answer["explanation"] or ""),
        channel=said["channel"],
        region=said["region"],
        link=page(origin.model_name, origin.model_version),
        run_id=answer["run_id"],
        masking=str(policy.masking),
        vector=None if vector is None else tuple(vector),
        wanted=policy.wanted(answer["ticket_id"], task.name),
    )


def _reason(answer: Mapping[str, Any]) -> Reason:
    """Say why a ticket is asked about: one that was drawn is audit, whoever else wants it."""
    if answer["drawn"]:
        return Reason.AUDIT
    return Reason(answer.get("reason") or Reason.DOUBT)


def _one_of(column: pa.ChunkedArray, values: AbstractSet[str]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(sorted(values), pa.string()))


def _dimensions(vectors: pa.Table) -> int | None:
    return len(vectors["embedding"][0]) if len(vectors) else None
