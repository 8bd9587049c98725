from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from contracts.tables import ENTITIES, MESSAGES
from lakehouse.errors import ConfigurationError
from lakehouse.tenancy import TenantContext
from models.entities import default_entities, entities_step, save_entities
from models.task import EntityTask
from models.zero_shot import default_prompt
from pipelines.bundles import bundle_of_aliases, changes_of, check_fit, with_changes
from pipelines.entity_models import register_entities, with_entities
from pipelines.errors import BundleMismatchError
from pipelines.promotion import Decision, promote_bundle, shown_by_mlflow
from pipelines.reproduce import reproduce
from pipelines.run import RunPorts, run_tenant
from pipelines.tenant_config import default_config, entity_tasks_of, tasks_of
from registry.bundle_diff import bundle_changes
from registry.memory import MemoryRegistry
from registry.refs import ModelRef, PromptRef

NORTE = TenantContext.parse("norte")
LINES = [
    ("t8", "Pagué $ 50.000 el 3 de mayo de 2025 en Neiva, radicado OT-551904."),
    ("t9", "No hay agua en el barrio"),
]


class Killed(BaseException):
    """A run that ends here."""


@pytest.fixture
def ports(
    killable: ModuleType, server: str, prepared: Path, request: pytest.FixtureRequest
) -> RunPorts:
    """A copy of the prepared lake, in which the tenant wants entities and two more texts wait."""
    url, lake = killable.copied(server, prepared, f"ent-{abs(hash(request.node.name)) % 10**8}")

    fixed: Any = killable.FixedRegistry

    class WithEntities(fixed):
        def fetch(self, model: ModelRef) -> Path:
            folder: Path = super().fetch(model)
            if model.name == "norte.entidades":
                save_entities(*default_entities(), folder)
            return folder

    models = replace(killable.QUICK_MODELS, extract=entities_step)
    quick = killable.ports_at(url, lake, models)
    made: RunPorts = replace(quick, registry=WithEntities(lake.parent))
    wanting(killable, made, ("fecha", "monto", "radicado", "lugar", "organizacion"))
    lines = [line for t, text in LINES for line in (killable.created(t), killable.said(t, text))]
    path = killable.write_lines(lake.parent / "third.jsonl", lines)
    killable.land(made, path, killable.SECOND)
    return made


def wanting(killable: ModuleType, ports: RunPorts, kinds: tuple[str, ...]) -> None:
    """Promote a bundle that finds these kinds."""
    bundle = bundle_of_aliases(killable.tasks(), ports.registry)
    finder = EntityTask("entidades", kinds, "norte.entidades")
    wanted = with_entities(bundle, [finder], ports.registry)
    promote_bundle(NORTE, wanted, Decision("tests", "entities"), ports.promotion)


def done(killable: ModuleType, ports: RunPorts, on_step: Callable[[str], None]) -> Any:
    return run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND, on_step=on_step)


def nothing(place: str) -> None:
    """Let a run go on."""


def mentions(ports: RunPorts) -> list[dict[str, Any]]:
    rows = ports.store.scan(ENTITIES.table, NORTE)
    assert rows is not None
    return sorted(rows.to_pylist(), key=lambda row: (row["ticket_id"], row["text_start"]))


def test_what_a_text_names_stands_in_silver_with_its_versions(
    killable: ModuleType, ports: RunPorts
) -> None:
    manifest = done(killable, ports, nothing)
    rows = [row for row in mentions(ports) if row["ticket_id"] == killable.uid("t8")]
    assert [(row["kind"], row["text"]) for row in rows] == [
        ("monto", "$ 50.000"),
        ("fecha", "3 de mayo de 2025"),
        ("lugar", "Neiva"),
        ("radicado", "OT-551904"),
    ]
    assert json.loads(rows[2]["value"]) == {"dane_code": "41001", "name": "Neiva"}
    versions = {(r["task"], r["tier"], r["model_name"], r["model_version"]) for r in rows}
    assert versions == {("entidades", "champion", "norte.entidades", "2")}
    assert {(r["run_id"], r["bundle_id"]) for r in rows} == {
        (manifest.run.run_id, manifest.pins["bundle"])
    }
    assert manifest.pins["entidades.champion"] == "models:/norte.entidades/2"
    assert manifest.counts["silver_entities"] == len(mentions(ports))


def test_a_mention_leads_to_the_message_it_stands_in(killable: ModuleType, ports: RunPorts) -> None:
    done(killable, ports, nothing)
    messages = ports.store.scan(MESSAGES.table, NORTE)
    assert messages is not None
    texts = {row["event_id"]: row["text"] for row in messages.to_pylist()}
    found = mentions(ports)
    assert found
    assert all(
        texts[row["event_id"]][row["text_start"] : row["text_end"]] == row["text"] for row in found
    )


