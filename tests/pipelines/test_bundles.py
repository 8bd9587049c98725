from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, EmbeddingChoice
from lakehouse.errors import ConfigurationError, InputError
from lakehouse.tenancy import TenantContext
from models.folder import CONFIG_FILE
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.bundles import (
    Changes,
    bundle_like,
    bundle_of_aliases,
    changes_of,
    check_fit,
    configured,
    with_changes,
)
from pipelines.errors import BundleMismatchError, SpaceMismatchError
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.bundles import Bundle
from registry.errors import UnknownAliasError, UnknownVersionError
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage, ModelRef, PromptRef

NORTE = TenantContext.parse("norte")
TASK = Task(
    name="tema",
    titles={"agua": "Agua potable", "luz": "Energía"},
    text_field="text",
    model="norte.tema",
    zero_shot_prompt="norte.tema.zero-shot",
    routing=RoutingPolicy(0.8),
)


def register(
    registry: MemoryRegistry, folder: Path, name: str, family: str, **config: object
) -> ModelRef:
    """Register and promote a model of which there is no more than what it says of itself."""
    folder.mkdir()
    said = {"family": family, "labels": list(TASK.labels), **config}
    (folder / CONFIG_FILE).write_text(json.dumps(said), encoding="utf-8")
    ref = registry.register_model(ModelPackage(name, folder, family, card=""))
    return registry.promote_model(ref.name, ref.version)


def register_prompt(registry: MemoryRegistry, template: str) -> None:
    prompt = registry.register_prompt(QUERY_PROMPT, template, note="")
    registry.promote_prompt(prompt.name, prompt.version)


def trained(registry: MemoryRegistry, folder: Path) -> ModelRef:
    """Train, as far as a plan can tell, on the embedding model and prompt in use."""
    model = registry.resolve_model(EMBEDDING_MODEL)
    prompt = registry.resolve_prompt(QUERY_PROMPT)
    space = {
        "model": model.uri,
        "model_digest": model.digest,
        "prompt": prompt.uri,
        "prompt_digest": prompt.digest,
    }
    return register(registry, folder, TASK.model, "linear", embedding=space)


def planned(registry: MemoryRegistry, *tasks: Task) -> Bundle:
    """Make the bundle of what the aliases mean, and see that it fits."""
    asked = tasks or (TASK,)
    bundle = bundle_of_aliases(asked, registry)
    check_fit(bundle, asked, registry)
    return bundle


def changed_anyhow(bundle: Bundle, **changes: Any) -> Bundle:
    """Change a bundle's only task, whether it fits or not."""
    (pins,) = bundle.tasks
    return replace(bundle, tasks=(replace(pins, **changes),))


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    registry = MemoryRegistry()
    register(registry, tmp_path / "embedding", EMBEDDING_MODEL, "embedding", made="first")
    register_prompt(registry, "query: {{text}}")
    register_baseline(registry, NORTE, TASK)
    register_zero_shot_prompt(registry, NORTE, TASK)
    return registry


