"""The week's plan: within what people can do, audit first, no ticket or text asked about twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from contracts.contract import Contract
from contracts.tables import (
    CLASSIFICATIONS,
    CLASSIFICATIONS_SHADOW,
    EMBEDDINGS,
    LABELS,
    MESSAGES,
    TICKETS,
)
from labeling.accounts import ReviewerAccounts
from labeling.budget import LabelBudget
from labeling.memory import MemoryReviewQueue
from labeling.policy import ReviewPolicy
from labeling.queue import Reason
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.guarantee import GuaranteeTerms
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.label_plan import LabelPlan, plan_labels, push_plan

NORTE = TenantContext.parse("plan-norte")
MONDAY = datetime(2026, 1, 5, 8, tzinfo=UTC)
DAY = date(2026, 1, 4)
TIPO = Task(
    "tipo",
    {"queja": "Queja", "reclamo": "Reclamo"},
    "text",
    "plan-norte.tipo",
    "plan-norte.tipo.zero-shot",
    RoutingPolicy(accept_at=0.8),
)
NO_TEXTS: Mapping[int, str] = MappingProxyType({})
BUDGET = LabelBudget(10, audit_share=0.4, disagreement_share=0.2, active_share=0.2)


def ticket(number: int) -> str:
    return str(UUID(int=number))


class House:
    """One tenant's Silver, and its queue in memory."""

    def __init__(self, lake: Path, log: RunLog) -> None:
        self.store = DeltaTableStore(LakeRoot(str(lake)))
        self.queue = MemoryReviewQueue(lambda: MONDAY)
        self.log = log
        self.policy = ReviewPolicy(budget=BUDGET)
        self.run = RunContext.begin(NORTE, kind="run", at=MONDAY)

    def add(self, contract: Contract, rows: Sequence[dict[str, Any]]) -> None:
        common = {"tenant_id": "plan-norte", "run_id": self.run.run_id, "source": "correo"}
        known = [
            {
                field.name: {**common, "day": DAY, **row}.get(field.name, _any(field.type))
                for field in contract.schema
            }
            for row in rows
        ]
        table = pa.Table.from_pylist(known, schema=contract.schema)
        self.store.append(contract.table, table, self.run)

    def answered(
        self,
        scores: Sequence[float],
        *,
        drawn: Sequence[int] = (),
        texts: Mapping[int, str] = NO_TEXTS,
    ) -> None:
        """Have tickets 0, 1, … answered `queja` with these scores; the drawn were drawn."""
        numbers = range(len(scores))
        self.add(TICKETS, [{"ticket_id": ticket(n)} for n in numbers])
        words = [{"text": texts.get(n, f"asunto {n}"), "role": "citizen"} for n in numbers]
        self.add(MESSAGES, [{"ticket_id": ticket(n), **words[n]} for n in numbers])
        vectors = [[1.0, n / 10, 0.0] for n in numbers]
        self.add(
            EMBEDDINGS,
            [{"ticket_id": ticket(n), "embedding": vectors[n]} for n in numbers],
        )
        self.add(
            CLASSIFICATIONS,
            [
                {
                    **said(n, "queja", scores[n]),
                    "tier": "champion",
                    "bundle_id": "bundle-a",
                    "drawn": n in drawn,
                    "decision": "accept" if scores[n] >= 0.8 else "review",
                }
                for n in numbers
            ],
        )

    def shadowed(self, labels: dict[int, str]) -> None:
        """Have the challenger answer some tickets aside."""
        self.add(
            CLASSIFICATIONS_SHADOW,
            [
                {**said(n, label, 0.9), "tier": "shadow", "bundle_id": "bundle-b"}
                for n, label in labels.items()
            ],
        )

    def labelled(self, number: int) -> None:
        """Have a person say what a ticket is."""
        row = {"ticket_id": ticket(number), "task": "tipo", "label": "queja", "reason": "doubt"}
        self.add(LABELS, [{**row, "label_id": str(number), "fact": "submitted", "reviewer": "ana"}])

    def plan(self, *, challenger: str | None = None, tasks: Sequence[Task] = (TIPO,)) -> LabelPlan:
        return plan_labels(
            NORTE,
            tasks,
            policy=self.policy,
            store=self.store,
            queue=self.queue,
            at=MONDAY,
            challenger=challenger,
        )

    def push(self, tmp_path: Path, *, at: datetime = MONDAY) -> int:
        (done,) = push_plan(
            NORTE,
            [TIPO],
            into=[TIPO],
            policy=self.policy,
            store=self.store,
            queue=self.queue,
            log=self.log,
            accounts=ReviewerAccounts(tmp_path / "reviewers.json"),
            at=at,
            challenger="bundle-b",
        )
        return done.added

    def reasons(self) -> Counter[Reason]:
        return Counter(case.origin.reason for case in self.queue.cases("tipo", NORTE))


def said(number: int, label: str, score: float) -> dict[str, Any]:
    other = "reclamo" if label == "queja" else "queja"
    return {
        "ticket_id": ticket(number),
        "task": "tipo",
        "predicted_label": label,
        "score": score,
        "probabilities": json.dumps({label: score, other: 1 - score}),
        "model_name": "plan-norte.tipo",
        "model_version": "3",
        "inference_timestamp": MONDAY,
    }


