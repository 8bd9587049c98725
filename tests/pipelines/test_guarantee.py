"""Guarantees over a real lake: issued from the audit, pinned in runs, withdrawn where they fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from contracts.tables import CLASSIFICATIONS, LABELS
from lakehouse.control.drift import DriftRecord
from lakehouse.control.runs import RunStatus
from lakehouse.errors import InputError
from lakehouse.run import RunContext, RunId
from models.guarantee import Guarantee, GuaranteeTerms, Lapse, Standing
from models.task import Task
from pipelines.guarantee import issue, routings_to_plan, standing_of, withdraw, withdraw_failed
from pipelines.plan import RunPlan
from pipelines.run import open_run, run_tenant

TERMS = GuaranteeTerms(alpha=0.2, delta=0.2, groups=(("peticion", "queja", "reclamo"),))


class House:
    """A tenant whose task `tipo` asks for a guarantee, and people who answer what was drawn."""

    def __init__(self, place: Any) -> None:
        self.place, self.kit, self.ports = place, place.kit, place.ports
        tipo, other = place.kit.tasks()
        self.tipo: Task = replace(tipo, guarantee=TERMS)
        self.tasks = (self.tipo, other)
        self.bundle = place.champion()
        self.tenant = place.kit.NORTE
        self.hours = 0

    @property
    def now(self) -> datetime:
        self.hours += 1
        return datetime(2026, 1, 12, 12, tzinfo=UTC) + timedelta(hours=self.hours)

    def run(self, seed: int, tickets: int) -> pl.DataFrame:
        """Take new tickets through a run, and return the champion's answers about their types."""
        lines = self.kit.seeded_lines(seed, tickets)
        path = self.kit.write_lines(self.place.lake.parent / f"more-{seed}.jsonl", lines)
        at = self.now
        self.kit.land(self.ports, path, at)
        manifest = run_tenant(self.tenant, self.tasks, self.ports, at=at)
        assert manifest is not None
        self.manifest = manifest
        return self.answers().filter(run_id=manifest.run.run_id)

    def answers(self, task: str = "tipo") -> pl.DataFrame:
        """Return every answer of the champion to a task."""
        rows = pl.DataFrame(self.place.rows(CLASSIFICATIONS))
        return rows.filter(task=task, tier="champion")

    def say(self, answers: pl.DataFrame, *, wrong_below: float) -> None:
        """Let a person agree with what has a score from `wrong_below` on."""
        now = self.now
        run = RunContext.begin(self.tenant, kind="review-pull", at=now)
        rows = [
            {
                "tenant_id": "norte",
                "run_id": run.run_id,
                "source": row["source"],
                "day": row["day"],
                "label_id": f"{row['ticket_id']}-{now.isoformat()}",
                "ticket_id": row["ticket_id"],
                "task": "tipo",
                "label": row["predicted_label"] if row["score"] >= wrong_below else "otra",
                "reviewer": "ana",
                "reason": "audit",
                "suggested_label": row["predicted_label"],
                "suggested_score": row["score"],
                "model_name": row["model_name"],
                "model_version": row["model_version"],
                "guideline_version": "1",
                "responded_at": now,
            }
            for row in answers.filter(pl.col("drawn")).to_dicts()
        ]
        table = pa.Table.from_pylist(rows, schema=LABELS.schema)
        self.ports.store.append(LABELS.table, table, run)

    def issue(self) -> Guarantee:
        return issue(
            self.tenant, self.tipo, self.bundle, self.ports.guarantees, at=self.now, by="ana"
        )

    def standing(self, **asked: Any) -> Standing:
        task, bundle = asked.get("task", self.tipo), asked.get("bundle", self.bundle)
        now = asked.get("now") or self.now
        return standing_of(self.tenant, task, bundle, self.ports.guarantees, now=now)


@pytest.fixture
def house(place: Callable[[], Any]) -> House:
    return House(place())


@pytest.fixture
def promised(house: House) -> House:
    """The same with people's answers about some hundred drawn tickets, and a guarantee."""
    house.run(21, 700)
    house.say(house.answers(), wrong_below=0.3)
    house.guarantee = house.issue()  # type: ignore[attr-defined]
    return house


def test_without_a_guarantee_nothing_is_accepted_and_the_run_says_so(house: House) -> None:
    answers = house.run(20, 40)
    assert set(answers["decision"]) == {"review"}
    assert answers["guarantee_id"].null_count() == len(answers)
    assert set(answers["drawn"]) == {True, False}
    assert house.manifest.pins["tipo.guarantee"] == "none (never issued)"
    record = house.ports.log.recent(house.tenant, limit=1)[0]
    assert record.status is RunStatus.DEGRADED
    checks = house.ports.log.quality(house.tenant, house.manifest.run.run_id)
    (told,) = [check.observed for check in checks if check.check.startswith("every guarantee")]
    assert told == f"nothing is accepted: tipo of {house.bundle.bundle_id} has none (never issued)"


