"""The week's labels: which tickets people are asked about, and why these.

A plan depends on Silver and on the queue alone, so that the same plan is made again until somebody
answers or asks. What was drawn for the audit is asked about as audit only: were it also chosen for
another reason, those people had answered would be no fair sample of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, zip_longest
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts.tables import CLASSIFICATIONS, CLASSIFICATIONS_SHADOW
from features.embed import as_matrix
from labeling.accounts import ReviewerAccounts
from labeling.budget import FIRST, RULE, Allotment, LabelBudget, committed, split, week_of
from labeling.policy import ReviewPolicy
from labeling.queue import QueuedCase, Reason, ReviewQueue
from lakehouse.control.runs import RunLog
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from models.active import shortlist, uncertainty, unlike_one_another
from models.learned import text_digests
from models.task import Task
from pipelines.answered import CHAMPION, first_words, standing_answers, vectors_of
from pipelines.closed_tickets import closed_tickets
from pipelines.review import (
    PUSH_KIND,
    ModelPage,
    Pushed,
    current_version,
    enrol,
    no_page,
    put_chosen,
    retire,
    select_cases,
    was_drawn,
)
from pipelines.standing_labels import labelled_tickets

_SAID = ["ticket_id", "task", "tier", "probabilities"]
_ASIDE = ["ticket_id", "task", "run_id", "bundle_id", "predicted_label", "inference_timestamp"]


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """One ticket to ask about. `labels` is how many people are to answer; `because` is Spanish.

    `needed` says that a guarantee rests on it.
    """

    task: str
    ticket_id: str
    reason: Reason
    labels: int
    because: str
    needed: bool = False


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """What a week's labels go to. `spent` counts by reason what was asked for already."""

    tenant: str
    rule: str
    week: datetime
    budget: LabelBudget
    spent: Mapping[Reason, int]
    allotments: tuple[Allotment, ...]
    cases: tuple[PlannedCase, ...]
    notes: tuple[str, ...]

    @property
    def left(self) -> int:
        """How many labels are left to ask for this week."""
        return max(0, self.budget.weekly_labels - sum(self.spent.values()))

    def chosen(self, reason: Reason) -> int:
        """Count the tickets of a reason."""
        return sum(case.reason is reason for case in self.cases)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the reasons in words among them."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        said = zip(values["allotments"], self.allotments, strict=True)
        values["allotments"] = [{**row, "why": one.why} for row, one in said]
        return {**values, "left": self.left}


def plan_labels(
    tenant: TenantContext,
    tasks: Sequence[Task],
    *,
    policy: ReviewPolicy,
    store: TableStore,
    queue: ReviewQueue,
    at: datetime,
    challenger: str | None = None,
) -> LabelPlan:
    """Plan what is left of the week's labels, over all of a tenant's tasks.

    `challenger` is the bundle that runs in a shadow. Raises `InputError` where the tenant's
    configuration has no budget.
    """
    budget = required_budget(policy, tenant)
    queued = {task.name: queue.cases(task.name, tenant) for task in tasks}
    spent = committed(chain.from_iterable(queued.values()), since=week_of(at))
    offers = [
        _offers(tenant, task, queued[task.name], policy, store, challenger, budget)
        for task in tasks
    ]
    found = {reason: _in_turn([offer[reason] for offer in offers]) for reason in FIRST}
    found[Reason.AUDIT].sort(key=lambda case: not case.needed)
    due = max(0, budget.quota(Reason.ACTIVE) - spent[Reason.ACTIVE])
    supply = _apart(found, due)
    waiting = {reason: sum(case.labels for case in supply[reason]) for reason in FIRST}
    needed = sum(case.labels for case in supply[Reason.AUDIT] if case.needed)
    allotments = split(budget, spent=spent, waiting=waiting, needed=needed)
    cases = _fitting(allotments, supply)
    notes = tuple(_notes(allotments, challenger))
    return LabelPlan(tenant.tenant_id, RULE, week_of(at), budget, spent, allotments, cases, notes)


def required_budget(policy: ReviewPolicy, tenant: TenantContext) -> LabelBudget:
    """Return the budget. Raises `InputError` where there is none."""
    if policy.budget is None:
        msg = (
            f"tenant '{tenant.tenant_id}' has no label budget; write 'review: {{weekly_labels: "
            f"50}}' into its configuration and `plata tenants configure {tenant.tenant_id} FILE`"
        )
        raise InputError(msg)
    return policy.budget


