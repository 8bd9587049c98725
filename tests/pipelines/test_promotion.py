"""Promotion and rollback on a real Postgres: what the next run uses, and that MLflow shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pyarrow.compute as pc
import pytest

from contracts.tables import CLASSIFICATIONS
from lakehouse.control.evaluations import EvaluationRecord
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import TenantBusyError
from lakehouse.control.tenants import TenantDirectory
from lakehouse.errors import InputError
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from models.folder import write_config
from models.gates import GatePolicy, TaskMeasures, read_policy
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.bundles import Changes, bundle_of_aliases
from pipelines.errors import BundleMismatchError
from pipelines.promotion import (
    PROMOTION_KIND,
    Asked,
    Decision,
    PromotionPorts,
    bundle_to_plan,
    champion_of,
    champions_in,
    judge_and_promote,
    judge_bundle,
    promote_bundle,
    require_free,
    restore,
    roll_back,
    successor,
)
from pipelines.run import run_bronze, run_gold, run_silver, run_tenant
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.bundles import Bundle
from registry.errors import UnknownBundleError
from registry.memory import MemoryRegistry
from registry.refs import BASELINE, ModelPackage, ModelRef


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def killed_at(place: str) -> Any:
    def on_step(reached: str) -> None:
        if reached == place:
            raise Killed

    return on_step


@dataclass
class House:
    """A tenant with one task, its rules as champion, and two more versions beside."""

    tenant: TenantContext
    task: Task
    registry: MemoryRegistry
    ports: PromotionPorts
    tenants: TenantDirectory
    folder: Path

    def words(self, number: int) -> ModelRef:
        """Register a model that reads no vectors; it is never asked."""
        folder = self.folder / f"model-{number}"
        folder.mkdir()
        labels = list(self.task.labels)
        write_config(folder, {"family": "linear", "labels": labels, "number": number})
        package = ModelPackage(self.task.model, folder, "linear", card="")
        return self.registry.register_model(package)

    def with_model(self, ref: ModelRef) -> Bundle:
        return successor(self.tenant, [self.task], Changes(models={"tema": ref}), self.ports)

    def promote(self, bundle: Bundle, place: str | None = None) -> bool:
        on_step = killed_at(place) if place else (lambda reached: None)
        decision = Decision("ana", "better")
        return promote_bundle(self.tenant, bundle, decision, self.ports, on_step=on_step)

    def to_plan(self) -> Bundle:
        return bundle_to_plan(self.tenant, [self.task], self.ports)[0]

    def in_mlflow(self) -> str:
        return self.registry.resolve_model(self.task.model).version


@pytest.fixture
def house(postgres_url: str, unopened: MemoryRegistry, tmp_path: Path) -> House:
    postgres, registry = Postgres(postgres_url), unopened
    tenant = TenantContext.parse(f"p{uuid4().hex[:10]}")
    tenants = TenantDirectory(postgres)
    tenants.create(tenant, name="Prueba")
    name = f"{tenant.tenant_id}.tema"
    titles = {"agua": "Agua potable", "luz": "Energía"}
    task = Task("tema", titles, "text", name, f"{name}.zero-shot", RoutingPolicy(0.8))
    register_baseline(registry, tenant, task)
    register_zero_shot_prompt(registry, tenant, task)
    ports = PromotionPorts.over(postgres, registry)
    made = House(tenant, task, registry, ports, tenants, tmp_path)
    made.promote(bundle_of_aliases([task], registry))
    return made


def test_a_promotion_is_what_the_next_run_is_planned_against_and_what_mlflow_shows(
    house: House,
) -> None:
    bundle = house.with_model(house.words(1))
    assert house.promote(bundle)
    assert house.to_plan() == bundle
    assert house.in_mlflow() == "2"
    assert not house.promote(bundle)
    assert len(house.ports.bundles.history(house.tenant, house.tenant.tenant_id)) == 2


def test_a_tenant_without_a_bundle_is_told_how_to_make_one(house: House) -> None:
    other = TenantContext.parse(f"p{uuid4().hex[:10]}")
    house.tenants.create(other, name="Otra")
    with pytest.raises(UnknownBundleError, match=f"create --tenant {other.tenant_id} --promote"):
        bundle_to_plan(other, [house.task], house.ports)


def test_an_alias_moved_in_mlflow_stops_the_plan_with_the_difference_and_both_ways_out(
    house: House,
) -> None:
    words = house.words(1)
    house.registry.promote_model(words.name, words.version)
    with pytest.raises(BundleMismatchError) as error:
        house.to_plan()
    message = str(error.value)
    own = f"--tenant {house.tenant.tenant_id}"
    assert f"tema: model: {words.name}@champion is version 2 in MLflow, version 1 in" in message
    assert f"`plata bundles create {own} --promote`" in message
    assert f"`plata bundles restore {own}`" in message
    assert "\n" not in message


@pytest.mark.parametrize("part", ["baseline", "zero-shot prompt"])
def test_what_only_runs_beside_must_agree_too(house: House, part: str) -> None:
    if part == "baseline":
        words = house.words(1)
        house.registry.promote_model(words.name, words.version, BASELINE)
    else:
        name = house.task.zero_shot_prompt
        known = house.registry.template(house.registry.resolve_prompt(name))
        ref = house.registry.register_prompt(name, known.replace("Energía", "Luz"), note="")
        house.registry.promote_prompt(name, ref.version)
    with pytest.raises(BundleMismatchError, match=f"tema: {part}: .* is version 2 in MLflow"):
        house.to_plan()


def test_restoring_lets_mlflow_show_what_runs(house: House) -> None:
    words = house.words(1)
    house.registry.promote_model(words.name, words.version)
    bundle, found = restore(house.tenant, house.ports)
    assert [difference.in_mlflow for difference in found] == ["2"]
    assert (house.in_mlflow(), house.to_plan()) == ("1", bundle)


def test_promoting_what_mlflow_shows_lets_it_run(house: House) -> None:
    words = house.words(1)
    house.registry.promote_model(words.name, words.version)
    champion = champion_of(house.tenant, house.ports.bundles)
    adopted = bundle_of_aliases([house.task], house.registry, like=champion)
    house.promote(adopted)
    assert house.to_plan() == adopted
    assert adopted.tasks[0].champion == words


def test_a_promotion_killed_before_the_move_in_postgres_has_changed_nothing(house: House) -> None:
    before = house.to_plan()
    bundle = house.with_model(house.words(1))
    with pytest.raises(Killed):
        house.promote(bundle, "before the move in Postgres")
    assert (house.to_plan(), house.in_mlflow()) == (before, "1")


def test_a_promotion_killed_between_postgres_and_mlflow_is_told_and_finished_by_doing_it_again(
    house: House,
) -> None:
    bundle = house.with_model(house.words(1))
    with pytest.raises(Killed):
        house.promote(bundle, "after the move in Postgres")
    assert champion_of(house.tenant, house.ports.bundles) == bundle
    with pytest.raises(BundleMismatchError, match="is version 1 in MLflow, version 2 in the bund"):
        house.to_plan()
    assert not house.promote(bundle)
    assert (house.to_plan(), house.in_mlflow()) == (bundle, "2")
    assert len(house.ports.bundles.history(house.tenant, house.tenant.tenant_id)) == 2


def test_a_promotion_killed_between_two_aliases_of_mlflow_is_finished_too(house: House) -> None:
    words = house.words(1)
    changes = Changes(models={"tema": words, "tema.baseline": words})
    bundle = successor(house.tenant, [house.task], changes, house.ports)
    with pytest.raises(Killed):
        house.promote(bundle, f"after {words.name}@champion in MLflow")
    with pytest.raises(BundleMismatchError, match="tema: baseline: "):
        house.to_plan()
    house.promote(bundle)
    assert house.to_plan() == bundle


def test_no_run_is_planned_while_a_promotion_is_at_work(house: House) -> None:
    with (
        house.ports.log.exclusive(house.tenant, PROMOTION_KIND),
        pytest.raises(TenantBusyError, match="another 'promotion' is at work"),
    ):
        house.to_plan()


def test_a_rollback_goes_to_the_champion_before_at_once(house: House) -> None:
    first = house.to_plan()
    second, third = (house.with_model(house.words(number)) for number in (1, 2))
    for bundle in (second, third):
        house.promote(bundle)
    undo = Decision("eva", "complaints taken for questions")
    assert roll_back(house.tenant, [house.task], undo, house.ports) == second
    assert (house.to_plan(), house.in_mlflow()) == (second, "2")
    assert roll_back(house.tenant, [house.task], undo, house.ports) == first
    assert (house.to_plan(), house.in_mlflow()) == (first, "1")
    with pytest.raises(InputError, match="has no champion before the one it has"):
        roll_back(house.tenant, [house.task], undo, house.ports)
    assert roll_back(house.tenant, [house.task], undo, house.ports, to=third.bundle_id) == third
    newest = house.ports.bundles.history(house.tenant, house.tenant.tenant_id)[0]
    assert (newest.by, newest.reason) == ("eva", "complaints taken for questions")
    assert (newest.before, newest.after) == (first.bundle_id, third.bundle_id)


def test_a_rollback_killed_on_its_way_to_mlflow_is_finished_by_restoring(house: House) -> None:
    first = house.to_plan()
    house.promote(house.with_model(house.words(1)))
    place = killed_at("after the move in Postgres")
    with pytest.raises(Killed):
        roll_back(house.tenant, [house.task], Decision("e", "r"), house.ports, on_step=place)
    restore(house.tenant, house.ports)
    assert (house.to_plan(), house.in_mlflow()) == (first, "1")


def test_only_what_was_a_champion_is_rolled_back_to(house: House) -> None:
    bundle = house.with_model(house.words(1))
    house.ports.bundles.keep(house.tenant, house.tenant.tenant_id, bundle, by="ana")
    with pytest.raises(InputError, match="was never the champion"):
        roll_back(house.tenant, [house.task], Decision("e", "r"), house.ports, to=bundle.bundle_id)


def test_a_rollback_to_labels_of_another_time_is_refused(house: House) -> None:
    house.promote(house.with_model(house.words(1)))
    now = replace(house.task, titles={"agua": "Agua", "vías": "Vías"})
    with pytest.raises(BundleMismatchError, match="'tema' is answered with agua, luz in the bund"):
        roll_back(house.tenant, [now], Decision("e", "r"), house.ports)


def test_what_was_not_evaluated_is_kept_from_being_champion_and_the_gate_says_so(
    house: House,
) -> None:
    before = house.to_plan()
    bundle = house.with_model(house.words(1))
    asked = Asked("ana", "ana", "")
    outcome = judge_and_promote(house.tenant, bundle, asked, GatePolicy(), house.ports)
    assert outcome.verdict is not None
    assert [gate.name for gate in outcome.verdict.failed] == ["evaluated"]
    assert (outcome.refused, outcome.promoted) == (True, False)
    assert house.to_plan() == before


def test_what_was_evaluated_and_is_better_is_promoted_with_its_verdict(house: House) -> None:
    before, bundle = house.to_plan(), house.with_model(house.words(1))
    found = TaskMeasures(
        task="tema",
        challenger="models:/x/2",
        champion="models:/x/1",
        texts=200,
        macro_f1=0.8,
        champion_macro_f1=0.6,
        lift_low=0.1,
        lift_high=0.3,
        p_better=0.001,
        ece=0.05,
        seconds=1.0,
        champion_seconds=1.0,
    )
    house.ports.evaluations.record(
        house.tenant,
        EvaluationRecord(
            evaluation_id=RunId("evaluate-1"),
            task="tema",
            answers_id=bundle.answers_id("tema"),
            champion_answers_id=before.answers_id("tema"),
            bundle_id=bundle.bundle_id,
            model="models:/x/2",
            champion="models:/x/1",
            judged_on="file",
            texts=200,
            page="",
            measured_at=datetime(2026, 1, 10, tzinfo=UTC),
            measures=found.as_dict(),
            report={},
        ),
    )
    outcome = judge_and_promote(
        house.tenant, bundle, Asked("ana", "luis", "learned more"), read_policy(), house.ports
    )
    assert (outcome.promoted, outcome.forced) == (True, False)
    assert house.to_plan() == bundle
    move = house.ports.bundles.history(house.tenant, house.tenant.tenant_id)[0]
    assert (move.forced, move.verdict is not None and move.verdict["passed"]) == (False, True)


def test_force_goes_past_the_gates_and_lands_in_the_audit_log_with_its_verdict(
    house: House,
) -> None:
    bundle = house.with_model(house.words(1))
    asked = Asked("ana", "ana", "the law changed today", force=True)
    outcome = judge_and_promote(house.tenant, bundle, asked, GatePolicy(), house.ports)
    assert (outcome.promoted, outcome.forced) == (True, True)
    move = house.ports.bundles.history(house.tenant, house.tenant.tenant_id)[0]
    assert (move.forced, move.by, move.reason) == (True, "ana", "the law changed today")
    assert move.verdict is not None
    assert move.verdict["passed"] is False
    assert move.verdict["policy"] == GatePolicy().as_dict()


def test_force_without_a_reason_moves_nothing(house: House) -> None:
    before = house.to_plan()
    bundle = house.with_model(house.words(1))
    with pytest.raises(InputError, match="give one with --reason"):
        judge_and_promote(
            house.tenant, bundle, Asked("ana", "ana", " ", force=True), GatePolicy(), house.ports
        )
    assert house.to_plan() == before


def test_a_bundle_that_only_routes_otherwise_needs_no_evaluation(house: House) -> None:
    changes = Changes(accept_at={"tema": 0.9})
    bundle = successor(house.tenant, [house.task], changes, house.ports)
    asked = Asked("ana", "ana", "fewer mistakes")
    assert judge_bundle(house.tenant, bundle, asked, GatePolicy(), house.ports).promoted is False
    outcome = judge_and_promote(house.tenant, bundle, asked, GatePolicy(), house.ports)
    assert (outcome.promoted, outcome.forced) == (True, False)


def test_an_alias_that_shows_a_champion_is_moved_by_its_promotion_alone(house: House) -> None:
    tenants, bundles = house.tenants, house.ports.bundles
    name = house.task.model
    with pytest.raises(InputError, match=f"`plata promote {name} 2 --tenant"):
        require_free(name, "2", "champion", tenants, bundles)
    with pytest.raises(InputError, match=f"--with tema.baseline=models:/{name}/2 --promote`"):
        require_free(name, "2", "baseline", tenants, bundles)
    require_free(name, "2", "retador", tenants, bundles)


def test_a_run_keeps_the_bundle_it_was_planned_with_whatever_is_promoted_in_its_middle(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    url, lake = killable.copied(server, prepared, "promoted")
    ports = killable.ports_at(url, lake)
    norte, tasks = killable.NORTE, killable.tasks()
    planned = run_bronze(norte, tasks, ports, at=killable.SECOND)
    assert planned is not None
    before = planned.plan.bundle
    first, *rest = before.tasks
    after = replace(before, tasks=(replace(first, accept_at=0.9), *rest))
    promote_bundle(norte, after, Decision("ana", "stricter"), ports.promotion)
    with pytest.raises(InputError, match=f"is open and keeps {before.bundle_id}"):
        run_tenant(norte, tasks, ports, at=killable.SECOND, bundle=after.bundle_id)
    assert run_silver(norte, ports).plan.bundle == before
    manifest = run_gold(norte, ports, at=killable.SECOND)
    assert manifest.pins["bundle"] == before.bundle_id
    assert manifest.pins["bundle.asked"] == "bundle:/norte@champion"

    more = killable.write_lines(lake.parent / "more.jsonl", killable.seeded_lines(7, 5))
    killable.land(ports, more, killable.THIRD)
    next_run = run_tenant(norte, tasks, ports, at=killable.THIRD)
    assert next_run is not None
    assert next_run.pins["bundle"] == after.bundle_id
    rows = ports.store.scan(CLASSIFICATIONS.table, norte)
    assert rows is not None
    for done in (manifest, next_run):
        own = rows.filter(pc.equal(rows["run_id"], done.run.run_id))
        assert set(own["bundle_id"].to_pylist()) == {done.pins["bundle"]}
    with ports.postgres.connect(norte) as connection:
        told = connection.execute(
            "SELECT bundle_id FROM meta.etl_runs WHERE tenant_id = 'norte' "
            "ORDER BY started_at DESC LIMIT 2"
        ).fetchall()
    assert told == [(after.bundle_id,), (before.bundle_id,)]


def test_a_run_can_be_planned_against_another_bundle_than_the_champion(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    url, lake = killable.copied(server, prepared, "another")
    ports = killable.ports_at(url, lake)
    norte, tasks = killable.NORTE, killable.tasks()
    champion = ports.promotion.bundles.find(norte, "bundle:/norte@champion")
    other = replace(champion, seed=99)
    ports.promotion.bundles.keep(norte, "prueba", other, by="ana")
    asked = f"bundle:/prueba/{other.bundle_id}"
    manifest = run_tenant(norte, tasks, ports, at=killable.SECOND, bundle=asked)
    assert manifest is not None
    assert (manifest.pins["bundle"], manifest.pins["bundle.asked"]) == (other.bundle_id, asked)
    assert manifest.run.seed == 99
    assert ports.promotion.bundles.find(norte, "bundle:/norte@champion") == champion


def test_going_back_takes_away_what_stood_upon_it(house: House) -> None:
    history = house.ports.bundles.history(house.tenant, house.tenant.tenant_id)

    def moves(*names: str) -> list[str]:
        made = [replace(history[0], after=name) for name in names]
        return champions_in(list(reversed(made)))

    assert moves("a", "b", "c") == ["a", "b", "c"]
    assert moves("a", "b", "c", "b") == ["a", "b"]
    assert moves("a", "b", "c", "b", "a", "c") == ["a", "c"]