def test_a_champion_trained_on_the_plan_s_vectors_is_planned(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    champion = trained(registry, tmp_path / "trained")
    (task,) = planned(registry).tasks
    assert task.champion == champion
    assert task.baseline == registry.resolve_model(TASK.model, "baseline")


def test_a_champion_trained_with_another_embedding_model_is_refused(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    trained(registry, tmp_path / "trained")
    register(registry, tmp_path / "other", EMBEDDING_MODEL, "embedding", made="second")
    with pytest.raises(SpaceMismatchError) as error:
        planned(registry)
    message = str(error.value)
    assert "models:/norte.tema/2 was trained" in message
    assert f"models:/{EMBEDDING_MODEL}/1" in message
    assert f"models:/{EMBEDDING_MODEL}/2" in message
    assert "`plata models train --task tema" in message
    assert "`plata bundles create --with tema=models:/norte.tema/VERSION …`" in message
    assert "\n" not in message


def test_a_champion_trained_through_another_prompt_is_refused(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    trained(registry, tmp_path / "trained")
    register_prompt(registry, "passage: {{text}}")
    with pytest.raises(SpaceMismatchError, match=f"prompts:/{QUERY_PROMPT}/2"):
        planned(registry)


def test_a_champion_that_reads_no_vectors_fits_every_space(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    champion = register(registry, tmp_path / "words", TASK.model, "linear")
    register_prompt(registry, "passage: {{text}}")
    (task,) = planned(registry).tasks
    assert task.champion == champion


def test_a_plan_embeds_as_the_tasks_say(registry: MemoryRegistry, tmp_path: Path) -> None:
    own = replace(TASK, embedding=EmbeddingChoice.of("propio"))
    with pytest.raises(UnknownAliasError, match="'propio' has no version '@champion'"):
        planned(registry, own)
    model = register(registry, tmp_path / "propio", "propio", "embedding")
    prompt = registry.register_prompt("propio-query", "{{text}}", note="")
    registry.promote_prompt(prompt.name, prompt.version)
    plan = planned(registry, own)
    assert (plan.embedding, plan.embedding_prompt) == (model, prompt)


def test_tasks_that_embed_differently_are_not_planned_together(registry: MemoryRegistry) -> None:
    other = replace(TASK, embedding=EmbeddingChoice.of("propio"))
    with pytest.raises(ConfigurationError, match="these have 2"):
        planned(registry, TASK, other)


def test_a_part_named_on_the_command_line_is_changed_and_the_rest_stays(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    before = planned(registry)
    other = register(registry, tmp_path / "words", TASK.model, "linear")
    changes = Changes.parse([f"tema={other.uri}"], ["tema=0.7"], registry)
    (pins,) = before.tasks
    assert with_changes(before, changes, registry) == replace(
        before, tasks=(replace(pins, champion=other, accept_at=0.7),)
    )


@pytest.mark.parametrize(
    ("versions", "routing", "found"),
    [
        (["tema"], [], "'tema' is not NAME=VALUE"),
        (["tema=norte.tema/1"], [], "is not the address of a version; write models:/NAME/7"),
        (["tema.prompt=models:/norte.tema/1"], [], "'tema.prompt' takes a prompt, found models:"),
        (["tema=prompts:/norte.tema.zero-shot/1"], [], "'tema' takes a model, found prompts:"),
        (["color=models:/norte.tema/1"], [], "no part 'color'; this one has: embedding, embedd"),
        ([], ["tema=mucho"], "'mucho' is not a number from 0 to 1"),
        ([], ["color=0.8"], "no task 'color' to route; the tenant has: tema"),
    ],
)
def test_a_part_that_cannot_be_changed_is_answered_with_what_can(
    versions: list[str], routing: list[str], found: str, registry: MemoryRegistry
) -> None:
    with pytest.raises(InputError, match=found):
        with_changes(planned(registry), Changes.parse(versions, routing, registry), registry)


def test_a_routing_outside_of_probabilities_is_refused(registry: MemoryRegistry) -> None:
    with pytest.raises(ConfigurationError, match=r"accept_at is 1\.5"):
        with_changes(planned(registry), Changes(accept_at={"tema": 1.5}), registry)


def test_a_version_that_is_not_there_is_named(registry: MemoryRegistry) -> None:
    with pytest.raises(UnknownVersionError, match=r"no version 9 \(it has: 1\)"):
        Changes.parse(["tema=models:/norte.tema/9"], [], registry)


def test_a_model_of_other_labels_does_not_fit(registry: MemoryRegistry, tmp_path: Path) -> None:
    bundle = planned(registry)
    other = register(registry, tmp_path / "x", TASK.model, "linear", labels=["agua", "vías"])
    changed = with_changes(bundle, Changes(models={"tema": other}), registry)
    with pytest.raises(BundleMismatchError, match="answers agua, vías; task 'tema' wants agua"):
        check_fit(changed, [TASK], registry)


def test_a_model_of_another_name_does_not_fit(registry: MemoryRegistry, tmp_path: Path) -> None:
    other = register(registry, tmp_path / "x", "sur.tema", "linear")
    changed = with_changes(planned(registry), Changes(models={"tema": other}), registry)
    with pytest.raises(BundleMismatchError, match=r"by versions of 'norte\.tema', found models"):
        check_fit(changed, [TASK], registry)


def test_a_bundle_that_lacks_a_task_or_has_one_too_many_does_not_fit(
    registry: MemoryRegistry,
) -> None:
    bundle = planned(registry)
    other = replace(TASK, name="nivel", titles={"alto": "Alto", "bajo": "Bajo"})
    with pytest.raises(BundleMismatchError, match="'nivel' is absent in the bundle and answered"):
        check_fit(bundle, [TASK, other], registry)
    with pytest.raises(BundleMismatchError, match="'tema' is answered with agua, luz in the"):
        check_fit(bundle, [], registry)


def test_an_embedding_answers_only_through_a_prompt(registry: MemoryRegistry) -> None:
    bundle = planned(registry)
    bare = changed_anyhow(bundle, champion=bundle.embedding)
    with pytest.raises(BundleMismatchError, match=r"--with tema\.prompt=prompts:/…"):
        check_fit(bare, [TASK], registry)
    (pins,) = bundle.tasks
    through = changed_anyhow(bundle, champion=bundle.embedding, champion_prompt=pins.zero_shot)
    check_fit(through, [TASK], registry)
    assert bundle_of_aliases([TASK], registry, like=through) == through


def test_a_new_champion_comes_with_the_prompt_it_was_registered_with(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    own = registry.register_prompt("norte.tema.llm", "Di el tema: {{text}}", note="")
    pinned = {"name": own.name, "version": own.version, "digest": own.digest}
    before = planned(registry)
    asked = register(registry, tmp_path / "llm", TASK.model, "llm", prompt=pinned)
    after = with_changes(before, Changes(models={"tema": asked}), registry)
    assert after.tasks[0].champion_prompt == own
    words = register(registry, tmp_path / "words", TASK.model, "linear")
    again = with_changes(after, Changes(models={"tema": words}), registry)
    assert again.tasks[0].champion_prompt is None


def test_a_version_alone_changes_the_parts_of_its_name(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    bundle = planned(registry)
    words = register(registry, tmp_path / "words", TASK.model, "linear")
    assert changes_of(words, bundle, [TASK]) == Changes(models={"tema": words})
    prompt = PromptRef(TASK.zero_shot_prompt, "2", "d")
    assert changes_of(prompt, bundle, [TASK]) == Changes(prompts={"tema.zero_shot": prompt})
    with pytest.raises(InputError, match=r"is called 'sur\.tema'; it has: multilingual-e5"):
        changes_of(ModelRef("sur.tema", "1", "d"), bundle, [TASK])


def test_a_new_configuration_changes_what_it_asks_otherwise_and_nothing_else(
    registry: MemoryRegistry,
) -> None:
    before = with_changes(planned(registry), Changes(accept_at={"tema": 0.7}), registry)
    assert configured(before, [TASK], [TASK], registry) == before
    strict = replace(TASK, routing=RoutingPolicy(0.95), audit_share=0.2)
    (pins,) = configured(before, [TASK], [strict], registry).tasks
    assert (pins.accept_at, pins.audit_share) == (0.95, 0.2)
    longer = replace(TASK, text_field="subject_and_text")
    (pins,) = configured(before, [TASK], [longer], registry).tasks
    assert (pins.text_field, pins.accept_at) == ("subject_and_text", 0.7)


def test_a_champion_that_was_only_the_baseline_follows_it_to_new_labels(
    registry: MemoryRegistry,
) -> None:
    before = planned(registry)
    more = replace(TASK, titles={**TASK.titles, "vías": "Vías"})
    baseline = register_baseline(registry, NORTE, more)
    register_zero_shot_prompt(registry, NORTE, more)
    bundle = bundle_like(before, [more], registry)
    assert bundle.tasks[0].champion == bundle.tasks[0].baseline == baseline
    check_fit(bundle, [more], registry)
