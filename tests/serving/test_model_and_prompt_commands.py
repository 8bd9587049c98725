"""`plata models` and `plata prompts` at the terminal, over a registry in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from features.tiny import write_tiny_model
from lakehouse.errors import InputError, PlataError
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines import bootstrap
from pipelines.prompt_files import check_prompt
from pipelines.tenant_config import default_config, tasks_of
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.errors import PromptError, UnknownVersionError
from registry.memory import MemoryRegistry
from serving.cli import models, prompts

NORTE = TenantContext.parse("norte")
PROMPT = "norte.tipo.zero-shot"


class Nobody:
    """A directory in which no tenant's champion is shown by an alias."""

    def names(self) -> list[str]:
        return []


class Desk:
    """As much of the platform as these commands ask for."""

    def __init__(self) -> None:
        self.registry = MemoryRegistry()
        for task in self.tasks(NORTE):
            register_baseline(self.registry, NORTE, task)
            register_zero_shot_prompt(self.registry, NORTE, task)

    def tenant(self, name: str) -> TenantContext:
        return TenantContext.parse(name)

    def tasks(self, tenant: TenantContext) -> tuple[Task, ...]:
        return tasks_of(default_config(), tenant)

    cluster = None
    home = Path()
    tenants = Nobody()
    bundles = None


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()
    monkeypatch.setattr(bootstrap, "open_platform", lambda: desk)
    return desk


