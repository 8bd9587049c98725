"""What a review amounts to: what waits and since when, who answered, whether people agree, and what
the machine does by itself since.

Nothing is estimated: every number is counted from the queue, the ledger, Gold and the log of
guarantees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl

from labeling.agreement import Agreement, measure
from labeling.ledger import standing_answers
from labeling.observed import disputes_of
from labeling.queue import CaseStatus, Reason, ReviewQueue, tally
from labeling.workload import AGES, Load, Pace, last_days, loads, paces
from lakehouse.control.guarantees import GuaranteeLog
from lakehouse.control.postgres import Postgres
from lakehouse.data.tables import TableStore
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.business_time import UTC_OFFSET
from pipelines.review_effect import Effect, effect, in_force
from pipelines.standing_labels import label_facts, standing_labels

BOGOTA = timezone(timedelta(microseconds=UTC_OFFSET))
"""Days are those of the reviewers' calendar."""


@dataclass(frozen=True, slots=True)
class Together:
    """The tickets that several people answered, and those of them about which all said the same.

    `agreement` measures it beyond chance.
    """

    tickets: int
    unanimous: int
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Automation:
    """What a model answered from `first` to `last`, and what of it counted without a person."""

    model: str
    first: date
    last: date
    classified: int
    accepted: int

    @property
    def share(self) -> float:
        """The share that counted at once."""
        return self.accepted / self.classified if self.classified else 0.0


@dataclass(frozen=True, slots=True)
class TaskReview:
    """One task. `labels` counts the tickets of which a label stands, `cases` what is in its queues.

    `automation` is by model, in the order in which they began to answer; `effect` what labels
    bought, None where no two guarantees promise the same.
    """

    task: str
    cases: Mapping[Reason, Mapping[CaseStatus, int]]
    labels: int
    loads: tuple[Load, ...]
    paces: tuple[Pace, ...]
    together: Together
    automation: tuple[Automation, ...]
    effect: Effect | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; ages are in days."""
        return {
            "task": self.task,
            "labels": self.labels,
            "cases": {r.value: {s.value: n for s, n in c.items()} for r, c in self.cases.items()},
            "load": {load.reason.value: _load_dict(load) for load in self.loads},
            "reviewers": [asdict(pace) for pace in self.paces],
            "together": {
                "tickets": self.together.tickets,
                "unanimous": self.together.unanimous,
                "alpha": self.together.agreement.alpha,
                "pairs": [asdict(pair) for pair in self.together.agreement.pairs],
            },
            "automation": [{**asdict(found), "share": found.share} for found in self.automation],
            "effect": None if self.effect is None else asdict(self.effect),
        }


@dataclass(frozen=True, slots=True)
class ReviewReport:
    """A tenant's review at a moment; `days` are those the reviewers' answers are counted on."""

    tenant: str
    made_at: datetime
    days: tuple[date, ...]
    tasks: tuple[TaskReview, ...]


def review_report(
    tenant: TenantContext,
    tasks: Sequence[Task],
    *,
    store: TableStore,
    queue: ReviewQueue,
    postgres: Postgres,
    now: datetime,
) -> ReviewReport:
    """Count everything; reads only."""
    days = last_days(now, BOGOTA)
    found = [
        _of_task(tenant, task.name, days, store=store, queue=queue, postgres=postgres, now=now)
        for task in tasks
    ]
    return ReviewReport(tenant.tenant_id, now.astimezone(UTC), days, tuple(found))


def _of_task(
    tenant: TenantContext,
    task: str,
    days: tuple[date, ...],
    *,
    store: TableStore,
    queue: ReviewQueue,
    postgres: Postgres,
    now: datetime,
) -> TaskReview:
    cases = [*queue.cases(task, tenant), *queue.cases(disputes_of(task), tenant)]
    return TaskReview(
        task,
        cases=tally(cases),
        labels=len(standing_labels(task, tenant, store)),
        loads=loads(cases, now),
        paces=paces(cases, days, BOGOTA),
        together=together(label_facts(tenant, store).filter(task=task)),
        automation=_automation(tenant, task, postgres),
        effect=effect(in_force(GuaranteeLog(postgres).history(tenant, task=task), now)),
    )


def together(facts: pl.DataFrame) -> Together:
    """Count the tickets of one task on which two or more people's answers stand."""
    answers = standing_answers(facts)
    shared = (
        answers.group_by("ticket_id")
        .agg(pl.col("reviewer").n_unique(), pl.col("label").n_unique().alias("labels"))
        .filter(pl.col("reviewer") > 1)
    )
    unanimous = len(shared.filter(pl.col("labels") == 1))
    return Together(len(shared), unanimous, measure(answers))


def _automation(tenant: TenantContext, task: str, postgres: Postgres) -> tuple[Automation, ...]:
    with postgres.connect(tenant) as connection:
        rows = connection.execute(
            "SELECT model, min(day), max(day), sum(classified)::bigint, sum(accepted)::bigint "
            "FROM gold.kpi_mlops_daily WHERE tenant_id = %s AND task = %s "
            "GROUP BY model ORDER BY min(day), max(day), model",
            [tenant.tenant_id, task],
        ).fetchall()
    return tuple(Automation(*row) for row in rows)


def _load_dict(load: Load) -> dict[str, Any]:
    return {
        "waiting": load.waiting,
        "pending": load.pending,
        "draft": load.draft,
        "partly": load.partly,
        "discarded": load.discarded,
        "done": load.done,
        "oldest_days": in_days(load.oldest),
        "median_days": in_days(load.median),
        "ages": {name: count for (name, _), count in zip(AGES, load.ages, strict=True)},
    }


def in_days(age: timedelta | None) -> float | None:
    """Return an age in days, to two decimals."""
    return None if age is None else round(age / timedelta(days=1), 2)
