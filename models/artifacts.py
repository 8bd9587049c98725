"""Model folders: what a model is on disk, and how it comes back, without running foreign code.

`plata.json` says which family a folder is of. A linear model is its numbers, in
`weights.safetensors`, and the terms it counts, in `terms.json`; a rules model is `rules.yaml`; a
zero-shot model is the prompt it pins, `prompt.yaml`, and the vectors of its descriptions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from features.embed import open_embedder
from models.classifier import Classifier
from models.external import ONNX, SKLEARN
from models.folder import (
    CONFIG_FILE,
    EMBEDDING,
    LLM,
    family_of,
    pinned_prompt,
    read_config,
    write_config,
    write_json,
)
from models.linear import Features, LinearClassifier, Weights
from models.rules import RULES_FILE, read_rules
from models.zero_shot import ZeroShotClassifier, ZeroShotPrompt
from registry.errors import ArtifactError
from registry.refs import PromptRef, text_digest
from registry.safety import check_registered

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

_WEIGHTS_FILE = "weights.safetensors"
_TERMS_FILE = "terms.json"
_PROMPT_FILE = "prompt.yaml"
_DESCRIPTIONS_FILE = "descriptions.safetensors"
_OPTIONS = ("analyzer", "ngram_range", "strip_accents", "sublinear_tf", "token_pattern")
_WEIGHTS = "coefficients", "intercepts", "sharpness"


def save_linear(model: LinearClassifier, folder: Path, *, space: Mapping[str, str]) -> None:
    """Write a linear model; `space` says which embedding model and prompt it was trained on."""
    vectorizers = {"word": model.word, "char": model.char}
    used = {name: v for name, v in vectorizers.items() if v is not None}
    arrays = {f"{name}.idf": v.idf_ for name, v in used.items()}
    arrays |= {name: np.asarray(getattr(model.weights, name)) for name in _WEIGHTS}
    kept = {name: np.array(array, np.float64, order="C") for name, array in arrays.items()}
    save_file(kept, folder / _WEIGHTS_FILE)
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


def save_zero_shot(
    model: ZeroShotClassifier,
    folder: Path,
    *,
    template: str,
    prompt: PromptRef,
    space: Mapping[str, str],
) -> None:
    """Write a zero-shot model: the version of the prompt it pins, and its descriptions' vectors.

    `template` is the prompt's text, letter by letter; `space` says what made the vectors.
    """
    (folder / _PROMPT_FILE).write_text(template, encoding="utf-8", newline="")
    save_file({"descriptions": np.ascontiguousarray(model.vectors)}, folder / _DESCRIPTIONS_FILE)
    pinned = {"name": prompt.name, "version": prompt.version, "digest": prompt.digest}
    config = {"family": "zero-shot", "labels": list(model.labels)}
    write_config(folder, {**config, "prompt": pinned, "embedding": dict(space)})


def load(folder: Path, template: str | None = None) -> Classifier:
    """Open a model folder of any family that answers by itself.

    `template` is the text of the prompt the model reads: an embedding model is nothing without
    one, and a zero-shot model takes no other than the one it pins. Raises `ArtifactError` where
    the folder is not ours, or not safe.
    """
    check_registered(folder)
    family = family_of(folder)
    if family == EMBEDDING and template is not None:
        return load_zero_shot(folder, template)
    if family == LLM:
        msg = "an LLM answers through its endpoint: it is asked in a run, not opened from a folder"
        raise ArtifactError(msg)
    if family not in _FAMILIES:
        known = ", ".join(f"'{name}'" for name in (*_FAMILIES, LLM))
        msg = f"{CONFIG_FILE} names the family '{family}', expected one of {known}"
        raise ArtifactError(msg)
    pinned = pinned_prompt(folder)
    if template is not None and (pinned is None or pinned.digest != text_digest(template)):
        reads = "no prompt" if pinned is None else f"only {pinned.uri}"
        msg = f"a model of the family '{family}' is given a prompt, and this one reads {reads}"
        raise ArtifactError(msg)
    return _FAMILIES[family](folder, read_config(folder))


def load_zero_shot(folder: Path, template: str) -> ZeroShotClassifier:
    """Make a classifier of an embedding model's folder and a prompt's text."""
    return ZeroShotClassifier.of(ZeroShotPrompt.parse(template), open_embedder(folder))


def _load_rules(folder: Path, config: Mapping[str, Any]) -> Classifier:
    return read_rules(folder / RULES_FILE)


def _load_zero_shot(folder: Path, config: Mapping[str, Any]) -> ZeroShotClassifier:
    try:
        template = (folder / _PROMPT_FILE).read_bytes().decode("utf-8")
        vectors = load_file(folder / _DESCRIPTIONS_FILE)["descriptions"]
    except (OSError, UnicodeDecodeError, SafetensorError, KeyError, ValueError) as error:
        msg = f"'{folder.name}' is not a zero-shot model: {' '.join(str(error).split())}"
        raise ArtifactError(msg) from error
    pinned = pinned_prompt(folder)
    if pinned is None or pinned.digest != text_digest(template):
        msg = f"{_PROMPT_FILE} is not the prompt that {CONFIG_FILE} pins"
        raise ArtifactError(msg)
    return ZeroShotClassifier.with_vectors(ZeroShotPrompt.parse(template), vectors)


def _options(vectorizer: TfidfVectorizer) -> dict[str, Any]:
    """Return the options that decide how a text is cut, as JSON values."""
    options = vectorizer.get_params()
    return {name: options[name] for name in _OPTIONS}


def _vectorizer(options: Mapping[str, Any], terms: list[str], idf: Any) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = {name: options[name] for name in _OPTIONS}
    known["ngram_range"] = tuple(known["ngram_range"])
    vectorizer = TfidfVectorizer(**known, vocabulary=terms)
    vectorizer.idf_ = idf
    return vectorizer


def _load_linear(folder: Path, config: Mapping[str, Any]) -> LinearClassifier:
    try:
        arrays = load_file(folder / _WEIGHTS_FILE)
        terms = json.loads((folder / _TERMS_FILE).read_text(encoding="utf-8"))
        vectorizers = {
            name: _vectorizer(options, terms[name], arrays[f"{name}.idf"])
            for name, options in config["vectorizers"].items()
        }
        return LinearClassifier(
            labels=tuple(config["labels"]),
            features=Features(config["features"]),
            word=vectorizers.get("word"),
            char=vectorizers.get("char"),
            weights=_weights(arrays, len(config["labels"])),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = f"'{folder.name}' is not a linear model: {' '.join(str(error).split())}"
        raise ArtifactError(msg) from error


def _weights(arrays: Mapping[str, Any], labels: int) -> Weights:
    coefficients, intercepts, sharpness = (arrays[name] for name in _WEIGHTS)
    if coefficients.ndim != 2 or (len(coefficients), intercepts.shape) != (labels, (labels,)):
        found = f"coefficients {coefficients.shape} and intercepts {intercepts.shape}"
        msg = f"{_WEIGHTS_FILE} has {found}, expected {labels} rows, one a label"
        raise ArtifactError(msg)
    return Weights(coefficients, intercepts, sharpness.item())


def _load_onnx(folder: Path, config: Mapping[str, Any]) -> Classifier:
    from models.onnx_family import OnnxClassifier

    return OnnxClassifier.open(folder, config)


def _load_sklearn(folder: Path, config: Mapping[str, Any]) -> Classifier:
    from models.sklearn_family import SklearnClassifier

    return SklearnClassifier.open(folder, config)


_FAMILIES: Mapping[str, Callable[[Path, Mapping[str, Any]], Classifier]] = {
    "rules": _load_rules,
    "linear": _load_linear,
    "zero-shot": _load_zero_shot,
    ONNX: _load_onnx,
    SKLEARN: _load_sklearn,
}
