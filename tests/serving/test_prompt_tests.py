"""The tests of prompts at the terminal: a real Postgres, a registry in memory, a tiny embedder."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import typer
import yaml
from typer.testing import CliRunner

from features.tiny import write_tiny_model
from infra.embedded.endpoints import Endpoints
from lakehouse.errors import InputError
from lakehouse.settings import LlmEndpoint, Settings
from models.prompt_cases import as_kept, read_cases
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.prompted_models import LlmChoice, register_llm
from pipelines.train import register_embedding_model
from registry.memory import MemoryRegistry
from registry.refs import PromptRef
from serving.cli import bundles, promote, prompts, tenants

TITLES = {"agua": "Agua", "luz": "Luz"}
SECRET = "agua agua tubo"
PASSING = [{"texto": SECRET, "etiqueta": "agua"}, {"texto": "luz poste", "etiqueta": "luz"}]
FAILING = [*PASSING, {"texto": SECRET, "etiqueta": "luz"}]


class Desk:
    """A platform, a tenant with one task, and the program to work on it with."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform, self.folder = platform, folder
        self.name = f"d{uuid4().hex[:10]}"
        self.prompt = f"{self.name}.tema.zero-shot"
        self.app = typer.Typer()
        promote.register(self.app)
        for group, app in (("bundles", bundles), ("tenants", tenants), ("prompts", prompts)):
            self.app.add_typer(app.app, name=group)

    def run(self, *words: str) -> Any:
        """Run a command to its end; errors of ours come out."""
        result = CliRunner().invoke(self.app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def file(self, values: object) -> str:
        path = self.folder / f"{uuid4().hex}.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return str(path)

    def register(self, tests: list[dict[str, str]] | None, word: str = "tubo") -> str:
        text = {
            "consulta": "query: {{text}}",
            "temperatura": 0.01,
            "etiquetas": {"agua": [f"agua {word}"], "luz": ["luz poste"]},
        }
        words = ["prompts", "register", self.prompt, self.file(text), "--json"]
        made = json.loads(self.run(*words, *self._with(tests)).stdout)
        return str(made["prompt"].rsplit("/", 1)[1])

    def _with(self, tests: list[dict[str, str]] | None) -> list[str]:
        return [] if tests is None else ["--tests", self.file(tests)]

    def history(self) -> Any:
        return json.loads(self.run("bundles", "history", "-t", self.name, "--json").stdout)

    def shown(self) -> str:
        return self.platform.registry.resolve_prompt(self.prompt).version


@pytest.fixture
def desk(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    home = tmp_path / "home"
    platform = Platform(
        Settings(home=home, lake_uri=str(tmp_path / "lake")), Endpoints(postgres_url=postgres_url)
    )
    registry = MemoryRegistry()
    words = ["query", ":", "agua", "tubo", "luz", "poste"]
    register_embedding_model(registry, write_tiny_model(tmp_path / "tiny", words))
    platform.__dict__["registry"] = registry
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
    made = Desk(platform, tmp_path)
    config = made.file({"tasks": {"tema": {"etiquetas": TITLES, "routing": {"accept_at": 0.8}}}})
    made.run("tenants", "create", made.name, "--config", config)
    return made


def test_a_prompt_whose_tests_pass_is_promoted_with_its_bundle(desk: Desk) -> None:
    version = desk.register(PASSING)
    tested = desk.run("prompts", "test", desk.prompt, version, "--json")
    assert (tested.exit_code, json.loads(tested.stdout)["failed"]) == (0, [])
    assert desk.run("prompts", "promote", desk.prompt, version).exit_code == 0
    assert desk.shown() == version
    newest = desk.history()[0]
    gates = {gate["name"]: gate["found"] for gate in newest["verdict"]["gates"]}
    assert gates[f"tema: tests of {desk.prompt}/{version}"] == "all 2 pass"


def test_failing_tests_refuse_the_promotion_by_number_and_quote_no_text(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    before, moves = desk.shown(), len(desk.history())
    version = desk.register(FAILING)
    with caplog.at_level(logging.DEBUG):
        tested = desk.run("prompts", "test", desk.prompt, version)
        refused = desk.run("prompts", "promote", desk.prompt, version, "--json")
    assert (tested.exit_code, refused.exit_code) == (1, 1)
    assert "1 of 3 fail: 3" in tested.stdout
    (failed,) = [g for g in json.loads(refused.stdout)["verdict"]["gates"] if not g["passed"]]
    assert failed["found"] == "1 of 3 fail: 3"
    assert (desk.shown(), len(desk.history())) == (before, moves)
    assert SECRET not in tested.stdout + refused.stdout + caplog.text


def test_by_force_a_failing_prompt_is_promoted_and_the_audit_log_says_so(desk: Desk) -> None:
    version = desk.register(FAILING)
    words = ("prompts", "promote", desk.prompt, version, "--force")
    with pytest.raises(InputError, match="give --reason"):
        desk.run(*words)
    assert desk.run(*words, "--reason", "the third is wrong").exit_code == 0
    newest = desk.history()[0]
    assert (desk.shown(), newest["forced"], newest["reason"]) == (
        version,
        True,
        "the third is wrong",
    )
    assert SECRET not in json.dumps(newest)


def test_plata_promote_asks_the_tests_too(desk: Desk) -> None:
    version = desk.register(FAILING)
    assert desk.run("promote", desk.prompt, version, "-t", desk.name).exit_code == 1


def test_an_edited_prompt_takes_its_tests_along(desk: Desk) -> None:
    first = desk.register(PASSING)
    second = desk.register(None, word="poste")
    registry = desk.platform.registry
    kept = registry.prompt_tests(registry.prompt_version(desk.prompt, second))
    assert second != first
    assert kept == as_kept(read_cases(yaml.safe_dump(PASSING)))


def test_other_tests_may_be_tried_and_a_version_without_any_says_how_to_give_it_some(
    desk: Desk,
) -> None:
    version = desk.register(None)
    with pytest.raises(InputError, match=r"no tests are kept with .* --tests FILE"):
        desk.run("prompts", "test", desk.prompt, version)
    words = ("prompts", "test", desk.prompt, version, "--tests", desk.file(FAILING))
    assert desk.run(*words).exit_code == 1


def test_a_draft_needs_no_tests_and_nothing_to_force(desk: Desk) -> None:
    version = desk.register(FAILING)
    words = ("prompts", "promote", desk.prompt, version, "--alias", "borrador")
    assert desk.run(*words).exit_code == 0
    with pytest.raises(InputError, match="no promotion to force"):
        desk.run(*words, "--force", "--reason", "r")


def test_a_label_that_the_prompt_does_not_describe_is_refused_on_registration(desk: Desk) -> None:
    with pytest.raises(InputError, match="test 1 expects 'gas'; the labels are: agua, luz"):
        desk.register([{"texto": "x", "etiqueta": "gas"}])


def test_a_version_is_one_of_its_tests_too(desk: Desk) -> None:
    assert desk.register(PASSING) == desk.register(PASSING) == desk.register(None)
    assert desk.register(FAILING) != desk.shown()
    ref: PromptRef = desk.platform.registry.prompt_version(desk.prompt, desk.register(FAILING))
    assert len(read_cases(desk.platform.registry.prompt_tests(ref))) == 3


def test_an_llm_s_prompt_is_asked_through_its_endpoint(
    desk: Desk, openai: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUEBA_KEY", openai.KEY)
    context = desk.platform.tenant(desk.name)
    (task,) = desk.platform.tasks(context)
    ref = register_llm(desk.platform.registry, task, LlmChoice("local", openai.MODEL))
    assert ref.version == "2"
    answer = openai.answer_of(SECRET, list(TITLES))
    right, wrong = sorted(TITLES, key=lambda label: -answer[label])
    tests = [{"texto": SECRET, "etiqueta": right}, {"texto": SECRET, "etiqueta": wrong}]
    name = f"{task.model}.llm"
    registry = desk.platform.registry
    template = registry.template(registry.resolve_prompt(name))
    second = registry.register_prompt(
        name, template, note="", tests=as_kept(read_cases(yaml.safe_dump(tests)))
    )
    with openai.serving() as server:
        endpoint = LlmEndpoint(url=server.url, key_variable="PRUEBA_KEY", attempts=1)
        settings = desk.platform.settings.model_copy(update={"llm": {"local": endpoint}})
        desk.platform.settings = settings
        tested = desk.run("prompts", "test", name, second.version, "--json")
        with pytest.raises(InputError, match="1 of 2 fail: 2"):
            desk.run("prompts", "promote", name, second.version)
        desk.platform.llm.close()
    assert (tested.exit_code, json.loads(tested.stdout)["failed"]) == (1, [2])
    assert registry.resolve_prompt(name).version == "1"
    assert server.asked == [SECRET]