def push_plan(
    tenant: TenantContext,
    tasks: Sequence[Task],
    *,
    into: Sequence[Task],
    policy: ReviewPolicy,
    store: TableStore,
    queue: ReviewQueue,
    log: RunLog,
    accounts: ReviewerAccounts,
    at: datetime,
    page: ModelPage = no_page,
    challenger: str | None = None,
) -> list[Pushed]:
    """Put what the plan over all `tasks` says `into` the queues of some; twice adds nothing.

    What nobody need answer any more leaves first, and its labels are there to plan with.
    """
    required_budget(policy, tenant)
    with log.exclusive(tenant, PUSH_KIND):
        enrol(tenant, queue=queue, accounts=accounts)
        gone = {task.name: retire(tenant, task, store=store, queue=queue) for task in tasks}
        plan = plan_labels(
            tenant,
            tasks,
            policy=policy,
            store=store,
            queue=queue,
            at=at,
            challenger=challenger,
        )
        return [
            replace(
                put_chosen(
                    tenant,
                    task,
                    _planned(plan, task, tenant, store),
                    store=store,
                    queue=queue,
                    page=page,
                    policy=policy,
                ),
                withdrawn=gone[task.name],
            )
            for task in into
        ]


def _planned(plan: LabelPlan, task: Task, tenant: TenantContext, store: TableStore) -> pa.Table:
    """Return the answers the plan names of a task, each with its reason."""
    why = {case.ticket_id: case.reason.value for case in plan.cases if case.task == task.name}
    answers = standing_answers(task.name, tenant, store)
    wanted = answers.filter(pc.is_in(answers["ticket_id"], value_set=_strings(why)))
    reasons = [why[ticket] for ticket in wanted["ticket_id"].to_pylist()]
    return wanted.append_column("reason", pa.array(reasons, pa.string()))


Offers = dict[Reason, list[PlannedCase]]
Found = list[tuple[str, str]]
"""Tickets, the first to be asked about first, and why each."""


def _offers(
    tenant: TenantContext,
    task: Task,
    queued: Sequence[QueuedCase],
    policy: ReviewPolicy,
    store: TableStore,
    challenger: str | None,
    budget: LabelBudget,
) -> Offers:
    """Return all a task has to ask about by reason.

    A ticket may be there for several reasons, but one that was drawn for no other.
    """
    answers = standing_answers(task.name, tenant, store)
    asked = labelled_tickets(task.name, tenant, store) | {case.id.ticket_id for case in queued}
    open_ = answers.filter(pc.invert(pc.is_in(answers["ticket_id"], value_set=_strings(asked))))
    drawn = was_drawn(open_)
    others = open_.filter(pc.invert(drawn))
    now = current_version(answers)
    fresh = _first_of_each_text(others, asked, tenant, store)
    found: dict[Reason, Found] = {
        Reason.DISAGREEMENT: _disagreements(task, fresh, challenger, tenant, store),
        Reason.ACTIVE: _telling(task, fresh.filter(_of(now, fresh)), tenant, store, budget),
        Reason.DOUBT: _doubts(others, tenant, store),
    }

    def cases(reason: Reason, tickets: Found, *, needed: bool = False) -> list[PlannedCase]:
        return [
            PlannedCase(
                task.name, ticket, reason, policy.wanted(ticket, task.name), because, needed
            )
            for ticket, because in tickets
        ]

    rests, free = _drawn(task, now, open_.filter(drawn))
    audit = [*cases(Reason.AUDIT, rests, needed=True), *cases(Reason.AUDIT, free)]
    return {Reason.AUDIT: audit, **{reason: cases(reason, found[reason]) for reason in found}}


def _drawn(task: Task, version: str | None, drawn: pa.Table) -> tuple[Found, Found]:
    """Return by lot what the audit drew: what a guarantee of the model in use rests on, the rest.

    All of it is needed, also where there are labels enough: one that is missing counts as wrong.
    """
    if task.guarantee is None:
        return [], _by_lot(drawn, task, "sorteado al azar entre todos")
    ours, terms = _of(version, drawn), task.guarantee
    rests = f"sorteado, para la garantía (α {terms.alpha:g}, δ {terms.delta:g})"
    older = "sorteado cuando respondía un modelo anterior"
    return _by_lot(drawn.filter(ours), task, rests), _by_lot(
        drawn.filter(pc.invert(ours)), task, older
    )


def _by_lot(rows: pa.Table, task: Task, because: str) -> Found:
    """Put tickets in an order that knows nothing of what was said of them.

    So those that fit are as fair a sample as all of them would be.
    """

    def lot(ticket: str) -> bytes:
        return hashlib.sha256(f"{task.name}/{ticket}".encode()).digest()

    return [(ticket, because) for ticket in sorted(rows["ticket_id"].to_pylist(), key=lot)]


