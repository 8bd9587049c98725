"""Training from a file to a registered version, and what is there before anything is trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, EmbeddingChoice
from features.tiny import write_tiny_model
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.folder import read_config
from models.learned import LEARNED_FILE, learned, read_learned
from models.routing import RoutingPolicy
from models.steps import classify_step
from models.task import Task
from models.zero_shot import ZeroShotPrompt
from monitoring.drift import COLUMNS
from pipelines.labelled_texts import LabelsFile, read_labelled
from pipelines.tenant_config import default_config, tasks_of
from pipelines.train import (
    register_baseline,
    register_embedding_model,
    register_zero_shot_prompt,
    train,
    train_on,
)
from pipelines.training_set import TrainingSet
from registry.errors import ArtifactError, PromptError, UnknownAliasError
from registry.memory import MemoryRegistry

NORTE = TenantContext.parse("norte")
TASK = Task(
    name="tema",
    titles={"agua": "Agua potable", "luz": "Energía", "vias": "Vías"},
    text_field="text",
    model="norte.tema",
    zero_shot_prompt="norte.tema.zero-shot",
    routing=RoutingPolicy(0.8),
)
RUN = RunContext.begin(NORTE, kind="train", at=datetime(2026, 1, 2, tzinfo=UTC))
SUBJECTS = {"agua": "acueducto tubería fuga", "luz": "bombillo poste cable", "vias": "hueco andén"}
WORDS = " ".join(SUBJECTS.values()).split()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model", WORDS)


@pytest.fixture
def registry(tiny: Path) -> MemoryRegistry:
    registry = MemoryRegistry()
    register_embedding_model(registry, tiny)
    return registry


def labelled() -> list[tuple[str, str]]:
    return [
        (f"{words.split()[n % 2]} en la calle {n} {words}", label)
        for label, words in SUBJECTS.items()
        for n in range(20)
    ]


def write_csv(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["texto", "tema"])
        writer.writerows(rows)
    return path


def file_of(path: Path, note: str = "") -> LabelsFile:
    return LabelsFile(path, "texto", "tema", note)


def test_the_winner_is_registered_as_it_was_measured(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    register_baseline(registry, NORTE, TASK)
    register_zero_shot_prompt(registry, NORTE, TASK)
    path = write_csv(tmp_path / "etiquetas.csv", labelled())
    report = train(file_of(path, note="Synthetic."), TASK, RUN, registry=registry)
    assert (report.model.name, report.model.version) == ("norte.tema", "2")
    assert set(report.candidates) == {"tfidf", "embedding", "both"}
    assert set(report.beside) == {"rules", "zero-shot"}
    assert (report.trained_on, report.held_out) == (45, 15)
    assert report.dropped == {"repeated": 0, "blank": 0}
    assert report.evaluation.accuracy == 1.0
    (newest, _) = [info for info in registry.models() if info.name == "norte.tema"]
    assert newest.aliases == ()
    assert newest.metrics["macro_f1"] == report.evaluation.macro_f1
    assert newest.metrics["compared/rules/macro_f1"] == report.beside["rules"].macro_f1
    assert "**Synthetic.**" in newest.text
    assert "Energía" in newest.text


def test_the_reference_for_drift_holds_no_text(registry: MemoryRegistry, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "etiquetas.csv", labelled())
    report = train(file_of(path), TASK, RUN, registry=registry)
    reference = pq.read_table(registry.fetch(report.model) / "reference.parquet")
    assert set(reference.column_names) == set(COLUMNS)
    assert len(reference) == report.held_out
    assert pa.string() not in [
        field.type for field in reference.schema if field.name != "predicted_label"
    ]


def test_a_model_tells_which_texts_it_learned_from_and_holds_none_of_them(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "etiquetas.csv", labelled())
    report = train(file_of(path), TASK, RUN, registry=registry)
    folder = registry.fetch(report.model)
    digests = read_learned(folder)
    assert digests is not None
    texts = [text for text, _ in labelled()]
    assert int(learned(texts, digests).sum()) == report.trained_on
    assert learned([text.upper() for text in texts], digests).sum() == report.trained_on
    assert not learned(["Otro texto"], digests).any()
    (folder / LEARNED_FILE).write_bytes(b"no")
    with pytest.raises(ArtifactError, match=LEARNED_FILE):
        read_learned(folder)


def test_training_again_on_the_same_file_measures_the_same(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "etiquetas.csv", labelled())
    once = train(file_of(path), TASK, RUN, registry=registry)
    twice = train(file_of(path), TASK, RUN, registry=registry)
    assert once.evaluation.metrics() == twice.evaluation.metrics()
    assert once.winner == twice.winner


def test_a_model_that_reads_vectors_says_whose(registry: MemoryRegistry, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "etiquetas.csv", labelled())
    report = train(file_of(path), TASK, RUN, registry=registry)
    config = read_config(registry.fetch(report.model))
    if config["features"] != "tfidf":
        embedding = registry.resolve_model(EMBEDDING_MODEL)
        assert config["embedding"]["model_digest"] == embedding.digest


def test_the_kind_of_model_is_chosen_without_a_look_at_those_that_judge(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "etiquetas.csv", labelled())
    found = TrainingSet.of_file(file_of(path), read_labelled(file_of(path), TASK), seed=1)
    # Every answer of those that judge is turned round: had they a say, another kind might win.
    truth = np.where(found.aside, (found.truth + 1) % 3, found.truth)
    reference = tuple(f"un texto de estos días {n}" for n in range(7))
    given = replace(
        found, choose_apart=True, truth=truth, reference=reference, origin={"as_of": "2026-01-02"}
    )
    report = train_on(given, TASK, RUN, registry=registry, tags={"plata.retraining": "retrain-1"})
    assert list(report.candidates) == [report.winner]
    assert report.evaluation.accuracy < 0.5
    digests = read_learned(registry.fetch(report.model))
    assert digests is not None
    assert int(learned(given.texts, digests).sum()) == report.trained_on == 45
    kept = pq.read_table(registry.fetch(report.model) / "reference.parquet")
    assert len(kept) == len(reference)
    newest = registry.models()[1]
    assert newest.tags["plata.retraining"] == "retrain-1"
    assert "- as_of: `2026-01-02`" in newest.text
    assert "the held-out texts had no part in it" in newest.text


def test_labels_may_be_written_as_reviewers_read_them(tmp_path: Path) -> None:
    rows = [(text, TASK.titles[label].upper()) for text, label in labelled()]
    read = read_labelled(file_of(write_csv(tmp_path / "a.csv", rows)), TASK)
    assert [TASK.labels[place] for place in read.truth] == [label for _, label in labelled()]


def test_repeated_and_blank_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = labelled()
    more = [*rows, (rows[0][0].upper(), "agua"), ("", "agua"), ("un texto", " ")]
    read = read_labelled(file_of(write_csv(tmp_path / "a.csv", more)), TASK)
    assert (len(read.texts), read.repeated, read.blank) == (60, 1, 2)


def test_csv_json_lines_and_parquet_say_the_same(tmp_path: Path) -> None:
    records = [{"texto": text, "tema": label} for text, label in labelled()]
    lines = tmp_path / "a.jsonl"
    lines.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    write_csv(tmp_path / "a.csv", labelled())
    read = [read_labelled(file_of(tmp_path / f"a.{s}"), TASK) for s in ("csv", "jsonl", "parquet")]
    assert read[0].texts == read[1].texts == read[2].texts


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        ("texto,tema\naño,agua\n".encode("latin1"), "is not UTF-8 at line 2"),
        (b"mensaje,tema\nuno,agua\n", "has no column 'texto'; it has: mensaje, tema"),
        (b"texto,tema\nuno,gas\ndos,gas\n", r"does not have: 'gas' \(2 rows\); its labels are"),
        (b"texto,tema\nuno,agua\n", "has 1 distinct labelled texts, at least 40"),
        (b"texto,tema\nuno\n", "record 1 is not a row of CSV"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    content: bytes | None, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "etiquetas.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=found) as error:
        read_labelled(file_of(path), TASK)
    assert "\n" not in str(error.value)


def test_a_label_with_too_few_texts_is_named(tmp_path: Path) -> None:
    rows = [row for row in labelled() if row[1] != "vias"] + labelled()[-3:]
    path = write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(InputError, match=r"too few texts of 'vias' \(3\)"):
        read_labelled(file_of(path), TASK)


def test_a_tenant_begins_with_rules_as_baseline_and_champion(registry: MemoryRegistry) -> None:
    baseline = register_baseline(registry, NORTE, TASK)
    assert register_baseline(registry, NORTE, TASK) == baseline
    assert registry.resolve_model("norte.tema") == baseline
    assert registry.resolve_model("norte.tema", "baseline") == baseline
    rows = pa.table({"ticket_id": ["t"], "text": ["No hay energía"]})
    step = classify_step(str(registry.fetch(baseline)), list(TASK.labels))
    assert step(rows)["predicted_label"].to_pylist() == ["luz"]


def test_rules_have_figures_on_the_synthetic_corpus_where_it_has_the_tasks_labels(
    registry: MemoryRegistry,
) -> None:
    (tipo, _) = tasks_of(default_config(), NORTE)
    for task in (tipo, TASK):
        register_baseline(registry, NORTE, task)
    infos = {info.name: info for info in registry.models()}
    known, other = infos["norte.tipo"], infos["norte.tema"]
    assert 0.2 < known.metrics["synthetic/macro_f1"] < 0.3
    assert "On the 840 **synthetic** requests" in known.text
    assert not [name for name in other.metrics if name.startswith("synthetic/")]
    assert "Not measured: that takes labelled texts" in other.text


def test_a_baseline_follows_its_task_and_leaves_the_champion_alone(
    registry: MemoryRegistry,
) -> None:
    first = register_baseline(registry, NORTE, TASK)
    titles = {**TASK.titles, "otro": "Otro"}
    wider = Task("tema", titles, "text", TASK.model, TASK.zero_shot_prompt, TASK.routing)
    second = register_baseline(registry, NORTE, wider)
    assert second.version == "2"
    assert registry.resolve_model("norte.tema") == first
    assert registry.resolve_model("norte.tema", "baseline") == second


def test_a_zero_shot_prompt_that_describes_the_labels_stays(registry: MemoryRegistry) -> None:
    first = register_zero_shot_prompt(registry, NORTE, TASK)
    own = ZeroShotPrompt(
        consulta="{{text}}", etiquetas={label: ["descripción"] for label in TASK.labels}
    )
    second = register_zero_shot_prompt(registry, NORTE, TASK, own)
    assert (first.version, second.version) == ("1", "2")
    assert register_zero_shot_prompt(registry, NORTE, TASK) == second


def test_the_embedding_model_comes_with_its_prompt_and_is_registered_once(tiny: Path) -> None:
    registry = MemoryRegistry()
    once = register_embedding_model(registry, tiny)
    assert register_embedding_model(registry, tiny) == once
    prompt = registry.resolve_prompt(QUERY_PROMPT)
    assert registry.template(prompt) == "query: {{text}}"
    assert len(registry.models()) == 1


def test_a_template_that_is_given_becomes_the_prompt_in_use_and_one_in_use_stays(
    tiny: Path,
) -> None:
    registry = MemoryRegistry()
    register_embedding_model(registry, tiny, template="passage: {{text}}")
    register_embedding_model(registry, tiny)
    prompt = registry.resolve_prompt(QUERY_PROMPT)
    assert registry.template(prompt) == "passage: {{text}}"
    with pytest.raises(PromptError):
        register_embedding_model(registry, tiny, template="passage:")
    assert registry.resolve_prompt(QUERY_PROMPT) == prompt


def test_a_task_is_trained_on_the_embedding_its_tenant_chose(tiny: Path, tmp_path: Path) -> None:
    registry = MemoryRegistry()
    register_embedding_model(registry, tiny, name="propio", template="{{text}}")
    task = replace(TASK, embedding=EmbeddingChoice.of("propio"))
    register_zero_shot_prompt(registry, NORTE, task)
    path = write_csv(tmp_path / "etiquetas.csv", labelled())
    report = train(file_of(path), task, RUN, registry=registry)
    assert set(report.candidates) == {"tfidf", "embedding", "both"}
    assert set(report.beside) == {"zero-shot"}


def test_training_without_an_embedding_model_says_so(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", labelled())
    with pytest.raises(UnknownAliasError, match=EMBEDDING_MODEL):
        train(file_of(path), TASK, RUN, registry=MemoryRegistry())
