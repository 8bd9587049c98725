"""`plata bundles`, `promote` and `rollback` on a real Postgres, over a registry in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer
import yaml
from typer.testing import CliRunner

from infra.embedded.endpoints import Endpoints
from lakehouse.errors import InputError
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from models.folder import write_config
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.errors import BundleMismatchError
from pipelines.tenant_config import default_config
from registry.errors import UnknownBundleError, UnknownVersionError
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage
from serving.cli import bundles, models, promote, tenants

TITLES = {"agua": "Agua potable", "luz": "Energía"}


class Desk:
    """A platform, a tenant with one task, and the program to work on it with."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform, self.folder = platform, folder
        self.registry = platform.registry
        self.name = f"d{uuid4().hex[:10]}"
        self.model = f"{self.name}.tema"
        self.app = typer.Typer()
        promote.register(self.app)
        for group, app in (("bundles", bundles), ("tenants", tenants), ("models", models)):
            self.app.add_typer(app.app, name=group)

    def run(self, *words: str) -> Any:
        """Run a command to its end; errors of ours come out."""
        result = CliRunner().invoke(self.app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def __call__(self, *words: str, of: bool = True) -> Any:
        own = ["-t", self.name] if of else []
        result = self.run(*words, *own, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def shown(self, *words: str) -> str:
        return " ".join(str(self.run(*words, "-t", self.name).stdout).split())

    def configuration(self, gates: Any = None, **changes: Any) -> str:
        task = {"etiquetas": TITLES, "routing": {"accept_at": 0.8}, **changes}
        values = {"tasks": {"tema": task}, **({} if gates is None else {"gates": gates})}
        path = self.folder / f"{uuid4().hex}.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
        return str(path)

    def create(self) -> Any:
        return self("tenants", "create", self.name, "--config", self.configuration(), of=False)

    def words(self, *labels: str) -> str:
        """Register another version of the task's model, never asked; return its number."""
        folder = self.folder / uuid4().hex
        folder.mkdir()
        config = {"family": "linear", "labels": list(labels or TITLES), "made": folder.name}
        write_config(folder, config)
        return self.registry.register_model(ModelPackage(self.model, folder, "linear", "")).version

    def champion(self) -> str:
        context = TenantContext.parse(self.name)
        return self.platform.bundles.aliases(context, self.name)["champion"]


@pytest.fixture
def desk(
    postgres_url: str,
    unopened: MemoryRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    platform = Platform(Settings(home=tmp_path), Endpoints(postgres_url=postgres_url))
    platform.__dict__["registry"] = unopened
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
    return Desk(platform, tmp_path)


def test_a_new_tenant_has_a_champion_of_its_rules_and_twice_is_once(desk: Desk) -> None:
    made = desk.create()
    assert (made["created"], made["waiting"]) == (True, None)
    (kept,) = desk("bundles", "list")
    assert (kept["bundle"], kept["aliases"], kept["name"]) == (
        made["bundle"],
        ["champion"],
        desk.name,
    )
    assert kept["pins"]["tema.champion"] == f"models:/{desk.model}/1"
    assert desk.create()["bundle"] == made["bundle"]
    (move,) = desk("bundles", "history")
    assert (move["before"], move["after"]) == (None, made["bundle"])
    assert move["reason"] == "the tenant's first configuration"


def test_a_tenant_made_before_its_embedding_model_is_told_what_waits(desk: Desk) -> None:
    file = desk.folder / "otro.yaml"
    values = {**default_config(), "embedding": {"model": "propio"}}
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    made = desk("tenants", "create", desk.name, "--config", str(file), of=False)
    assert made["bundle"] is None
    assert "'propio' has no version '@champion'" in made["waiting"]
    with pytest.raises(UnknownBundleError, match=f"bundles create --tenant {desk.name} --promote"):
        desk("promote", desk.model, "1")


def test_a_configuration_that_routes_otherwise_moves_the_champion(desk: Desk) -> None:
    before = desk.create()["bundle"]
    file = desk.configuration(routing={"accept_at": 0.95})
    after = desk("tenants", "configure", desk.name, file, of=False)
    assert (after["bundle"], after["waiting"]) == (desk.champion(), None)
    found = desk("bundles", "diff", before, after["bundle"])["changes"]
    assert [(c["task"], c["part"], c["before"], c["after"]) for c in found] == [
        ("tema", "routing", "accepts from 0.8", "accepts from 0.95")
    ]


def test_labels_the_champion_does_not_know_wait_for_a_model_that_does(desk: Desk) -> None:
    desk.create()
    desk("promote", desk.model, desk.words(), "--force", "--reason", "a test")
    before = desk.champion()
    more = {**TITLES, "vías": "Vías"}
    after = desk("tenants", "configure", desk.name, desk.configuration(etiquetas=more), of=False)
    assert after["bundle"] == before == desk.champion()
    assert "answers agua, luz; task 'tema' wants agua, luz, vías" in after["waiting"]
    desk("promote", desk.model, desk.words(*more), "--force", "--reason", "new labels")
    assert desk.champion() != before


def test_the_same_content_twice_is_one_bundle_and_nothing_moves(desk: Desk) -> None:
    before = desk.create()["bundle"]
    version = desk.words()
    words = ["--with", f"tema=models:/{desk.model}/{version}", "--routing", "tema=0.7"]
    first = desk("bundles", "create", *words, "--note", "to try")
    again = desk("bundles", "create", *words)
    assert (first["new"], again["new"]) == (True, False)
    assert first["bundle"] == again["bundle"]
    assert desk.champion() == before
    shown = desk("bundles", "show", first["reference"])
    assert (shown["note"], shown["aliases"]) == ("to try", [])
    assert shown["pins"]["tema.routing"] == "accept_at=0.7 audit=0.05"
    assert shown["content"]["tasks"][0]["champion"]["version"] == version


def test_what_does_not_fit_together_is_refused_and_not_kept(desk: Desk) -> None:
    desk.create()
    wrong = f"tema=models:/{desk.model}/{desk.words('agua', 'vías')}"
    with pytest.raises(BundleMismatchError, match="answers agua, vías; task 'tema' wants agua"):
        desk("bundles", "create", "--with", wrong)
    with pytest.raises(UnknownVersionError, match="has no version 77"):
        desk("bundles", "create", "--with", f"tema=models:/{desk.model}/77")
    assert len(desk("bundles", "list")) == 1


def test_a_gate_that_fails_ends_with_code_1_and_is_shown_with_the_others(desk: Desk) -> None:
    before = desk.create()["bundle"]
    result = desk.run("promote", desk.model, desk.words(), "-t", desk.name)
    said = " ".join(result.stdout.split())
    assert result.exit_code == 1
    assert "The verdict: fails at evaluated" in said
    for gate in ("evaluated", "contract", "approver"):
        assert gate in said
    assert "was not promoted: 1 of its gates failed" in said
    planned = desk.run("promote", desk.model, desk.words(), "--plan", "-t", desk.name)
    assert "would not be promoted: 1 of its gates failed" in " ".join(planned.stdout.split())
    assert (planned.exit_code, desk.champion()) == (0, before)


def test_the_gates_of_the_tenants_configuration_are_asked_unless_a_file_is_named(
    desk: Desk,
) -> None:
    before = desk.create()["bundle"]
    own = desk.configuration(gates={"approvers": ["luis"]})
    assert desk("tenants", "configure", desk.name, own, of=False)["bundle"] == before
    words = ["promote", desk.model, desk.words(), "--plan"]
    planned = desk(*words)
    assert planned["policy"] == "the tenant's configuration, version 2"
    gates = {gate["name"]: gate["expected"] for gate in planned["verdict"]["gates"]}
    assert gates == {
        "evaluated": "every task that would be answered otherwise",
        "approver": "one of luis",
    }
    file = desk.folder / "gates.yaml"
    file.write_text("same_contract: true\n", encoding="utf-8")
    planned = desk(*words, "--policy", str(file))
    assert planned["policy"] == str(file)
    assert [g["name"] for g in planned["verdict"]["gates"]] == ["evaluated", "contract"]
    said = "the gates are those of the tenant's configuration, version 2"
    assert said in desk.shown(*words)


def test_a_plan_shows_the_verdict_and_what_would_change_and_promotes_nothing(desk: Desk) -> None:
    before = desk.create()["bundle"]
    planned = desk("promote", desk.model, desk.words(), "--plan")
    assert planned["promoted"] is False
    assert planned["verdict"]["passed"] is False
    assert [change["part"] for change in planned["changes"]] == ["model"]
    assert desk.champion() == before
    assert desk("bundles", "show", planned["bundle"])["aliases"] == []


def test_force_needs_a_reason_and_both_are_in_the_history(desk: Desk) -> None:
    before = desk.create()["bundle"]
    version = desk.words()
    with pytest.raises(InputError, match="give --reason"):
        desk("promote", desk.model, version, "--force")
    done = desk("promote", desk.model, version, "--force", "--reason", "the law changed")
    assert (done["promoted"], done["forced"], done["before"]) == (True, True, before)
    move = desk("bundles", "history")[0]
    assert (move["forced"], move["reason"]) == (True, "the law changed")
    assert "FORCED" in desk.shown("bundles", "history")
    assert desk.registry.resolve_model(desk.model).version == version


def test_a_rollback_is_one_command(desk: Desk) -> None:
    first = desk.create()["bundle"]
    second = desk("promote", desk.model, desk.words(), "--force", "--reason", "to try")["bundle"]
    assert desk("rollback") == {"bundle": first, "before": second}
    assert (desk.champion(), desk.registry.resolve_model(desk.model).version) == (first, "1")
    assert desk("rollback", "--to", second)["bundle"] == second
    assert desk("bundles", "history")[0]["reason"] == "rolled back"


def test_routing_alone_passes_the_gates_and_is_promoted_where_it_is_made(desk: Desk) -> None:
    desk.create()
    done = desk("bundles", "create", "--routing", "tema=0.9", "--promote", "--note", "stricter")
    assert (done["promoted"], done["forced"]) == (True, False)
    assert desk.champion() == done["bundle"]
    move = desk("bundles", "history")[0]
    assert (move["reason"], move["verdict"]["passed"]) == ("stricter", True)


def test_an_alias_moved_in_mlflow_is_brought_back(desk: Desk) -> None:
    desk.create()
    desk.registry.promote_model(desk.model, desk.words())
    (line,) = desk("bundles", "restore")["restored"]
    assert "is version 2 in MLflow, version 1 in the bundle" in line
    assert desk.registry.resolve_model(desk.model).version == "1"
    assert desk("bundles", "restore")["restored"] == []


def test_the_alias_of_a_champion_is_not_moved_by_hand(desk: Desk) -> None:
    desk.create()
    version = desk.words()
    with pytest.raises(InputError, match=f"`plata promote {desk.model} {version} --tenant"):
        desk("models", "promote", desk.model, version, of=False)
    desk("models", "promote", desk.model, version, "--alias", "retador", of=False)
    assert desk.registry.resolve_model(desk.model, "retador").version == version
    planned = desk("promote", desk.model, "@retador", "--plan")
    assert planned["changes"][0]["after"] == f"models:/{desk.model}/{version}"


def test_people_read_a_bundle_part_by_part_and_the_list_by_alias(desk: Desk) -> None:
    made = desk.create()["bundle"]
    shown = desk.shown("bundles", "show", f"bundle:/{desk.name}@champion")
    assert f"bundle:/{desk.name}/{made}: @champion" in shown
    assert "tema.zero_shot" in shown
    assert "@champion" in desk.shown("bundles", "list")
    same = desk.shown("bundles", "diff", made, f"bundle:/{desk.name}@champion")
    assert "answer with the same versions" in same