def _doubts(others: pa.Table, tenant: TenantContext, store: TableStore) -> Found:
    closed = closed_tickets(others["ticket_id"].to_pylist(), tenant, store)
    rows = select_cases(others, labelled=frozenset(), closed=closed, limit=len(others))
    scores = zip(rows["ticket_id"].to_pylist(), rows["score"].to_pylist(), strict=True)
    return [(ticket, f"confianza {score:.2f}") for ticket, score in scores]


def _disagreements(
    task: Task, fresh: pa.Table, challenger: str | None, tenant: TenantContext, store: TableStore
) -> Found:
    """Return by lot the tickets of which the challenger in a shadow says otherwise.

    By lot, so that what people say of them is a fair answer to which of the two is right.
    """
    if challenger is None:
        return []
    rows = store.scan(CLASSIFICATIONS_SHADOW.table, tenant, columns=_ASIDE)
    if rows is None:
        return []
    aside = (
        pl.DataFrame(pl.from_arrow(rows))
        .filter(task=task.name, bundle_id=challenger)
        .sort("inference_timestamp", "run_id")
        .unique("ticket_id", keep="last")
        .select("ticket_id", pl.col("predicted_label").alias("other"))
    )
    both = (
        pl.DataFrame(pl.from_arrow(fresh.select(["ticket_id", "predicted_label"])))
        .join(aside, on="ticket_id")
        .filter(pl.col("predicted_label") != pl.col("other"))
    )
    said = {
        ticket: f"en uso: {task.titles.get(own, own)}; retador: {task.titles.get(other, other)}"
        for ticket, own, other in both.select("ticket_id", "predicted_label", "other").iter_rows()
    }
    return [(ticket, said[ticket]) for ticket, _ in _by_lot(both.to_arrow(), task, "")]


def _telling(
    task: Task, now: pa.Table, tenant: TenantContext, store: TableStore, budget: LabelBudget
) -> Found:
    """Return the tickets whose label would teach the next model most, of what the one in use said.

    As many as active learning is due are chosen together; more, should others leave labels, by
    their doubt alone.
    """
    said = _probabilities(task, now, tenant, store)
    if not said:
        return []
    tickets, chances = list(said), np.array(list(said.values()))
    due = budget.quota(Reason.ACTIVE)
    first = _unlike(now, [tickets[place] for place in shortlist(chances, due)], due, tenant, store)
    doubted = [tickets[place] for place in np.argsort(-uncertainty(chances), kind="stable")]
    taken = set(first)
    others = [ticket for ticket in doubted if ticket not in taken]
    order = [*first, *others[: budget.weekly_labels - len(first)]]
    return [(ticket, _torn(np.array(said[ticket]), task)) for ticket in order]


def _unlike(
    now: pa.Table, listed: Sequence[str], count: int, tenant: TenantContext, store: TableStore
) -> list[str]:
    """Choose among the listed those least like one another; one without a vector is left out."""
    rows = now.filter(pc.is_in(now["ticket_id"], value_set=_strings(listed)))
    vectors = vectors_of(rows, tenant, store)
    places = dict(zip(vectors["ticket_id"].to_pylist(), range(len(vectors)), strict=True))
    known = [ticket for ticket in listed if ticket in places]
    space = as_matrix(vectors["embedding"])[[places[ticket] for ticket in known]]
    return [known[place] for place in unlike_one_another(space, count)]


def _torn(chances: NDArray[np.float64], task: Task) -> str:
    """Name the two labels an answer lies between."""
    titles = [task.titles[label] for label in task.labels]
    best, next_ = np.argsort(-chances, kind="stable")[:2]
    return f"entre {titles[best]} ({chances[best]:.2f}) y {titles[next_]} ({chances[next_]:.2f})"


def _probabilities(
    task: Task, answers: pa.Table, tenant: TenantContext, store: TableStore
) -> dict[str, list[float]]:
    """Return what the standing answers gave each label of the task; none where one is missing."""
    tickets, runs = answers["ticket_id"].to_pylist(), answers["run_id"].to_pylist()
    of_run: dict[str, set[str]] = {}
    for ticket, run_id in zip(tickets, runs, strict=True):
        of_run.setdefault(run_id, set()).add(ticket)
    found: dict[str, list[float]] = {}
    for run_id, wanted in sorted(of_run.items()):
        rows = store.scan(CLASSIFICATIONS.table, tenant, columns=_SAID, run_id=RunId(run_id))
        if rows is None:
            continue
        ours = pc.and_(pc.equal(rows["task"], task.name), pc.equal(rows["tier"], CHAMPION))
        asked = pc.is_in(rows["ticket_id"], value_set=_strings(wanted))
        given = rows.filter(pc.and_(pc.and_(ours, asked), pc.is_valid(rows["probabilities"])))
        for ticket, text in sorted(
            zip(given["ticket_id"].to_pylist(), given["probabilities"].to_pylist(), strict=True)
        ):
            chances = json.loads(text)
            if set(task.labels) <= set(chances):
                found[ticket] = [chances[label] for label in task.labels]
    return found


