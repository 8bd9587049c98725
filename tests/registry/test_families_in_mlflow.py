"""Every family as MLflow shows it: signature, input example, card, data and parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from features.embed import EMBEDDING_MODEL
from lakehouse.tenancy import TenantContext
from models.llm import Prices
from models.routing import RoutingPolicy
from models.task import EntityTask, Task
from pipelines.embedding_source import folder_of
from pipelines.entity_models import register_entities
from pipelines.prompted_models import LlmChoice, register_llm, register_zero_shot_model
from pipelines.train import (
    register_baseline,
    register_embedding_model,
    register_zero_shot_prompt,
)
from registry.refs import ModelRef, Registry

pytestmark = pytest.mark.service

ANSWERS = ["predicted_label", "score", "probabilities", "explanation"]
MENTIONS = ["kind", "text", "text_start", "text_end", "value", "score"]


@pytest.fixture(scope="module")
def registry(plata_services: Any, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    from registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(plata_services.mlflow_url, tmp_path_factory.mktemp("cache"))


def registered(registry: Registry, tmp_path: Path) -> dict[str, ModelRef]:
    """Register one version of every family that is not trained."""
    tenant = TenantContext.parse(f"norte-{uuid4().hex[:8]}")
    name = f"{tenant.tenant_id}.prioridad"
    titles = {"alta": "Alta", "media": "Media", "baja": "Baja"}
    policy = RoutingPolicy(accept_at=0.7)
    task = Task("prioridad", titles, "text", name, f"{name}.zero-shot", policy)
    with folder_of(None, tmp_path, lambda what: None) as folder:
        register_embedding_model(registry, folder, name=EMBEDDING_MODEL)
    entities = EntityTask("entidades", ("fecha",), f"{tenant.tenant_id}.entidades")
    rules = register_baseline(registry, tenant, task)
    register_zero_shot_prompt(registry, tenant, task)
    return {
        "rules": rules,
        "zero-shot": register_zero_shot_model(registry, task),
        "llm": register_llm(registry, task, LlmChoice("local", "prueba-1", {}, Prices())),
        "entities": register_entities(registry, tenant, entities),
    }


def test_every_family_shows_what_it_is(
    registry: Registry, plata_services: Any, tmp_path: Path
) -> None:
    from mlflow.models import Model
    from mlflow.tracking import MlflowClient

    client = MlflowClient(plata_services.mlflow_url, registry_uri=plata_services.mlflow_url)
    inputs = {"rules": ["text"], "zero-shot": ["embedding"], "llm": ["text"], "entities": ["text"]}
    for family, ref in registered(registry, tmp_path / "home").items():
        version = client.get_model_version(ref.name, ref.version)
        folder = client.download_artifacts(version.run_id, "card.md", str(tmp_path))
        assert Path(folder).read_text(encoding="utf-8").startswith(f"# {ref.name}")
        run = client.get_run(version.run_id)
        (data,) = run.inputs.dataset_inputs
        assert data.dataset.digest
        assert version.tags["plata.family"] == family
        assert version.tags["plata.data.digest"]
        assert run.data.params["family"] == family
        logged = client.get_logged_model(version.source.removeprefix("models:/"))
        described = Model.load(f"{logged.artifact_location.removeprefix('file://')}/MLmodel")
        outputs = MENTIONS if family == "entities" else ANSWERS
        assert described.signature is not None
        assert described.signature.inputs.input_names() == inputs[family]
        assert described.signature.outputs.input_names() == outputs
        assert described.saved_input_example_info is not None
