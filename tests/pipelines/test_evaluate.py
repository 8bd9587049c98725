"""Evaluations: on fair texts alone, beside the champion, shown and kept; the same every time."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import NAMESPACE_DNS, uuid4, uuid5

import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skops.io import dump

from contracts.contract import Contract
from contracts.tables import LABELS, MESSAGES, TICKETS
from features.embed import embed_step
from features.tiny import write_tiny_model
from lakehouse.control.evaluations import EvaluationLog
from lakehouse.control.llm_ledger import LlmLedger
from lakehouse.control.postgres import Postgres
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.chat import Caller, CallLimits
from models.external import FILES, SKLEARN
from models.folder import write_config
from models.gates import TaskMeasures
from models.learned import LEARNED_FILE
from models.llm import LlmModel
from models.llm_desk import LlmDesk
from models.llm_prompt import default_llm_prompt
from models.openai_endpoint import OpenAiEndpoint
from models.routing import RoutingPolicy
from models.steps import classify_step
from models.task import Task
from pipelines.bundles import bundle_of_aliases
from pipelines.enrich import ModelSteps
from pipelines.evaluate import (
    EvaluationPorts,
    EvaluationReport,
    Question,
    evaluate_answers,
)
from pipelines.labelled_texts import LabelsFile
from pipelines.tenant_config import CostConfig
from pipelines.train import (
    register_baseline,
    register_embedding_model,
    register_zero_shot_prompt,
    train,
)
from registry.bundles import Bundle
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage, ModelRef

MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
DAY = date(2026, 1, 4)
SUBJECTS = {"agua": "acueducto tubería fuga", "luz": "bombillo poste cable", "vias": "hueco andén"}
WORDS = " ".join(SUBJECTS.values()).split()
Row = tuple[str, str, str]


def rows_of(place: str, count: int = 40) -> list[Row]:
    """Make texts of two words of their subject; the channel alternates."""
    return [
        (
            f"{words.split()[n % 2]} en {place} {n} {words.split()[-1]}",
            label,
            ("chat", "email")[n % 2],
        )
        for label, words in SUBJECTS.items()
        for n in range(count)
    ]


TRAINING = rows_of("la calle")
OTHERS = rows_of("el barrio", 10)


def write_csv(path: Path, rows: Sequence[Row]) -> LabelsFile:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["texto", "tema", "canal"])
        writer.writerows(rows)
    return LabelsFile(path, "texto", "tema", beside={"channel": "canal"})


class Models:
    """A task with rules for champion and a trained model beside: trained once, for every test."""

    def __init__(self, folder: Path) -> None:
        tenant = TenantContext.parse("judge")
        self.registry = MemoryRegistry()
        register_embedding_model(self.registry, write_tiny_model(folder / "tiny", WORDS))
        self.task = Task(
            name="tema",
            titles={"agua": "Agua potable", "luz": "Energía", "vias": "Vías"},
            text_field="text",
            model="judge.tema",
            zero_shot_prompt="judge.tema.zero-shot",
            routing=RoutingPolicy(0.8),
        )
        register_baseline(self.registry, tenant, self.task)
        register_zero_shot_prompt(self.registry, tenant, self.task)
        self.training = write_csv(folder / "entrenamiento.csv", TRAINING)
        run = RunContext.begin(tenant, kind="train", at=MORNING)
        self.trained = train(self.training, self.task, run, registry=self.registry).model


class House:
    """A tenant with these models, and what evaluations need."""

    def __init__(self, models: Models, lake: Path, postgres_url: str) -> None:
        self.tenant = TenantContext.parse(f"judge-{uuid4().hex[:8]}")
        self.registry, self.task = models.registry, models.task
        self.training, self.trained = models.training, models.trained
        self.registry.evaluations.clear()
        self.store = DeltaTableStore(LakeRoot(str(lake)))
        self.ports = EvaluationPorts(
            store=self.store,
            registry=self.registry,
            experiments=self.registry,
            log=EvaluationLog(Postgres(postgres_url)),
            models=ModelSteps(embed=embed_step, classify=classify_step),
        )

    def run(self, kind: str = "evaluate", minutes: int = 0) -> RunContext:
        return RunContext.begin(self.tenant, kind=kind, at=MORNING + timedelta(minutes=minutes))

    def champion(self) -> Bundle:
        return replace(bundle_of_aliases([self.task], self.registry), seed=1)

    def with_model(self, ref: ModelRef) -> Bundle:
        champion = self.champion()
        return replace(champion, tasks=tuple(replace(p, champion=ref) for p in champion.tasks))

    def ask(
        self, file: LabelsFile | None = None, minutes: int = 0, **more: Any
    ) -> EvaluationReport:
        asked: dict[str, Any] = {
            "challenger": self.with_model(self.trained),
            "champion": self.champion(),
            **more,
        }
        question = Question(self.task, file=file, **asked)
        return evaluate_answers(question, self.run(minutes=minutes), self.ports)[0]

    def label(self, reason: str, rows: Sequence[Row], *, minutes: int = 0) -> None:
        run = self.run("label", minutes)
        ids = [str(uuid5(NAMESPACE_DNS, text)) for text, _, _ in rows]
        count = len(rows)
        self.add(TICKETS, run, ticket_id=ids, source_channel=[c for _, _, c in rows])
        texts = [text for text, _, _ in rows]
        self.add(MESSAGES, run, ticket_id=ids, event_id=ids, role=["citizen"] * count, text=texts)
        self.add(
            LABELS,
            run,
            label_id=[f"{minutes}/{one}" for one in ids],
            ticket_id=ids,
            task=["tema"] * count,
            label=[label for _, label, _ in rows],
            reason=[reason] * count,
            responded_at=[MORNING + timedelta(minutes=minutes)] * count,
        )

    def add(self, contract: Contract, run: RunContext, **columns: list[Any]) -> None:
        count = len(next(iter(columns.values())))
        common = {"tenant_id": run.tenant.tenant_id, "run_id": run.run_id, "source": "correo"}
        given = {**{k: [v] * count for k, v in common.items()}, "day": [DAY] * count, **columns}
        rows = [
            dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)
        ]
        filled = {f.name: None if f.nullable else _any(f.type) for f in contract.schema}
        known = [{**filled, **row} for row in rows]
        table = pa.Table.from_pylist(known, schema=contract.schema)
        self.store.append(contract.table, contract.enforce(table), run)


def _any(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return "x"
    if pa.types.is_timestamp(kind):
        return MORNING
    return 1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def house(models: Models, tmp_path: Path, postgres_url: str) -> House:
    return House(models, tmp_path / "lake", postgres_url)


def test_of_the_training_file_only_what_was_held_out_is_judged(house: House) -> None:
    found = house.ask(house.training)
    assert found.main.texts == 30
    assert found.left_out["held-out"]["learned by the challenger"] == 90
    assert {slice_.name for slice_ in found.main.slices} >= {"channel=chat", "channel=email"}


def test_texts_a_model_learned_from_are_known_in_another_file_and_another_case(
    house: House, tmp_path: Path
) -> None:
    shouted = [(text.upper() + "!!", label, channel) for text, label, channel in TRAINING]
    file = write_csv(tmp_path / "otro.csv", [*shouted, *OTHERS])
    found = house.ask(file)
    assert found.left_out["held-out"]["learned by the challenger"] == 90
    assert found.main.texts == 60


def test_texts_the_champion_learned_from_judge_nobody_either(house: House, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "otro.csv", [*TRAINING, *OTHERS])
    rules = house.champion()
    found = house.ask(file, challenger=rules, champion=house.with_model(house.trained))
    assert found.left_out["held-out"]["learned by the champion"] == 90


def test_a_file_of_nothing_but_what_was_learned_is_refused(house: House, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "otro.csv", TRAINING[:15])
    with pytest.raises(InputError, match=r"nothing fair to judge on.*learned by the challenger"):
        house.ask(file)
    assert house.ports.log.recent(house.tenant) == []


def test_a_model_that_cannot_say_what_it_learned_is_refused_on_its_own_file(
    house: House, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    for file in house.registry.fetch(house.trained).iterdir():
        if file.name != LEARNED_FILE:
            (folder / file.name).write_bytes(file.read_bytes())
    own = hashlib.sha256(house.training.path.read_bytes()).hexdigest()
    old = house.registry.register_model(
        ModelPackage(
            name=house.task.model,
            folder=folder,
            family="linear",
            card="",
            tags={"plata.data.digest": own},
        )
    )
    with pytest.raises(InputError, match=r"trained on 'entrenamiento\.csv' itself"):
        house.ask(house.training, challenger=house.with_model(old))
    found = house.ask(write_csv(tmp_path / "otro.csv", OTHERS), challenger=house.with_model(old))
    assert any("does not say which texts it learned from" in note for note in found.notes)


def test_of_a_model_brought_in_nobody_knows_what_it_learned(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "brought"
    folder.mkdir()
    labels = list(house.task.titles)
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(labels, labels)
    dump(pipeline, folder / FILES[SKLEARN])
    write_config(folder, {"family": SKLEARN, "labels": labels, "inputs": ["text"]})
    brought = house.registry.register_model(
        ModelPackage(name=house.task.model, folder=folder, family=SKLEARN, card="")
    )

    found = house.ask(house.training, challenger=house.with_model(brought))

    assert [note for note in found.notes if brought.uri in note] == [
        f"{brought.uri} does not say which texts it learned from (it has no learned.parquet): if "
        "some of these are among them, it is flattered"
    ]


def test_a_clearly_better_challenger_is_measured_for_the_gates(
    house: House, tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "otro.csv", OTHERS)
    found = house.ask(file, price=CostConfig(currency="COP", per_compute_hour=4_000.0))
    assert found.measures is not None
    assert found.measures.lift == pytest.approx(
        found.measures.macro_f1 - found.measures.champion_macro_f1
    )
    assert found.measures.p_better < 0.05
    assert found.measures.cost == pytest.approx(found.effort.seconds / 3_600 * 4_000)
    (record,) = house.ports.log.recent(house.tenant)
    assert record.measures is not None
    assert TaskMeasures.of(record.measures) == found.measures
    assert record.answers_id == house.with_model(house.trained).answers_id("tema")
    assert record.champion_answers_id == house.champion().answers_id("tema")


def test_the_champion_itself_is_judged_alone(house: House, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "otro.csv", OTHERS)
    found = house.ask(file, challenger=house.champion())
    assert (found.champion, found.measures, found.champion_effort) == (None, None, None)
    (record,) = house.ports.log.recent(house.tenant)
    assert (record.champion, record.measures) == (None, None)


def test_all_is_shown_in_the_registry_with_its_pictures(house: House, tmp_path: Path) -> None:
    found = house.ask(write_csv(tmp_path / "otro.csv", OTHERS))
    (shown,) = house.registry.evaluations
    assert shown.experiment == house.task.model
    assert shown.model == house.trained
    assert set(shown.figures) == {
        f"held-out-{name}.png" for name in ("confusion", "calibration", "slices")
    }
    assert shown.metrics["macro_f1"] == found.main.challenger.macro_f1
    assert shown.metrics["lift/p_better"] == pytest.approx(
        found.measures.p_better if found.measures else -1
    )
    assert "Agua potable" in shown.summary
    assert json.loads(shown.report) == json.loads(json.dumps(found.as_dict()))


def test_the_same_question_has_the_same_answer(house: House, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "otro.csv", OTHERS)
    shuffled = write_csv(tmp_path / "revuelto.csv", OTHERS[::-1])
    once, twice = house.ask(file), house.ask(file, minutes=1)
    other = house.ask(shuffled, minutes=2)
    assert [s.as_dict() for s in once.sets] == [s.as_dict() for s in twice.sets]
    assert once.main.metrics() == pytest.approx(other.main.metrics())


def test_what_people_answered_is_judged_apart_by_why_they_were_asked(house: House) -> None:
    house.label("audit", OTHERS[:25])
    house.label("doubt", OTHERS[25:28], minutes=1)
    found = house.ask(people=True)
    assert [(one.name, one.texts) for one in found.sets] == [("audit", 25)]
    assert any("'doubt' (silver_labels) has 3 texts" in note for note in found.notes)
    assert found.measures is not None
    assert {part.dimension for part in found.main.slices} == {
        "channel",
        "region",
        "month",
        "length",
    }


def test_doubtful_tickets_alone_never_pass_for_a_fair_comparison(house: House) -> None:
    house.label("doubt", OTHERS)
    found = house.ask(people=True)
    assert found.main.name == "doubt"
    assert found.measures is None


def test_the_newest_answer_about_a_ticket_counts(house: House) -> None:
    house.label("audit", OTHERS)
    wrong = [(text, "luz", channel) for text, _, channel in OTHERS[:5]]
    house.label("audit", wrong, minutes=5)
    found = house.ask(people=True)
    assert found.main.challenger.labels["luz"].support == 15
    assert found.main.texts == 30


def test_a_learning_curve_grows_within_what_was_learned(house: House) -> None:
    found = house.ask(house.training, curve=True)
    sizes = [point.texts for point in found.curve]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 90
    assert "learning-curve.png" in house.registry.evaluations[0].figures


def test_rules_have_no_learning_curve(house: House) -> None:
    rules = house.champion()
    with pytest.raises(InputError, match="of a trained model on the file it learned from"):
        house.ask(house.training, challenger=rules, champion=None, curve=True)


def test_a_text_without_an_answer_counts_as_wrong(house: House, tmp_path: Path) -> None:
    """A rules model whose probabilities are withheld stands for an endpoint that is down."""

    def silent_step(folder: str, labels: list[str]) -> Any:
        step = classify_step(folder, labels)

        def answer(rows: pa.Table) -> pa.Table:
            answers = step(rows)
            place = answers.schema.get_field_index("probabilities")
            mask = pa.array([n % 3 == 0 for n in range(len(answers))])
            kept = pa.array(
                [
                    None if hidden else text
                    for hidden, text in zip(
                        mask.to_pylist(), answers["probabilities"].to_pylist(), strict=True
                    )
                ],
                pa.string(),
            )
            return answers.set_column(place, "probabilities", kept)

        return answer

    house.ports = replace(house.ports, models=ModelSteps(embed=embed_step, classify=silent_step))
    found = house.ask(write_csv(tmp_path / "otro.csv", OTHERS), champion=None)
    assert found.unanswered == {"held-out": 10}
    assert found.main.challenger.accuracy <= 20 / 30


def test_an_llm_is_judged_like_any_other_and_its_charge_is_what_a_thousand_texts_cost(
    house: House, openai: ModuleType, tmp_path: Path, postgres_url: str
) -> None:
    postgres = Postgres(postgres_url)
    TenantDirectory(postgres).create(house.tenant, name="Juez")
    template = default_llm_prompt("tema", house.task.titles).text()
    prompt = house.registry.register_prompt("judge.tema.llm", template, note="")
    pinned = {"name": prompt.name, "version": prompt.version, "digest": prompt.digest}
    folder = tmp_path / "llm"
    folder.mkdir()
    LlmModel.of(
        {
            "endpoint": "local",
            "model": openai.MODEL,
            "labels": list(house.task.labels),
            "prompt": pinned,
            "prices": {"prompt": "1", "completion": "2"},
        }
    ).save(folder)
    package = ModelPackage(house.task.model, folder, family="llm", card="")
    ref = house.registry.register_model(package)
    llm = house.with_model(ref)
    llm = replace(llm, tasks=tuple(replace(p, champion_prompt=prompt) for p in llm.tasks))
    ledger = LlmLedger(postgres)
    limits = CallLimits(
        concurrency=2, attempts=2, timeout=5.0, deadline=20.0, first_pause=0.01, failures=3
    )
    with openai.serving() as server:
        endpoint = OpenAiEndpoint(server.url, openai.KEY, connections=2)
        desk = LlmDesk({"local": lambda: Caller(endpoint, limits)}, ledger)
        steps = ModelSteps(embed=embed_step, classify=classify_step, llm=desk.open)
        house.ports = replace(house.ports, models=steps, ledger=ledger)
        found = house.ask(write_csv(tmp_path / "otro.csv", OTHERS), challenger=llm)
        desk.close()
    spent, said = server.tokens
    assert len(server.charged) == len(OTHERS)
    assert found.effort.cost == pytest.approx((spent + 2 * said) / 1_000_000 / 30 * 1_000)
    assert found.effort.currency == "USD"
    assert found.unanswered == {"held-out": 0}
    expected = [openai.answer_of(text, list(house.task.labels)) for text, _, _ in OTHERS]
    right = sum(
        max(own, key=lambda label: own[label]) == label
        for own, (_, label, _) in zip(expected, OTHERS, strict=True)
    )
    assert found.main.challenger.accuracy == pytest.approx(right / len(OTHERS))