def _first_of_each_text(
    others: pa.Table, asked: AbstractSet[str], tenant: TenantContext, store: TableStore
) -> pa.Table:
    """Keep one ticket of each text, and none whose text people were asked about already.

    Case, accents and punctuation make no other text. A ticket without a text is left out.
    """
    tickets = pa.chunked_array([_strings([*others["ticket_id"].to_pylist(), *asked])])
    words = first_words(tickets, tenant, store)
    digests = text_digests(words["text"].to_pylist())
    rows = pl.DataFrame({"ticket_id": words["ticket_id"].to_pylist(), "text": digests})
    before = rows.filter(pl.col("ticket_id").is_in(sorted(asked)))["text"].implode()
    kept = rows.filter(
        ~pl.col("ticket_id").is_in(sorted(asked)) & ~pl.col("text").is_in(before)
    ).unique("text", keep="first", maintain_order=True)
    return others.filter(pc.is_in(others["ticket_id"], value_set=_strings(kept["ticket_id"])))


def _in_turn(offers: Iterable[Sequence[PlannedCase]]) -> list[PlannedCase]:
    """Take one case of each task in turn."""
    turns = zip_longest(*offers)
    return [case for turn in turns for case in turn if case is not None]


def _apart(found: Offers, due: int) -> Offers:
    """Leave each ticket one reason: audit, then disagreement, then active learning up to its due.

    What active learning would take beyond that is first of all doubt's.
    """
    taken: set[tuple[str, str]] = set()

    def rest(cases: Iterable[PlannedCase]) -> list[PlannedCase]:
        kept = [case for case in cases if (case.task, case.ticket_id) not in taken]
        taken.update((case.task, case.ticket_id) for case in kept)
        return kept

    audit, apart = rest(found[Reason.AUDIT]), rest(found[Reason.DISAGREEMENT])
    telling = rest(found[Reason.ACTIVE][:0])
    for case in found[Reason.ACTIVE]:
        if sum(one.labels for one in telling) >= due:
            break
        telling += rest([case])
    doubt = rest(found[Reason.DOUBT])
    more = rest(found[Reason.ACTIVE])
    return {
        Reason.AUDIT: audit,
        Reason.DISAGREEMENT: apart,
        Reason.ACTIVE: telling + more,
        Reason.DOUBT: doubt,
    }


def _fitting(allotments: Sequence[Allotment], supply: Offers) -> tuple[PlannedCase, ...]:
    """Take the first cases of each reason that fit, in the order of the allotments.

    A case that wants more people than are left is passed over, and what is left goes on.
    """
    cases, left = [], 0
    for one in allotments:
        left += one.labels
        for case in supply[one.reason]:
            if case.labels <= left:
                left -= case.labels
                cases.append(case)
    return tuple(cases)


def _notes(allotments: Sequence[Allotment], challenger: str | None) -> Iterator[str]:
    """Say what an operator should know, as they read it."""
    audit = next(one for one in allotments if one.reason is Reason.AUDIT)
    if audit.needed > audit.labels:
        yield (
            f"La garantía descansa sobre {audit.needed} etiquetas del sorteo y caben "
            f"{audit.labels}: las que faltan cuentan como error. Baje audit_share de las tareas "
            "o suba weekly_labels."
        )
    elif audit.waiting > audit.labels:
        yield (
            f"El sorteo dejó {audit.waiting} y caben {audit.labels}: los demás quedan sin auditar. "
            "Baje audit_share de las tareas o suba weekly_labels."
        )
    if challenger is None:
        yield "Ningún retador corre en sombra: no hay desacuerdos que consultar."


def _of(version: str | None, answers: pa.Table) -> pa.ChunkedArray:
    """Say which answers a version of the model gave."""
    return pc.equal(answers["model_version"], pa.scalar(version, pa.string()))


def _strings(values: Iterable[str]) -> pa.Array:
    return pa.array(sorted(values), pa.string())
