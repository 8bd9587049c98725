"""Retraining on a real lake and Postgres: when, on what, once, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from features.embed import embed_step
from features.tiny import write_tiny_model
from lakehouse.control.drift import DriftLog, DriftRecord
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.errors import InputError, ServiceUnavailableError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.gates import GatePolicy
from models.routing import RoutingPolicy
from models.steps import classify_step
from models.task import Task
from pipelines.bundles import bundle_of_aliases
from pipelines.enrich import ModelSteps
from pipelines.evaluate import EvaluationPorts
from pipelines.promotion import Asked, Decision, PromotionPorts, champion_of, promote_bundle
from pipelines.proposals import Proposal, Stage, approve, newest_proposal, proposals
from pipelines.retrain import (
    BY,
    RETRAIN_KIND,
    RETRAINING_TAG,
    Retraining,
    RetrainPorts,
    carry_out,
    look,
    model_of,
    retrainings,
)
from pipelines.retrain_policy import Approve, Reason, RetrainPolicy, Trigger, due
from pipelines.retrain_round import Round, retrain
from pipelines.steps import unobserved
from pipelines.train import (
    register_baseline,
    register_embedding_model,
    register_zero_shot_prompt,
)
from registry.challenges import ExperimentLog, Spent
from registry.memory import MemoryRegistry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=1)
FIRST_DAY = date(2026, 1, 1)
DAYS, A_DAY = 20, 8
WORDS = {"agua": ["tubería", "fuga", "grifo"], "luz": ["poste", "cable", "transformador"]}
GATES = GatePolicy(texts_at_least=20, lift_at_least=0.0, p_at_most=0.05, same_contract=True)
EVERY_TRIGGER = RetrainPolicy(every_days=30, new_labels=50, on_drift=10)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def label_of(number: int) -> str:
    return "agua" if number % 2 else "luz"


def text_of(number: int) -> str:
    words = WORDS[label_of(number)]
    return f"hay un daño en {words[number // 2 % 3]} de la calle {number}"


def day_of(number: int) -> date:
    return FIRST_DAY + timedelta(days=number // A_DAY)


@dataclass
class House:
    """A tenant whose champion is its rules, which know none of the words that people write."""

    lake: Any
    tenant: TenantContext
    task: Task
    registry: MemoryRegistry
    ports: RetrainPorts

    def label(self, numbers: Sequence[int], at: datetime = NOON) -> None:
        found = {n: (day_of(n), label_of(n)) for n in numbers}
        self.lake.labels(self.task.name, found, at=at, drawn=lambda n: n % 4 < 2)

    def look(self, policy: RetrainPolicy = EVERY_TRIGGER, now: datetime = NOW) -> Any:
        return look(self.tenant, self.task, policy, self.ports, now=now)

    def round(
        self,
        policy: RetrainPolicy = EVERY_TRIGGER,
        *,
        now: datetime = NOW,
        asked: bool = False,
        on_step: Callable[[str], None] = unobserved,
    ) -> Round:
        def carry(retraining: Retraining) -> None:
            carry_out(retraining, [self.task], self.ports, on_step=on_step)

        return retrain(
            self.tenant, [self.task], policy, self.ports, now=now, carry=carry, asked=asked
        )

    def proposals(self, policy: RetrainPolicy = EVERY_TRIGGER) -> list[Proposal]:
        return proposals(self.tenant, [self.task], policy, self.ports)

    def shadowed(self) -> None:
        """Have a run end in which the challenger answered aside."""
        experiment = self.ports.experiments.running(self.tenant)
        assert experiment is not None
        run = RunContext.begin(self.tenant, kind="run", at=NOW)
        self.ports.log.start(run, "run", {})
        self.ports.log.finish(run, RunStatus.COMPLETED, manifest={})
        spent = Spent(run.run_id, experiment.bundle_id, "all", self.task.name, 3, 0.1)
        self.ports.experiments.record(self.tenant, experiment.experiment_id, spent)

    def drifted(self, verdict: str, model: str | None = None, at: datetime = NOW) -> None:
        own = champion_of(self.tenant, self.ports.promotion.bundles)
        assert own is not None
        uri = model or own.tasks[0].champion.uri
        run = RunContext.begin(self.tenant, kind="drift", at=at)
        self.ports.log.start(run, "drift", {})
        record = DriftRecord(run.run_id, self.task.name, uri, verdict, 9, 9, None, at)
        self.ports.drift.record(run, record)

    @property
    def models(self) -> list[str]:
        """The versions that retrainings have made."""
        return [i.version for i in self.registry.models() if RETRAINING_TAG in i.tags]

    @property
    def champion(self) -> Any:
        own = champion_of(self.tenant, self.ports.promotion.bundles)
        assert own is not None
        return model_of(own, self.task)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [word for own in WORDS.values() for word in own]
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model", words)


@pytest.fixture
def house(postgres_url: str, tiny: Path, written: Any) -> House:
    postgres, registry = Postgres(postgres_url), MemoryRegistry()
    tenant = TenantContext.parse(f"r{uuid4().hex[:10]}")
    TenantDirectory(postgres).create(tenant, name="Prueba")
    name = f"{tenant.tenant_id}.tema"
    titles = {"agua": "Agua potable", "luz": "Energía"}
    task = Task("tema", titles, "text", name, f"{name}.zero-shot", RoutingPolicy(0.8))
    register_embedding_model(registry, tiny)
    register_baseline(registry, tenant, task)
    register_zero_shot_prompt(registry, tenant, task)
    promotion = PromotionPorts.over(postgres, registry)
    promote_bundle(tenant, bundle_of_aliases([task], registry), Decision("ana", "1"), promotion)
    lake = written(tenant)
    lake.tickets({n: (day_of(n), text_of(n)) for n in range(DAYS * A_DAY)})
    evaluation = EvaluationPorts(
        lake.store, registry, registry, promotion.evaluations, ModelSteps(embed_step, classify_step)
    )
    ports = RetrainPorts(
        lake.store,
        promotion.log,
        DriftLog(postgres),
        promotion,
        evaluation,
        ExperimentLog(postgres),
        GATES,
    )
    return House(lake, tenant, task, registry, ports)


@pytest.mark.parametrize(
    ("new", "alert", "last", "trigger"),
    [
        (0, NOON, None, None),
        (9, NOON, NOON, None),
        (10, NOON, NOON, Trigger.DRIFT),
        (10, None, NOON, None),
        (49, None, NOON, None),
        (50, None, NOON, Trigger.LABELS),
        (50, NOON, None, Trigger.DRIFT),
        (1, None, None, Trigger.SCHEDULE),
        (1, None, NOW - timedelta(days=30), Trigger.SCHEDULE),
        (1, None, NOW - timedelta(days=29), None),
        (0, None, NOW - timedelta(days=99), None),
    ],
)
def test_a_retraining_is_due_by_drift_by_labels_or_by_time_and_never_without_a_new_label(
    new: int, alert: datetime | None, last: datetime | None, trigger: Trigger | None
) -> None:
    found = due(EVERY_TRIGGER, NOW, new_labels=new, drift_alert=alert, last_trained=last)
    assert (found.trigger if found else None) is trigger
    assert due(RetrainPolicy(), NOW, new_labels=new, drift_alert=alert, last_trained=last) is None


def test_new_labels_become_one_measured_challenger_in_a_shadow_and_a_proposal(
    house: House,
) -> None:
    before = house.champion
    house.label(range(DAYS * A_DAY))
    done = house.round()
    assert [o.reason.trigger for o in done.outlooks if o.reason] == [Trigger.LABELS]
    (one,) = house.proposals()
    assert (one.stage, one.retraining.run.run_id) == (Stage.PROPOSED, done.begun[0])
    assert house.models == ["2"]
    experiment = house.ports.experiments.running(house.tenant)
    assert experiment is not None
    assert one.bundle is not None
    assert (experiment.bundle_id, experiment.started_by) == (one.bundle.bundle_id, BY)
    assert one.verdict is not None
    failed = [gate["name"] for gate in one.verdict["gates"] if not gate["passed"]]
    assert failed == ["shadow"]
    (record,) = house.ports.evaluation.log.recent(house.tenant)
    assert record.measures is not None
    assert record.measures["macro_f1"] > record.measures["champion_macro_f1"]
    assert record.evaluation_id == one.retraining.run.run_id
    assert house.champion == before
    (run,) = retrainings(house.tenant, house.ports.log)
    assert one.retraining.plan() == run.plan
    assert one.retraining.reason == Reason(Trigger.LABELS, "160 new labels (new_labels: 50)")
    assert run.manifest is not None
    assert run.manifest["inputs"] == dict(one.retraining.known.versions)
    assert len(run.manifest["inputs"]) == 3


def test_the_same_trigger_makes_one_retraining_and_more_labels_the_next(house: House) -> None:
    house.label(range(120))
    assert len(house.round().begun) == 1
    again = house.round(now=NOW + timedelta(hours=1))
    assert (again.begun, again.taken_up, again.promoted) == ((), (), ())
    assert again.outlooks[0].new_labels == 0
    house.label(range(120, 160), NOW + timedelta(hours=1))
    assert house.round(now=NOW + timedelta(hours=2)).begun == ()
    assert house.look(now=NOW + timedelta(hours=2)).new_labels == 40
    house.drifted("drift")
    third = house.round(now=NOW + timedelta(hours=3))
    assert [o.reason.trigger for o in third.outlooks if o.reason] == [Trigger.DRIFT]
    assert [one.stage for one in house.proposals()] == [Stage.PROPOSED, Stage.REPLACED]
    shadows = house.ports.experiments.all(house.tenant)
    assert [one.stopped_by for one in shadows] == [None, BY]


def test_drift_counts_where_it_is_the_champions_and_the_last_look_found_it(house: House) -> None:
    house.label(range(20))
    house.drifted("drift", model="models:/another/7")
    assert house.look().drift_alert is None
    house.drifted("drift", at=NOW + timedelta(hours=1))
    house.drifted("insufficient_data", at=NOW + timedelta(hours=2))
    assert house.look().drift_alert == NOW + timedelta(hours=1)
    house.drifted("stable", at=NOW + timedelta(hours=3))
    assert house.look().drift_alert is None


def test_too_little_to_learn_from_is_told_and_begins_nothing(house: House) -> None:
    house.label(range(50))
    done = house.round()
    assert done.begun == ()
    assert "at least" in str(done.outlooks[0].missing)
    assert retrainings(house.tenant, house.ports.log) == []
    with pytest.raises(InputError, match="plata review"):
        house.round(asked=True)


PLACES = [
    "before the model",
    "after the model",
    "before the evaluation",
    "after the evaluation",
    "before the shadow",
    "after the shadow",
    "before the end",
]


def test_killed_anywhere_it_is_taken_up_and_done_once(house: House) -> None:
    house.label(range(DAYS * A_DAY))

    def killed_at(place: str) -> Callable[[str], None]:
        def on_step(reached: str) -> None:
            if reached == place:
                raise Killed

        return on_step

    for number, place in enumerate(PLACES):
        with pytest.raises(Killed):
            house.round(now=NOW + timedelta(minutes=number), on_step=killed_at(place))
        assert [one.stage for one in house.proposals()] == [Stage.RUNNING]
    house.label(range(40, 60), NOW)  # What comes in between is not for this one.
    done = house.round(now=NOW + timedelta(hours=1))
    assert (len(done.taken_up), done.begun) == (1, ())
    (one,) = house.proposals()
    assert one.stage is Stage.PROPOSED
    assert one.counts is not None
    assert one.counts["labels"] == DAYS * A_DAY
    assert house.models == ["2"]
    assert len(house.ports.evaluation.log.recent(house.tenant)) == 1
    assert len(house.ports.experiments.all(house.tenant)) == 1


def test_a_person_promotes_what_the_shadow_has_shown_and_the_shadow_ends(house: House) -> None:
    house.label(range(DAYS * A_DAY))
    house.round()
    asked = Asked("ana", "ana", "it reads the new words")

    def decide() -> Any:
        one = newest_proposal(house.proposals(), "tema", house.tenant)
        return approve(one, asked, EVERY_TRIGGER, house.ports, at=NOW)

    assert decide().refused
    house.shadowed()
    assert decide().promoted
    (one,) = house.proposals()
    assert (one.stage, one.model) == (Stage.PROMOTED, house.champion)
    assert one.verdict is not None
    assert one.verdict["passed"]
    assert house.ports.experiments.running(house.tenant) is None
    with pytest.raises(InputError, match="there wait: none"):
        newest_proposal(house.proposals(), None, house.tenant)


def test_a_policy_promotes_only_what_every_gate_lets(house: House) -> None:
    policy = replace(EVERY_TRIGGER, approve=Approve.POLICY)
    house.label(range(DAYS * A_DAY))
    before = house.champion
    assert house.round(policy).promoted == ()
    assert house.champion == before
    house.shadowed()
    (one,) = house.round(policy, now=NOW + timedelta(hours=1)).promoted
    assert house.champion == one.model != before
    move = house.ports.promotion.bundles.history(house.tenant, house.tenant.tenant_id)[0]
    assert (move.by, move.forced) == (BY, False)
    assert one.retraining.run.run_id in move.reason


def test_a_challenger_the_gates_refuse_is_not_shadowed_and_waits_for_a_person(
    house: House,
) -> None:
    house.ports = replace(house.ports, gates=replace(GATES, texts_at_least=1000))
    house.label(range(DAYS * A_DAY))
    policy = replace(EVERY_TRIGGER, approve=Approve.POLICY, shadow_runs=0)
    assert house.round(policy).promoted == ()
    assert house.ports.experiments.all(house.tenant) == []
    (one,) = house.proposals(policy)
    assert one.stage is Stage.PROPOSED
    asked = Asked("ana", "ana", "known to be better", force=True)
    assert approve(one, asked, policy, house.ports, at=NOW).forced


def test_a_service_that_is_away_leaves_it_open_and_what_stays_wrong_ends_it(house: House) -> None:
    house.label(range(DAYS * A_DAY))

    def away(place: str) -> None:
        if place == "before the model":
            raise ServiceUnavailableError.of("MLflow", "http://localhost", "refused")

    def wrong(place: str) -> None:
        if place == "before the evaluation":
            msg = "nothing fair to judge on"
            raise InputError(msg)

    with pytest.raises(ServiceUnavailableError):
        house.round(on_step=away)
    assert house.ports.log.unfinished(house.tenant, RETRAIN_KIND) is not None
    with pytest.raises(InputError):
        house.round(on_step=wrong, now=NOW + timedelta(hours=1))
    (one,) = house.proposals()
    assert (one.stage, one.error) == (Stage.FAILED, "nothing fair to judge on")
    assert house.round(now=NOW + timedelta(hours=2)).begun == ()
