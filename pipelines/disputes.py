"""Tickets on which reviewers do not agree: told apart, and put to somebody who decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from labeling.guidelines import newest
from labeling.ledger import disputes, standing
from labeling.observed import disputes_of
from labeling.policy import ReviewPolicy
from labeling.queue import QueueSpec, Reason, ReviewCase, ReviewQueue
from lakehouse.control.runs import RunLog
from lakehouse.data.tables import TableStore
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.answered import first_words, standing_answers, vectors_of
from pipelines.review import PUSH_KIND, ModelPage, Pushed, cases_of
from pipelines.standing_labels import label_facts


@dataclass(frozen=True, slots=True)
class Dispute:
    """A ticket answered differently. `label` is what most say; None where no label has the most."""

    ticket_id: str
    task: str
    votes: tuple[tuple[str, str], ...]
    label: str | None
    since: datetime

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many stand for each label, most first."""
        return Counter(label for _, label in self.votes).most_common()


def open_disputes(task: Task, tenant: TenantContext, store: TableStore) -> list[Dispute]:
    """Return the disputes nobody settled: those without a label first, then the oldest."""
    facts = label_facts(tenant, store).filter(task=task.name)
    stands = dict(standing(facts).select("ticket_id", "label").iter_rows())
    found = [
        Dispute(
            str(ticket),
            task.name,
            tuple(votes.select("reviewer", "label").iter_rows()),
            stands.get(str(ticket)),
            votes["responded_at"].max(),  # type: ignore[arg-type]
        )
        for (ticket,), votes in disputes(facts).group_by("ticket_id")
    ]
    return sorted(found, key=lambda one: (one.label is not None, one.since, one.ticket_id))


def push_disputes(
    tenant: TenantContext,
    task: Task,
    *,
    store: TableStore,
    queue: ReviewQueue,
    log: RunLog,
    page: ModelPage,
    policy: ReviewPolicy,
) -> Pushed:
    """Put open disputes into a queue of their own; what is answered there settles them.

    A ticket that is there already stays as it is; one that was settled by now leaves.
    """
    with log.exclusive(tenant, PUSH_KIND):
        found = {one.ticket_id: one for one in open_disputes(task, tenant, store)}
        name = disputes_of(task.name)
        waiting = queue.cases(name, tenant)
        over = [case.id for case in waiting if case.id.ticket_id not in found]
        withdrawn = queue.withdraw(over, name, tenant) if over else 0
        wanted = found.keys() - {case.id.ticket_id for case in waiting}
        answers = standing_answers(task.name, tenant, store)
        chosen = answers.filter(
            pc.is_in(answers["ticket_id"], pa.array(sorted(wanted), pa.string()))
        )
        vectors = vectors_of(chosen, tenant, store)
        words = first_words(chosen["ticket_id"], tenant, store)
        cases = [
            _as_dispute(case, found[case.id.ticket_id], task)
            for case in cases_of(tenant, task, chosen, words, vectors, page, policy)
        ]
        dimensions = len(vectors["embedding"][0]) if len(vectors) else None
        spec = QueueSpec(name, task.titles, newest(task.name), dimensions)
        address = queue.open(spec, tenant)
        return Pushed(task.name, address, len(found), queue.put(cases, spec, tenant), withdrawn)


def _as_dispute(case: ReviewCase, dispute: Dispute, task: Task) -> ReviewCase:
    """Tell what was answered and by how many; by whom, the one who decides need not know."""
    told = ", ".join(f"{task.titles.get(label, label)} ({n})" for label, n in dispute.counts)
    return replace(
        case,
        id=replace(case.id, task=disputes_of(task.name)),
        origin=replace(case.origin, reason=Reason.DISPUTE),
        explanation=told,
        wanted=1,
    )
