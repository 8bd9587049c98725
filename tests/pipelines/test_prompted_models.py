from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, QUERY_TEMPLATE, as_lists
from infra.embedded.endpoints import Endpoints
from lakehouse.errors import ConfigurationError, InputError
from lakehouse.run import RunContext
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from models import artifacts
from models.artifacts import load
from models.folder import pinned_prompt, read_config, write_config
from models.llm import LlmModel, Prices
from models.routing import RoutingPolicy
from models.task import Task
from models.zero_shot import ZeroShotClassifier, ZeroShotPrompt
from pipelines import prompted_models
from pipelines.bootstrap import Platform
from pipelines.bundles import bundle_of_aliases
from pipelines.prompt_files import read_prompt
from pipelines.prompted_models import (
    LlmChoice,
    read_parameters,
    register_llm,
    register_zero_shot_model,
)
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.errors import ArtifactError, PromptError
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage

NORTE = TenantContext.parse("norte")
TASK = Task(
    "prioridad",
    {"alta": "Alta", "media": "Media", "baja": "Baja"},
    "text",
    "norte.prioridad",
    "norte.prioridad.zero-shot",
    RoutingPolicy(accept_at=0.7),
)
CHOICE = LlmChoice("local", "prueba-1", {"temperature": 0}, Prices(prompt=Decimal("0.15")))


class Digests:
    """Embeds a text as its digest."""

    dimensions = 8

    def encode(self, texts: pa.Array) -> NDArray[np.float32]:
        found = [hashlib.sha256((t or "").encode()).digest()[:8] for t in texts.to_pylist()]
        raw = np.array([list(digest) for digest in found], np.float32) - 127.5
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)


class Kept(MemoryRegistry):
    """A registry that remembers what it was handed."""

    def __init__(self) -> None:
        super().__init__()
        self.packages: dict[str, ModelPackage] = {}

    def register_model(self, package: ModelPackage) -> Any:
        self.packages[package.family] = package
        return super().register_model(package)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    for module in (artifacts, prompted_models):
        monkeypatch.setattr(module, "open_embedder", lambda folder: Digests())
    made = Kept()
    folder = tmp_path / "embedding"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    package = ModelPackage(name=EMBEDDING_MODEL, folder=folder, family="embedding", card="")
    made.promote_model(EMBEDDING_MODEL, made.register_model(package).version)
    made.promote_prompt(
        QUERY_PROMPT, made.register_prompt(QUERY_PROMPT, QUERY_TEMPLATE, note="").version
    )
    register_baseline(made, NORTE, TASK)
    register_zero_shot_prompt(made, NORTE, TASK)
    return made


def test_a_registered_zero_shot_model_answers_as_its_prompt_does(registry: Kept) -> None:
    ref = register_zero_shot_model(registry, TASK)
    opened = load(registry.fetch(ref))
    template = registry.template(registry.resolve_prompt(TASK.zero_shot_prompt))
    made = ZeroShotClassifier.of(ZeroShotPrompt.parse(template), Digests())
    rows = pa.table({"embedding": as_lists(Digests().encode(pa.array(["hola", "adiós"])))})
    found = opened.predict_proba(rows)
    assert (found == made.predict_proba(rows)).all()
    assert opened.explain(rows, found) == made.explain(rows, found)


@pytest.mark.parametrize("family", ["zero-shot", "llm"])
def test_a_model_that_reads_a_prompt_pins_its_version(registry: Kept, family: str) -> None:
    if family == "llm":
        ref = register_llm(registry, TASK, CHOICE)
        prompt = registry.resolve_prompt("norte.prioridad.llm")
    else:
        ref = register_zero_shot_model(registry, TASK)
        prompt = registry.resolve_prompt(TASK.zero_shot_prompt)
    assert pinned_prompt(registry.fetch(ref)) == prompt
    registry.promote_model(ref.name, ref.version)
    pins = bundle_of_aliases([TASK], registry).tasks[0]
    assert (pins.champion, pins.champion_prompt) == (ref, prompt)
    newer = registry.template(prompt).replace("prisa", "afán")
    registry.promote_prompt(
        prompt.name, registry.register_prompt(prompt.name, newer, note="").version
    )
    assert bundle_of_aliases([TASK], registry).tasks[0].champion_prompt == prompt


@pytest.mark.parametrize("register", [register_zero_shot_model, register_llm])
def test_registering_twice_makes_one_version(registry: Kept, register: Any) -> None:
    given = (CHOICE,) if register is register_llm else ()
    assert register(registry, TASK, *given) == register(registry, TASK, *given)


