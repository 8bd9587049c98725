"""`plata evaluate` at the terminal: rules against other rules, over a registry in memory."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from typer import Typer
from typer.testing import CliRunner

from features.embed import embed_step
from features.tiny import write_tiny_model
from lakehouse.control.evaluations import EvaluationLog
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from models.gates import GatePolicy, judge
from models.rules import KeywordRules, save_rules
from models.steps import classify_step
from models.task import Task
from pipelines import bootstrap
from pipelines.bundles import bundle_of_aliases
from pipelines.enrich import ModelSteps
from pipelines.evaluate import EvaluationPorts
from pipelines.measured import measures_of
from pipelines.promotion import Decision, PromotionPorts, promote_bundle
from pipelines.tenant_config import CostConfig, default_config, tasks_of
from pipelines.train import (
    register_baseline,
    register_embedding_model,
    register_zero_shot_prompt,
)
from registry.bundle_log import BundleLog
from registry.bundles import Bundle
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage
from serving.cli import evaluate as command

WORDS = {"peticion": "solicito", "queja": "maltrato", "reclamo": "cobro", "sugerencia": "sugiero"}
KNOWN = {"peticion": "zanja", "queja": "grito", "reclamo": "tarifa", "sugerencia": "ojala"}


class Desk:
    """As much of the platform as the command asks for."""

    def __init__(self, folder: Path, postgres_url: str) -> None:
        self.context = TenantContext.parse(f"desk-{uuid4().hex[:8]}")
        self.registry = MemoryRegistry()
        register_embedding_model(self.registry, write_tiny_model(folder / "tiny", list(WORDS)))
        for task in self.tasks(self.context):
            register_baseline(self.registry, self.context, task)
            register_zero_shot_prompt(self.registry, self.context, task)
        postgres = Postgres(postgres_url)
        TenantDirectory(postgres).create(self.context, name="Escritorio")
        self.bundles = BundleLog(postgres)
        self.evaluation = EvaluationPorts(
            store=DeltaTableStore(LakeRoot(str(folder / "lake"))),
            registry=self.registry,
            experiments=self.registry,
            log=EvaluationLog(postgres),
            models=ModelSteps(embed=embed_step, classify=classify_step),
        )

    def tenant(self, name: str) -> TenantContext:
        return self.context

    def tasks(self, tenant: TenantContext) -> tuple[Task, ...]:
        return tasks_of(default_config(), tenant)

    def price(self, tenant: TenantContext) -> CostConfig | None:
        return CostConfig(currency="COP", per_compute_hour=3_600.0)

    def champion(self) -> Bundle:
        return bundle_of_aliases(self.tasks(self.context), self.registry)

    def other_rules(self) -> None:
        """Register version 2: rules that know the words of the labelled texts."""
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            save_rules(KeywordRules({k: (w, WORDS[k]) for k, w in KNOWN.items()}), folder)
            package = ModelPackage(f"{self.context.tenant_id}.tipo", folder, "rules", card="")
            self.registry.register_model(package)


@pytest.fixture
def desk(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(tmp_path, postgres_url)
    desk.other_rules()
    monkeypatch.setattr(bootstrap, "open_platform", lambda: desk)
    return desk


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "etiquetas.jsonl"
    rows = [
        {"texto": f"Por la {word} número {n}", "tipo": label, "canal": ["chat", "email"][n % 2]}
        for label, word in KNOWN.items()
        for n in range(10)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def said(*words: str) -> str:
    app = Typer()
    command.register(app)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def asked(what: str, labels: Path, *more: str) -> str:
    columns = ("--text-column", "texto", "--label-column", "tipo", "--slice", "channel=canal")
    return said(what, "-t", "norte", "-k", "tipo", "--labels", str(labels), *columns, *more)


@pytest.mark.usefixtures("desk")
def test_a_version_is_judged_beside_the_champion(labels: Path) -> None:
    found = json.loads(asked("2", labels, "--json"))
    (one,) = found["sets"]
    assert (found["challenger"].rsplit("/")[-1], found["champion"].rsplit("/")[-1]) == ("2", "1")
    assert one["metrics"]["accuracy"] == 1.0
    assert one["metrics"]["lift/p_better"] < 0.01
    assert {part["value"] for part in one["slices"] if part["dimension"] == "channel"} == {
        "chat",
        "email",
    }
    assert found["per_thousand"]["currency"] == "COP"
    assert found["page"].startswith("memory:/")


@pytest.mark.usefixtures("desk")
def test_people_read_tables_and_where_the_pictures_are(labels: Path) -> None:
    text = asked("2", labels)
    assert "macro-F1" in text
    assert "channel=chat" in text
    assert "Petición" in text
    assert "see memory:/" in text


def test_what_is_found_is_what_the_gates_read(desk: Desk, labels: Path, postgres_url: str) -> None:
    champion = desk.champion()
    registry, log = desk.registry, desk.evaluation.log
    ports = PromotionPorts(desk.bundles, registry, RunLog(Postgres(postgres_url)), log)
    promote_bundle(desk.context, champion, Decision("ana", "first"), ports)
    asked("2", labels, "--json")
    pins = [
        replace(p, champion=registry.model_version(p.champion.name, "2")) if p.task == "tipo" else p
        for p in champion.tasks
    ]
    measures = measures_of(
        desk.context,
        replace(champion, tasks=tuple(pins)),
        champion,
        log=log,
        registry=registry,
        asked_by="ana",
        approved_by="luis",
    )
    assert measures.unmeasured == ()
    verdict = judge(GatePolicy(lift_at_least=0.1, p_at_most=0.05, approvers=()), measures)
    assert verdict.passed


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("2",), "nothing to judge on; give labelled texts with --labels, or --human"),
        (("2", "--human", "--slice", "canal"), "--slice is 'canal'; write NAME=COLUMN"),
        (("la mejor", "--human"), "'la mejor' names no model and no bundle; write 7"),
        (("2", "--human"), "nobody has labelled tickets of task 'tipo' yet"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(words: tuple[str, ...], found: str) -> None:
    with pytest.raises(InputError, match=found) as error:
        said(*words, "-t", "norte", "-k", "tipo")
    assert "\n" not in str(error.value)
