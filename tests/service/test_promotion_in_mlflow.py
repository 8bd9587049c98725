"""Promotion over a real MLflow, whose aliases show the champion, or no run is planned."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, QUERY_TEMPLATE
from infra.embedded.control import start
from lakehouse.control.postgres import Postgres
from lakehouse.control.tenants import TenantDirectory
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from models.folder import write_config
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.bundles import Changes, bundle_of_aliases, check_fit
from pipelines.errors import BundleMismatchError
from pipelines.promotion import (
    Decision,
    PromotionPorts,
    bundle_to_plan,
    promote_bundle,
    restore,
    roll_back,
    successor,
)
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.errors import UnknownAliasError
from registry.mlflow_registry import MlflowRegistry
from registry.refs import ModelPackage, ModelRef

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture
def registry(session_home: Path, postgres_url: str, tmp_path: Path) -> MlflowRegistry:
    """The session's MLflow; no other service is needed."""
    endpoints = start(Settings.alone(session_home), frozenset({"postgres", "mlflow"}))
    return MlflowRegistry(endpoints.mlflow_url, tmp_path / "cache")


def register(registry: MlflowRegistry, folder: Path, name: str, **config: object) -> ModelRef:
    folder.mkdir()
    write_config(folder, {"made": folder.name, **config})
    package = ModelPackage(name, folder, "linear", card="# Tarjeta", example={"text": "agua"})
    return registry.register_model(package)


def ensure_embedding(registry: MlflowRegistry, folder: Path) -> None:
    """Give MLflow an embedding model and prompt, unless another test of the session has."""
    try:
        registry.resolve_model(EMBEDDING_MODEL)
        registry.resolve_prompt(QUERY_PROMPT)
    except UnknownAliasError:
        made = register(registry, folder, EMBEDDING_MODEL, family="embedding")
        registry.promote_model(EMBEDDING_MODEL, made.version)
        prompt = registry.register_prompt(QUERY_PROMPT, QUERY_TEMPLATE, note="")
        registry.promote_prompt(QUERY_PROMPT, prompt.version)


def test_mlflow_shows_the_champion_through_promotion_kill_and_rollback(
    registry: MlflowRegistry, postgres_url: str, tmp_path: Path
) -> None:
    tenant = TenantContext.parse(f"m{uuid4().hex[:10]}")
    postgres = Postgres(postgres_url)
    TenantDirectory(postgres).create(tenant, name="Promociones")
    ports = PromotionPorts.over(postgres, registry)
    name = f"{tenant.tenant_id}.tema"
    titles = {"agua": "Agua potable", "luz": "Energía"}
    tasks = [Task("tema", titles, "text", name, f"{name}.zero-shot", RoutingPolicy(0.8))]
    ensure_embedding(registry, tmp_path / "embedding")
    register_baseline(registry, tenant, tasks[0])
    register_zero_shot_prompt(registry, tenant, tasks[0])

    first = bundle_of_aliases(tasks, registry)
    check_fit(first, tasks, registry)
    promote_bundle(tenant, first, Decision("ana", "the first"), ports)
    assert bundle_to_plan(tenant, tasks, ports)[0] == first

    words = register(registry, tmp_path / "two", name, family="linear", labels=list(titles))
    second = successor(tenant, tasks, Changes(models={"tema": words}), ports)

    def killed(place: str) -> None:
        if place == "after the move in Postgres":
            raise Killed

    with pytest.raises(Killed):
        promote_bundle(tenant, second, Decision("ana", "better"), ports, on_step=killed)
    with pytest.raises(BundleMismatchError) as error:
        bundle_to_plan(tenant, tasks, ports)
    told = f"tema: model: {name}@champion is version 1 in MLflow, version 2 in the bundle"
    assert told in str(error.value)
    assert not promote_bundle(tenant, second, Decision("ana", "better"), ports)
    assert bundle_to_plan(tenant, tasks, ports)[0] == second
    assert registry.resolve_model(name) == words

    roll_back(tenant, tasks, Decision("eva", "worse"), ports)
    assert bundle_to_plan(tenant, tasks, ports)[0] == first
    assert registry.resolve_model(name).version == "1"

    registry.promote_model(name, words.version)
    with pytest.raises(BundleMismatchError, match="is version 2 in MLflow, version 1 in the"):
        bundle_to_plan(tenant, tasks, ports)
    restore(tenant, ports)
    assert bundle_to_plan(tenant, tasks, ports)[0] == first
