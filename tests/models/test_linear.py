from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from features.embed import as_lists, as_matrix
from models.artifacts import load, save_linear
from models.classifier import best
from models.fitting import FOLDS, fit, fit_uncalibrated
from models.folder import read_config, write_config
from models.linear import Features, LinearClassifier
from models.rules import default_rules, save_rules
from models.steps import classify_step
from registry.errors import ArtifactError

LABELS = ("agua", "luz", "vias")
WORDS = ("acueducto tubería 4501", "energía bombillo 4502", "hueco asfalto 4503")


def corpus() -> tuple[pa.Table, NDArray[np.int64]]:
    truth = np.arange(60) % 3
    texts = [f"{WORDS[label]} caso {n} Pérez" for n, label in enumerate(truth)]
    noise = np.random.default_rng(0).normal(0, 0.1, (60, 3))
    vectors = (np.eye(3)[truth] + noise).astype(np.float32)
    ids = [f"t{n}" for n in range(60)]
    table = pa.table({"ticket_id": ids, "text": texts, "embedding": as_lists(vectors)})
    return table, truth.astype(np.int64)


def fitted(features: Features) -> LinearClassifier:
    rows, truth = corpus()
    return fit(rows, truth, LABELS, features=features, seed=1)


@pytest.mark.parametrize("features", list(Features))
def test_a_model_answers_the_same_once_saved_and_opened(features: Features, tmp_path: Path) -> None:
    model, (rows, truth) = fitted(features), corpus()
    save_linear(model, tmp_path, space={"model": "models:/e5/1"})
    opened = load(tmp_path)
    found = opened.predict_proba(rows)
    assert (found == model.predict_proba(rows)).all()
    assert opened.explain(rows, found) == model.explain(rows, found)
    assert (found.argmax(axis=1) == truth).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert ("embedding" in read_config(tmp_path)) == features.vectors


def test_fitting_twice_gives_the_same_answers() -> None:
    rows, _ = corpus()
    once, twice = fitted(Features.BOTH), fitted(Features.BOTH)
    assert (once.predict_proba(rows) == twice.predict_proba(rows)).all()


@pytest.mark.parametrize("features", list(Features))
def test_calibration_changes_scores_and_no_answer(features: Features) -> None:
    rows, truth = corpus()
    quick = fit_uncalibrated(rows, truth, LABELS, features=features, seed=1)
    scores, found = (m.predict_proba(rows) for m in (quick, fitted(features)))
    assert (best(scores) == best(found)).all()
    assert not np.allclose(scores, found)


def test_the_reason_names_single_words_and_never_a_number() -> None:
    rows, _ = corpus()
    model = fitted(Features.TFIDF)
    reason = model.explain(rows, model.predict_proba(rows))[0]
    assert reason.startswith("Palabras con más peso: ")
    assert "acueducto" in reason
    assert not any(character.isdigit() for character in reason)


def test_two_labels_are_explained_too() -> None:
    rows, truth = corpus()
    pair = rows.filter(pa.array(truth < 2))
    model = fit(pair, truth[truth < 2], LABELS[:2], features=Features.TFIDF, seed=1)
    reasons = model.explain(pair, model.predict_proba(pair))
    assert "acueducto" in reasons[0]
    assert "bombillo" in reasons[1]


def test_the_step_answers_in_the_order_of_the_task(tmp_path: Path) -> None:
    save_linear(fitted(Features.BOTH), tmp_path, space={})
    rows, _ = corpus()
    done = classify_step(str(tmp_path), ["vias", "agua", "luz"])(rows.slice(0, 2))
    assert done.column_names == [
        "ticket_id",
        "predicted_label",
        "score",
        "probabilities",
        "explanation",
    ]
    assert done["predicted_label"].to_pylist() == ["agua", "luz"]
    first = json.loads(done["probabilities"][0].as_py())
    assert list(first) == ["vias", "agua", "luz"]
    assert first["agua"] == pytest.approx(done["score"][0].as_py(), abs=1e-6)


def test_the_step_keeps_its_shape_without_rows(tmp_path: Path) -> None:
    save_rules(default_rules("t", {"a": "Agua", "b": "Luz"}), tmp_path)
    done = classify_step(str(tmp_path), ["a", "b"])(corpus()[0].slice(0, 0))
    assert (len(done), done.schema.field("score").type) == (0, pa.float64())


def test_a_model_that_answers_other_labels_is_refused(tmp_path: Path) -> None:
    save_rules(default_rules("t", {"a": "Agua", "b": "Luz"}), tmp_path)
    with pytest.raises(ArtifactError, match="the task wants a, c"):
        classify_step(str(tmp_path), ["a", "c"])


def test_the_numbers_answer_as_scikit_learn_does() -> None:
    rows, truth = corpus()
    for kept in (truth < 3, truth < 2):
        part, own = rows.filter(pa.array(kept)), truth[kept]
        model = fit(part, own, LABELS[: own.max() + 1], features=Features.EMBEDDING, seed=1)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=1)
        regression = LogisticRegression(
            C=10.0, class_weight="balanced", max_iter=2_000, random_state=1
        )
        peer = CalibratedClassifierCV(regression, method="temperature", cv=folds, ensemble=False)
        given = as_matrix(part["embedding"]).astype(np.float64)
        expected = peer.fit(given, own).predict_proba(given)
        np.testing.assert_allclose(model.predict_proba(part), expected, rtol=1e-9)


@pytest.mark.parametrize("features", list(Features))
def test_an_answer_does_not_depend_on_the_texts_beside_it(features: Features) -> None:
    rows, _ = corpus()
    model = fitted(features)
    alone = np.vstack([model.predict_proba(rows.slice(n, 1)) for n in range(len(rows))])
    assert (alone == model.predict_proba(rows)).all()


def test_numbers_for_other_labels_are_refused(tmp_path: Path) -> None:
    save_linear(fitted(Features.EMBEDDING), tmp_path, space={})
    write_config(tmp_path, read_config(tmp_path) | {"labels": ["agua", "luz"]})
    with pytest.raises(ArtifactError, match="expected 2 rows, one a label"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04cposix\nsystem\n", b"\xff" * 64])
def test_a_file_that_is_not_numbers_is_refused(tmp_path: Path, content: bytes) -> None:
    save_linear(fitted(Features.TFIDF), tmp_path, space={})
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="is not safetensors"):
        load(tmp_path)


def test_a_model_of_embeddings_alone_is_opened_without_scikit_learn(tmp_path: Path) -> None:
    save_linear(fitted(Features.EMBEDDING), tmp_path, space={})
    program = (
        "import sys; from pathlib import Path; from models.artifacts import load;"
        "load(Path(sys.argv[1])); sys.exit('sklearn' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


@pytest.mark.parametrize("config", ["", "[]", '{"family": "pickle"}', '{"family": "linear"}'])
def test_a_folder_that_is_not_a_model_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "plata.json").write_text(config, encoding="utf-8")
    with pytest.raises(ArtifactError):
        load(tmp_path)
