from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, EmbeddingChoice
from lakehouse.errors import ConfigurationError
from lakehouse.tenancy import TenantContext
from models.folder import CONFIG_FILE
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.errors import SpaceMismatchError
from pipelines.plan import RunPlan, plan_enrichment
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.errors import UnknownAliasError
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage, ModelRef

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
    (task,) = plan_enrichment([TASK], registry, seed=0).tasks
    assert task.champion == champion
    assert task.baseline == registry.resolve_model(TASK.model, "baseline")


def test_a_champion_trained_with_another_embedding_model_is_refused(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    trained(registry, tmp_path / "trained")
    register(registry, tmp_path / "other", EMBEDDING_MODEL, "embedding", made="second")
    with pytest.raises(SpaceMismatchError) as error:
        plan_enrichment([TASK], registry, seed=0)
    message = str(error.value)
    assert "models:/norte.tema/2 was trained" in message
    assert f"models:/{EMBEDDING_MODEL}/1" in message
    assert f"models:/{EMBEDDING_MODEL}/2" in message
    assert "`plata models train --task tema" in message
    assert "`plata models promote norte.tema VERSION`" in message
    assert "\n" not in message


def test_a_champion_trained_through_another_prompt_is_refused(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    trained(registry, tmp_path / "trained")
    register_prompt(registry, "passage: {{text}}")
    with pytest.raises(SpaceMismatchError, match=f"prompts:/{QUERY_PROMPT}/2"):
        plan_enrichment([TASK], registry, seed=0)


def test_a_champion_that_reads_no_vectors_fits_every_space(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    champion = register(registry, tmp_path / "words", TASK.model, "linear")
    register_prompt(registry, "passage: {{text}}")
    (task,) = plan_enrichment([TASK], registry, seed=0).tasks
    assert task.champion == champion


def test_a_plan_embeds_as_the_tasks_say(registry: MemoryRegistry, tmp_path: Path) -> None:
    own = replace(TASK, embedding=EmbeddingChoice.of("propio"))
    with pytest.raises(UnknownAliasError, match="'propio' has no version '@champion'"):
        plan_enrichment([own], registry, seed=0)
    model = register(registry, tmp_path / "propio", "propio", "embedding")
    prompt = registry.register_prompt("propio-query", "{{text}}", note="")
    registry.promote_prompt(prompt.name, prompt.version)
    plan = plan_enrichment([own], registry, seed=0)
    assert (plan.embedding, plan.embedding_prompt) == (model, prompt)


def test_tasks_that_embed_differently_are_not_planned_together(registry: MemoryRegistry) -> None:
    other = replace(TASK, embedding=EmbeddingChoice.of("propio"))
    with pytest.raises(ConfigurationError, match="these have 2"):
        plan_enrichment([TASK, other], registry, seed=0)


def test_a_plan_stored_when_a_bundle_was_called_an_enrichment_is_read(
    registry: MemoryRegistry,
) -> None:
    plan = RunPlan((), {}, (), plan_enrichment([TASK], registry, seed=0))
    stored = plan.as_dict()
    stored["enrichment"] = stored.pop("bundle")
    for task in stored["enrichment"]["tasks"]:
        del task["champion_prompt"]
    assert RunPlan.of(stored) == plan