def _any(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return "x"
    if pa.types.is_timestamp(kind):
        return MONDAY
    return None if pa.types.is_boolean(kind) else 1


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> House:
    postgres = Postgres(postgres_url)
    TenantDirectory(postgres).create(NORTE, name="norte")
    return House(tmp_path / "lake", RunLog(postgres))


def chosen(plan: LabelPlan, reason: Reason) -> list[int]:
    return [UUID(case.ticket_id).int for case in plan.cases if case.reason is reason]


SCORES = [0.95, 0.92, 0.9, 0.88, 0.86, 0.84, *(0.5 + n / 100 for n in range(14))]
"""Six that are accepted, then fourteen in doubt, the first the least certain."""


def test_a_week_is_split_and_every_case_has_one_reason(house: House) -> None:
    house.answered(SCORES, drawn=[0, 1, 6])
    house.shadowed({2: "reclamo", 3: "queja", 7: "reclamo"})
    plan = house.plan(challenger="bundle-b")
    assert sorted(chosen(plan, Reason.AUDIT)) == [0, 1, 6]
    assert sorted(chosen(plan, Reason.DISAGREEMENT)) == [2, 7]
    assert len(chosen(plan, Reason.ACTIVE)) == 2
    assert len(chosen(plan, Reason.DOUBT)) == 3
    tickets = [case.ticket_id for case in plan.cases]
    assert len(tickets) == len(set(tickets)) == BUDGET.weekly_labels
    assert house.plan(challenger="bundle-b") == plan


def test_what_was_drawn_is_asked_about_as_audit_or_not_at_all(house: House) -> None:
    house.policy = ReviewPolicy(budget=LabelBudget(4, 0.5, 0.0, 0.5))
    house.answered([0.5] * 8, drawn=range(7))
    plan = house.plan()
    assert len(chosen(plan, Reason.AUDIT)) == 3
    assert chosen(plan, Reason.ACTIVE) == [7]


def test_what_a_guarantee_rests_on_comes_before_every_share(house: House) -> None:
    house.answered(SCORES, drawn=[0, 1, 2, 6, 7, 8, 9])
    promised = replace(TIPO, guarantee=GuaranteeTerms(alpha=0.05))
    assert len(chosen(house.plan(), Reason.AUDIT)) == 4
    plan = house.plan(tasks=[promised])
    assert sorted(chosen(plan, Reason.AUDIT)) == [0, 1, 2, 6, 7, 8, 9]
    assert plan.allotments[0].why == "cuota 4; la garantía necesita 7; no hay más casos"
    house.policy = ReviewPolicy(budget=LabelBudget(5))
    tight = house.plan(tasks=[promised])
    assert len(chosen(tight, Reason.AUDIT)) == len(tight.cases) == 5
    assert tight.notes[0].startswith("La garantía descansa sobre 7 etiquetas del sorteo y caben 5")


def test_the_drawn_that_fit_are_not_chosen_by_what_was_said_of_them(house: House) -> None:
    house.policy = ReviewPolicy(budget=LabelBudget(3, 1.0, 0.0, 0.0))
    rising = [n / 20 for n in range(20)]
    house.answered(rising, drawn=range(20))
    one = set(chosen(house.plan(), Reason.AUDIT))
    assert one not in ({0, 1, 2}, {17, 18, 19})


def test_no_ticket_with_a_label_and_no_text_that_was_asked_about_is_chosen_to_teach(
    house: House,
) -> None:
    house.policy = ReviewPolicy(budget=LabelBudget(8, 0.0, 0.0, 1.0))
    house.answered(
        [0.81] * 8,
        texts={0: "Hay un hueco.", 1: "hay un HUECO", 2: "Sin luz", 3: "sin luz!", 4: "Sin luz."},
    )
    house.labelled(0)
    assert sorted(chosen(house.plan(), Reason.ACTIVE)) == [2, 5, 6, 7]


def test_pushing_the_plan_twice_adds_nothing_and_reasons_travel(
    house: House, tmp_path: Path
) -> None:
    house.answered(SCORES, drawn=[0, 1, 6])
    house.shadowed({2: "reclamo", 7: "reclamo"})
    assert house.push(tmp_path) == 10
    assert house.reasons() == {
        Reason.AUDIT: 3,
        Reason.DISAGREEMENT: 2,
        Reason.ACTIVE: 2,
        Reason.DOUBT: 3,
    }
    assert house.push(tmp_path) == 0


def test_people_are_asked_no_more_while_what_they_were_asked_before_waits(
    house: House, tmp_path: Path
) -> None:
    house.answered(SCORES, drawn=[0, 1, 6])
    house.push(tmp_path)
    for case in house.queue.cases("tipo", NORTE)[:4]:
        house.queue.answer(case.id, "ana", "queja", at=MONDAY + timedelta(hours=1))
    assert house.push(tmp_path, at=MONDAY + timedelta(days=1)) == 0
    assert house.push(tmp_path, at=MONDAY + timedelta(days=7)) == 4


def test_an_answer_that_several_people_give_costs_as_many_labels(house: House) -> None:
    house.policy = ReviewPolicy(overlap_share=1.0, overlap_reviewers=3, budget=BUDGET)
    house.answered(SCORES, drawn=[0, 1, 6])
    plan = house.plan()
    assert [case.labels for case in plan.cases] == [3, 3, 3]


def test_a_tenant_without_a_budget_is_told_how_to_have_one(house: House) -> None:
    house.policy = ReviewPolicy()
    with pytest.raises(InputError, match="has no label budget; write 'review:"):
        house.plan()


def test_an_empty_lake_gives_an_empty_plan(house: House) -> None:
    plan = house.plan(challenger="bundle-b")
    assert (plan.cases, plan.left) == ((), 10)