def test_a_run_killed_around_entities_finds_the_same_once(
    killable: ModuleType, ports: RunPorts
) -> None:
    places: list[str] = []

    def kill_once(place: str) -> None:
        if "silver_entities" in place and place not in places:
            places.append(place)
            raise Killed

    for _ in range(9):
        try:
            manifest = done(killable, ports, kill_once)
            break
        except Killed:
            continue
    assert len(places) >= 2
    found = mentions(ports)
    keys = {(r["ticket_id"], r["event_id"], r["kind"], r["text_start"]) for r in found}
    assert len(keys) == len(found) == manifest.counts["silver_entities"]
    record = ports.log.find(NORTE, manifest.run.run_id)
    assert record is not None
    with killable.scratch() as scratch:
        again = reproduce(record, ports, scratch, at=killable.THIRD, code_version="unknown")
    assert again.differing == []


def test_other_rules_are_another_bundle(killable: ModuleType, ports: RunPorts) -> None:
    first = done(killable, ports, nothing).pins["bundle"]
    wanting(killable, ports, ("fecha",))
    path = killable.write_lines(
        killable.lake_of(ports) / "fourth.jsonl",
        [killable.created("t10"), killable.said("t10", "El 3 de mayo en Neiva")],
    )
    killable.land(ports, path, killable.THIRD)
    manifest = run_tenant(NORTE, killable.tasks(), ports, at=killable.THIRD)
    assert manifest is not None
    assert manifest.pins["bundle"] != first
    own = [row["kind"] for row in mentions(ports) if row["run_id"] == manifest.run.run_id]
    assert own == ["fecha"]


def test_a_configuration_has_tasks_of_both_kinds() -> None:
    values = default_config()
    assert [task.name for task in tasks_of(values, NORTE)] == ["tipo", "prioridad"]
    (found,) = entity_tasks_of(values, NORTE)
    kinds = ("fecha", "monto", "radicado", "lugar", "organizacion")
    assert found == EntityTask("entidades", kinds, "norte.entidades")


@pytest.mark.parametrize(
    ("task", "lacks"),
    [
        ({"kind": "entities", "kinds": ["x"]}, r"tasks\.e\.kinds\.0: Input should be 'fecha'"),
        ({"kind": "otra"}, r"tasks\.e\.kind: Input should be 'entities'"),
        ({"etiquetas": {"a": "A"}}, r"tasks\.e\.etiquetas: .*at least 2"),
    ],
)
def test_a_task_that_cannot_be_read_is_named(task: object, lacks: str) -> None:
    values = default_config()
    values["tasks"]["e"] = task
    with pytest.raises(ConfigurationError, match=lacks):
        tasks_of(values, NORTE)


def test_a_tenant_needs_a_task_with_labels() -> None:
    with pytest.raises(ConfigurationError, match="at least one task has labels"):
        tasks_of({"tasks": {"e": {"kind": "entities"}}}, NORTE)


def test_rules_are_registered_once_and_those_of_others_stay() -> None:
    registry = MemoryRegistry()
    (task,) = entity_tasks_of(default_config(), NORTE)
    first = register_entities(registry, NORTE, task)
    assert register_entities(registry, NORTE, task) == first
    assert registry.resolve_model(task.model) == first
    (info,) = registry.models()
    assert info.text.startswith("# norte.entidades: entities by rules")


def test_another_version_of_the_rules_is_a_part_of_a_bundle_like_any_other(
    killable: ModuleType, tmp_path: Path
) -> None:
    registry = killable.FixedRegistry(tmp_path)
    tasks = killable.tasks()
    finder = EntityTask("entidades", ("fecha",), "norte.entidades")
    bundle = with_entities(bundle_of_aliases(tasks, registry), [finder], registry)
    newer = ModelRef("norte.entidades", "7", "0f")
    moved = with_changes(bundle, changes_of(newer, bundle, tasks), registry)
    assert [pins.model for pins in moved.entities] == [newer]
    assert moved.bundle_id != bundle.bundle_id
    assert str(bundle_changes(bundle, moved)[0]) == (
        "entidades: model: models:/norte.entidades/2 → models:/norte.entidades/7"
    )
    assert newer in [shown.ref for shown in shown_by_mlflow(moved)]
    kept = with_entities(moved, [finder], registry)
    assert kept == moved
    assert bundle_of_aliases(tasks, registry, like=moved).entities == bundle.entities


def test_a_model_of_another_family_finds_no_entities(killable: ModuleType, tmp_path: Path) -> None:
    fixed: Any = killable.FixedRegistry

    class Described(fixed):
        def template(self, prompt: PromptRef) -> str:
            return default_prompt("x", dict.fromkeys(("peticion", "queja", "reclamo"), "X")).text()

    registry = Described(tmp_path)
    tasks = killable.tasks()[:1]
    finder = EntityTask("entidades", ("fecha",), "norte.entidades")
    bundle = with_entities(bundle_of_aliases(tasks, registry), [finder], registry)
    with pytest.raises(BundleMismatchError, match="is of the family 'rules'; it takes a model"):
        check_fit(bundle, tasks, registry)
