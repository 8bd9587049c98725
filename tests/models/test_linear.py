from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from numpy.typing import NDArray

from features.embed import as_lists
from models import artifacts
from models.artifacts import load, save_linear
from models.fitting import fit
from models.folder import read_config
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


def test_a_type_that_is_not_on_our_list_is_never_opened(tmp_path: Path) -> None:
    save_linear(fitted(Features.TFIDF), tmp_path, space={})
    skops.io.dump({"regression": Path("/"), "idf": {}}, tmp_path / "model.skops")
    with pytest.raises(ArtifactError, match="not on the list of trusted"):
        load(tmp_path)


def test_nothing_needs_more_trust_than_it_is_given(tmp_path: Path) -> None:
    save_linear(fitted(Features.BOTH), tmp_path, space={})
    asked = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    assert set(asked) == set(artifacts.TRUSTED_TYPES)


@pytest.mark.parametrize("config", ["", "[]", '{"family": "pickle"}', '{"family": "linear"}'])
def test_a_folder_that_is_not_a_model_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "plata.json").write_text(config, encoding="utf-8")
    with pytest.raises(ArtifactError):
        load(tmp_path)