def test_a_run_accepts_by_the_guarantee_and_its_rows_name_it(promised: House) -> None:
    found: Guarantee = promised.guarantee  # type: ignore[attr-defined]
    (promise,) = found.promises
    assert promise.accept_at is not None
    assert promise.errors / promise.accepted < TERMS.alpha
    assert promise.missing == 0
    answers = promised.run(22, 60)
    accepted = answers.filter(pl.col("decision").is_in(["accept", "audit"]))
    assert accepted["score"].min() >= promise.accept_at  # type: ignore[operator]
    assert answers.filter(decision="review")["score"].max() < promise.accept_at  # type: ignore[operator]
    assert set(answers["guarantee_id"]) == {found.guarantee_id}
    assert promised.manifest.pins["tipo.guarantee"] == found.guarantee_id
    others = promised.answers("prioridad").filter(run_id=promised.manifest.run.run_id)
    assert set(others["guarantee_id"]) == {None}
    assert set(others["decision"]) > {"accept"}


def test_a_run_keeps_what_it_was_planned_with(promised: House) -> None:
    at = promised.now
    lines = promised.kit.seeded_lines(23, 20)
    path = promised.kit.write_lines(promised.place.lake.parent / "kept.jsonl", lines)
    promised.kit.land(promised.ports, path, at)
    planned = open_run(promised.tenant, promised.tasks, promised.ports, at=at)
    assert planned is not None
    log = promised.ports.guarantees.log
    withdraw(promised.tenant, "tipo", log, at=promised.now, by="ana", reason="doubt")
    taken_up = open_run(promised.tenant, promised.tasks, promised.ports, at=promised.now)
    assert taken_up is not None
    assert taken_up.plan.routings == planned.plan.routings
    assert taken_up.plan.routings[0].guarantee_id is not None
    assert RunPlan.of(taken_up.plan.as_dict()) == taken_up.plan
    fresh = routings_to_plan(
        promised.tenant, promised.tasks, [promised.bundle], promised.ports.guarantees, now=at
    )
    assert fresh[0].reason == "withdrawn: doubt"


def test_drift_of_the_model_withdraws_it_for_good(promised: House) -> None:
    now, champion = promised.now, promised.bundle.tasks[0].champion
    report = DriftRecord(RunId("drift-1"), "tipo", champion.uri, "drift", 500, 500, None, now)
    drift = promised.ports.guarantees.drift
    run = RunContext.begin(promised.tenant, kind="drift", at=now)
    drift.record(run, replace(report, task="prioridad"))
    assert promised.standing().valid
    drift.record(run, report)
    assert promised.standing().lapse is Lapse.DRIFT
    asked = (promised.tenant, promised.tasks, promised.bundle, promised.ports.guarantees)
    (gone,) = withdraw_failed(*asked, now=promised.now)
    assert gone.lapse is Lapse.DRIFT
    assert withdraw_failed(*asked, now=promised.now) == []
    (record,) = promised.ports.guarantees.log.history(promised.tenant)
    assert record.withdrawal is not None
    assert (record.withdrawal.by, record.withdrawal.lapse) == ("plata", "drift")


def test_errors_the_audit_finds_withdraw_it_before_the_next_run(promised: House) -> None:
    promised.say(promised.run(24, 400), wrong_below=0.99)
    assert promised.standing().lapse is Lapse.ERRORS
    answers = promised.run(25, 20)
    assert set(answers["decision"]) == {"review"}
    assert promised.manifest.pins["tipo.guarantee"].startswith("none (errors: ")
    (record,) = promised.ports.guarantees.log.history(promised.tenant)
    assert record.withdrawal is not None


def test_another_bundle_and_other_terms_have_no_guarantee(promised: House) -> None:
    other = promised.place.champion("7")
    assert promised.standing(bundle=other).lapse is Lapse.BUNDLE
    stricter = replace(promised.tipo, guarantee=replace(TERMS, alpha=0.1))
    assert promised.standing(task=stricter).lapse is Lapse.TERMS
    later = datetime(2026, 8, 1, tzinfo=UTC)
    assert promised.standing(now=later).lapse is Lapse.AGE


def test_what_was_answered_too_lately_to_be_checked_can_be_left_out(promised: House) -> None:
    before = promised.now
    promised.run(26, 300)
    whole = promised.issue()
    asked = (promised.tenant, promised.tipo, promised.bundle, promised.ports.guarantees)
    some = issue(*asked, at=promised.now, by="ana", until=before)
    assert whole.promises[0].missing > 50
    assert some.promises[0].missing == 0
    assert some.coverage > whole.coverage
    assert promised.standing().guarantee == some


def test_a_task_that_asks_for_none_can_have_none(house: House) -> None:
    with pytest.raises(InputError, match="'prioridad' asks for no guarantee"):
        house.standing(task=house.tasks[1])