def test_every_family_is_registered_with_all_that_describes_it(registry: Kept) -> None:
    register_zero_shot_model(registry, TASK)
    register_llm(registry, TASK, CHOICE)
    for family in ("rules", "zero-shot", "llm"):
        package = registry.packages[family]
        assert package.card.startswith("# norte.prioridad")
        assert set(package.inputs) == set(package.example)
        assert package.labels == TASK.labels
        assert package.parameters["family"] == family
        assert package.note
        assert {"name", "digest", "rows", "note"} == set(package.data)
        assert len(package.data["digest"]) == 64


def test_an_llm_knows_its_endpoint_by_name_and_its_prices(registry: Kept) -> None:
    model = LlmModel.read(registry.fetch(register_llm(registry, TASK, CHOICE)))
    assert (model.endpoint, model.model, model.parameters) == (
        "local",
        "prueba-1",
        {"temperature": 0},
    )
    assert model.prices.cost(1_000_000, 0) == Decimal("0.15")


def test_an_llm_is_not_opened_from_its_folder(registry: Kept) -> None:
    folder = registry.fetch(register_llm(registry, TASK, CHOICE))
    with pytest.raises(ArtifactError, match="answers through its endpoint"):
        load(folder)


def test_a_prompt_that_describes_other_labels_is_not_registered(registry: Kept) -> None:
    text = "sistema: a\nusuario: '{{text}}'\netiquetas: {alta: x, baja: y}\n"
    made = registry.register_prompt("norte.prioridad.llm", text, note="")
    registry.promote_prompt(made.name, made.version)
    with pytest.raises(InputError, match="describes alta, baja; task 'prioridad' has alta, media"):
        register_llm(registry, TASK, CHOICE)


def test_a_zero_shot_model_takes_no_other_prompt_than_its_own(registry: Kept) -> None:
    folder = registry.fetch(register_zero_shot_model(registry, TASK))
    template = registry.template(registry.resolve_prompt(TASK.zero_shot_prompt))
    assert load(folder, template).labels == TASK.labels
    with pytest.raises(ArtifactError, match=r"reads only prompts:/norte\.prioridad\.zero-shot/1"):
        load(folder, template + "\n")


@pytest.mark.parametrize("broken", ["prompt.yaml", "descriptions.safetensors", "pin"])
def test_a_zero_shot_folder_that_was_tampered_with_is_refused(
    registry: Kept, tmp_path: Path, broken: str
) -> None:
    source = registry.fetch(register_zero_shot_model(registry, TASK))
    folder = tmp_path / "copia"
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if broken == "pin":
        config: Mapping[str, Any] = read_config(folder)
        write_config(folder, {**config, "prompt": {"name": "x"}})
    else:
        (folder / broken).write_bytes(b"consulta: otra")
    with pytest.raises(ArtifactError):
        load(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"a": [1]}', '{"a": null}', "{"])
def test_parameters_that_are_no_plain_object_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="no JSON object of plain values"):
        read_parameters(text)


def test_a_file_of_an_llm_prompt_is_checked_before_it_is_registered(tmp_path: Path) -> None:
    path = tmp_path / "tipo.yaml"
    path.write_text("Clasifica: {{text}}", encoding="utf-8")
    with pytest.raises(PromptError, match="not a prompt for an LLM"):
        read_prompt("norte.tipo.llm", path)


def test_a_config_is_json_with_names_in_order(registry: Kept) -> None:
    folder = registry.fetch(register_llm(registry, TASK, CHOICE))
    text = (folder / "plata.json").read_text(encoding="utf-8")
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_a_key_that_is_not_in_the_environment_is_missed_by_its_name(
    registry: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoint = {"url": "http://127.0.0.1:9/v1", "key_variable": "LLAVE_DE_PRUEBA"}
    monkeypatch.setenv("PLATA_LLM", json.dumps({"local": endpoint}))
    monkeypatch.delenv("LLAVE_DE_PRUEBA", raising=False)
    platform = Platform(Settings(home=tmp_path), Endpoints(postgres_url="postgresql://x"))
    ref = register_llm(registry, TASK, CHOICE)
    prompt = registry.resolve_prompt("norte.prioridad.llm")
    run = RunContext.begin(NORTE, kind="run", at=datetime(2026, 1, 1, tzinfo=UTC))
    given = (registry.fetch(ref), prompt, registry.template(prompt))
    with pytest.raises(ConfigurationError, match="LLAVE_DE_PRUEBA, which is not set"):
        platform.llm.open(*given, run=run, task="prioridad")
    monkeypatch.setenv("LLAVE_DE_PRUEBA", "secreta")
    opened = platform.llm.open(*given, run=run, task="prioridad")
    assert opened.labels == TASK.labels
    assert "secreta" not in repr(opened)
    assert "secreta" not in repr(platform.settings)