def said(app: Typer, *words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.usefixtures("desk")
def test_the_list_shows_versions_with_their_aliases() -> None:
    rows = json.loads(said(models.app, "list", "--json"))
    assert [(r["name"], r["version"], r["aliases"]) for r in rows] == [
        ("norte.prioridad", "1", ["baseline", "champion"]),
        ("norte.tipo", "1", ["baseline", "champion"]),
    ]
    assert "@baseline, @champion" in said(models.app, "list")


@pytest.mark.usefixtures("desk")
def test_a_version_is_shown_by_number_or_alias() -> None:
    by_alias = said(models.app, "show", "norte.tipo", "@champion", "--json")
    assert json.loads(by_alias)["card"].startswith("# norte.tipo: keyword rules")
    assert said(models.app, "show", "norte.tipo", "1", "--json") == by_alias
    with pytest.raises(UnknownVersionError, match=r"no version 7 \(it has: 1\)"):
        said(models.app, "show", "norte.tipo", "7")


def test_an_embedding_model_of_one_s_own_is_registered_under_its_own_name(
    desk: Desk, tmp_path: Path
) -> None:
    folder = write_tiny_model(tmp_path / "propio", ["agua"])
    words = ("embedding", "--folder", str(folder), "--template", "{{text}}", "--json")
    made = json.loads(said(models.app, *words))
    assert (made["model"], made["prompt"]) == ("models:/propio/1", "propio-query")
    assert json.loads(said(models.app, *words, "--name", "propio")) == made
    assert desk.registry.template(desk.registry.resolve_prompt("propio-query")) == "{{text}}"
    with pytest.raises(InputError, match="is not a folder; expected"):
        said(models.app, "embedding", "--folder", str(tmp_path / "no hay"))


def test_promoting_moves_the_alias(desk: Desk) -> None:
    promoted = said(models.app, "promote", "norte.tipo", "1", "--alias", "retador", "--json")
    assert json.loads(promoted)["model"] == "models:/norte.tipo/1"
    assert desk.registry.resolve_model("norte.tipo", "retador").version == "1"


def test_a_prompt_is_taken_out_changed_registered_and_promoted(desk: Desk, tmp_path: Path) -> None:
    text = said(prompts.app, "show", PROMPT, "@champion", "--text")
    file = tmp_path / "tipo.yaml"
    file.write_text(text.replace("maltrato", "mal trato"), encoding="utf-8")
    made = json.loads(said(prompts.app, "register", PROMPT, str(file), "--note", "n", "--json"))
    assert made["prompt"] == f"prompts:/{PROMPT}/2"
    assert json.loads(said(prompts.app, "register", PROMPT, str(file), "--json")) == made
    said(prompts.app, "promote", PROMPT, "2")
    assert "mal trato" in desk.registry.template(desk.registry.resolve_prompt(PROMPT))
    rows = json.loads(said(prompts.app, "list", "--json"))
    own = [(r["version"], r["aliases"], r["note"]) for r in rows if r["name"] == PROMPT]
    assert own[0] == ("2", ["champion"], "n")


def test_a_version_is_compared_with_another_or_with_a_file(desk: Desk, tmp_path: Path) -> None:
    text = desk.registry.template(desk.registry.resolve_prompt(PROMPT))
    file = tmp_path / "tipo.yaml"
    file.write_text(text.replace("maltrato", "mal trato"), encoding="utf-8")
    against_file = json.loads(said(prompts.app, "diff", PROMPT, "@champion", str(file), "--json"))
    changed = [line for line in against_file["lines"] if line[:2] in ("- ", "+ ")]
    assert [line[0] for line in changed] == ["-", "+"] * (len(changed) // 2)
    assert "mal trato" in changed[1]
    desk.registry.register_prompt(PROMPT, file.read_text(encoding="utf-8"), note="")
    between = json.loads(said(prompts.app, "diff", PROMPT, "1", "2", "--json"))
    assert (between["lines"][2:], between["same"]) == (against_file["lines"][2:], False)
    assert between["digest_after"] == desk.registry.prompt_version(PROMPT, "2").digest
    assert "mal trato" in said(prompts.app, "diff", PROMPT, "1", "2")
    alike = said(prompts.app, "diff", PROMPT, "2", str(file))
    assert "are the same text" in " ".join(alike.split())
    with pytest.raises(InputError, match="no prompt file"):
        said(prompts.app, "diff", PROMPT, "1", str(tmp_path / "no hay"))


QUERY, ZERO_SHOT = "query: {{text}}", "consulta: '{{text}}'\netiquetas: {a: [x], b: [y]}"
LLM = "sistema: s\nusuario: '{{text}}'\netiquetas: {a: x, b: y}"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("e5-query", QUERY.replace("text", "texto"), r"variables: \{\{texto\}\}; an embedding"),
        ("e5-query", QUERY + QUERY, r"\{\{text\}\}, \{\{text\}\}; .* exactly one, \{\{text"),
        ("n.t.zero-shot", ZERO_SHOT.replace("x", "x {{canal}}"), r"\{\{canal\}\}.*`consulta`"),
        ("n.t.zero-shot", ZERO_SHOT.replace("'{{text}}'", "x # {{text}}"), "variables: none"),
        ("n.t.llm", LLM.replace(": s\n", ": '{{canal}}'\n"), r"canal\}\}, .*`usuario`"),
        ("n.t.llm", LLM.replace("{{text}}", "{{texto}} {{text}}"), "texto.*, .*text"),
        ("otro", "sin variable", "has no variable"),
    ],
)
def test_variables_that_a_kind_of_prompt_has_not_are_named_beside_those_it_has(
    name: str, text: str, found: str
) -> None:
    with pytest.raises(PromptError, match=found):
        check_prompt(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e5-query", QUERY),
        ("n.t.zero-shot", f"{ZERO_SHOT} # {{{{text}}}} is the text's place"),
        ("n.t.llm", LLM),
        ("otro", "hola {{a}} {{b}}"),
    ],
)
def test_a_prompt_with_the_variables_of_its_kind_is_taken(name: str, text: str) -> None:
    check_prompt(name, text)


@pytest.mark.parametrize(
    ("content", "kind", "found"),
    [
        (None, InputError, "no prompt file"),
        (b"", InputError, "is empty"),
        ("año {{text}}".encode("latin1"), InputError, "is not UTF-8"),
        (b"sin variable", PromptError, "has no variable"),
        (b"{{text}}", PromptError, "not a zero-shot prompt"),
    ],
)
@pytest.mark.usefixtures("desk")
def test_a_prompt_that_cannot_be_used_is_refused(
    content: bytes | None, kind: type[PlataError], found: str, tmp_path: Path
) -> None:
    file = tmp_path / "prompt.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(kind, match=found):
        said(prompts.app, "register", PROMPT, str(file))


@pytest.mark.usefixtures("desk")
def test_training_names_the_tasks_there_are_and_the_file_that_is_not() -> None:
    with pytest.raises(InputError, match="tipo, prioridad"):
        said(models.app, "train", "--tenant", "norte", "--task", "tema", "--labels", "x.csv")
    with pytest.raises(InputError, match=r"'x\.csv' does not exist"):
        said(models.app, "train", "--tenant", "norte", "--task", "tipo", "--labels", "x.csv")
