"""Model folders: what a model is on disk, and how it comes back, without running foreign code.

`plata.json` says which family a folder is of. A linear model is `model.skops`, opened only where
every type in it is on our list, and the terms it counts, in `terms.json`; a rules model is
`rules.yaml`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import skops.io
from sklearn.feature_extraction.text import TfidfVectorizer
from skops.io.exceptions import UntrustedTypesFoundException

from features.embed import open_embedder
from models.classifier import Classifier
from models.folder import CONFIG_FILE, read_config, write_config, write_json
from models.linear import Features, LinearClassifier
from models.rules import RULES_FILE, read_rules
from models.zero_shot import ZeroShotClassifier, ZeroShotPrompt
from registry.errors import ArtifactError

_MODEL_FILE = "model.skops"
_TERMS_FILE = "terms.json"
_OPTIONS = ("analyzer", "ngram_range", "strip_accents", "sublinear_tf", "token_pattern")

TRUSTED_TYPES = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.model_selection._split.StratifiedKFold",
)
"""Types a model may hold beyond those skops itself knows to be harmless."""


def save_linear(model: LinearClassifier, folder: Path, *, space: Mapping[str, str]) -> None:
    """Write a linear model; `space` says which embedding model and prompt it was trained on."""
    vectorizers = {"word": model.word, "char": model.char}
    used = {name: v for name, v in vectorizers.items() if v is not None}
    arrays = {name: v.idf_ for name, v in used.items()}
    skops.io.dump({"regression": model.regression, "idf": arrays}, folder / _MODEL_FILE)
    terms = {name: v.get_feature_names_out().tolist() for name, v in used.items()}
    write_json(folder / _TERMS_FILE, terms)
    config: dict[str, Any] = {
        "family": "linear",
        "labels": list(model.labels),
        "features": model.features.value,
        "vectorizers": {name: _options(v) for name, v in used.items()},
    }
    if model.features.vectors:
        config["embedding"] = dict(space)
    write_config(folder, config)


def load(folder: Path) -> Classifier:
    """Open a model folder of ours. Raises `ArtifactError` where it is not one, or not safe."""
    config = read_config(folder)
    family = config.get("family")
    if family == "rules":
        return read_rules(folder / RULES_FILE)
    if family == "linear":
        return _load_linear(folder, config)
    msg = f"{CONFIG_FILE} names the family '{family}', expected 'rules' or 'linear'"
    raise ArtifactError(msg)


def load_zero_shot(folder: Path, template: str) -> ZeroShotClassifier:
    """Make a classifier of an embedding model's folder and a prompt's text."""
    return ZeroShotClassifier.of(ZeroShotPrompt.parse(template), open_embedder(folder))


def _options(vectorizer: TfidfVectorizer) -> dict[str, Any]:
    """Return the options that decide how a text is cut, as JSON values."""
    options = vectorizer.get_params()
    return {name: options[name] for name in _OPTIONS}


def _vectorizer(options: Mapping[str, Any], terms: list[str], idf: Any) -> TfidfVectorizer:
    known = {name: options[name] for name in _OPTIONS}
    known["ngram_range"] = tuple(known["ngram_range"])
    vectorizer = TfidfVectorizer(**known, vocabulary=terms)
    vectorizer.idf_ = idf
    return vectorizer


def _load_linear(folder: Path, config: Mapping[str, Any]) -> LinearClassifier:
    try:
        parts = skops.io.load(folder / _MODEL_FILE, trusted=list(TRUSTED_TYPES))
        terms = json.loads((folder / _TERMS_FILE).read_text(encoding="utf-8"))
        vectorizers = {
            name: _vectorizer(options, terms[name], parts["idf"][name])
            for name, options in config["vectorizers"].items()
        }
        return LinearClassifier(
            labels=tuple(config["labels"]),
            features=Features(config["features"]),
            word=vectorizers.get("word"),
            char=vectorizers.get("char"),
            regression=parts["regression"],
        )
    except UntrustedTypesFoundException as error:
        msg = f"{_MODEL_FILE} holds types that are not on the list of trusted ones: {error}"
        raise ArtifactError(msg) from error
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        msg = f"{_MODEL_FILE} cannot be opened: {' '.join(str(error).split())}"
        raise ArtifactError(msg) from error
