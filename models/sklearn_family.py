"""The scikit-learn family: a pipeline saved by skops that reads texts, or vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from models.classifier import Probabilities
from models.external import FILES, SKLEARN, TEXT, probabilities, unexplained
from models.lean_skops import UntrustedTypesFoundException, load
from registry.errors import ArtifactError
from registry.skops_file import TRUSTED_ESTIMATORS

_FAILURES = (ValueError, TypeError, AttributeError, KeyError, IndexError, NotFittedError)
"""What a pipeline raises whose parts do not fit each other."""


@dataclass(frozen=True, slots=True)
class SklearnClassifier:
    """`inputs` is one of `text` and `embedding`: what the pipeline was fitted on."""

    labels: tuple[str, ...]
    inputs: tuple[str, ...]
    pipeline: Any

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> SklearnClassifier:
        """Open a folder whose files were checked. Raises `ArtifactError` where it cannot answer."""
        inputs = tuple(config["inputs"])
        if len(inputs) != 1:
            msg = "a scikit-learn pipeline reads 'text' or 'embedding'; for both, export it to ONNX"
            raise ArtifactError(msg)
        try:
            pipeline = load(folder / FILES[SKLEARN], trusted=list(TRUSTED_ESTIMATORS))
        except (*_FAILURES, UntrustedTypesFoundException) as error:
            msg = f"{FILES[SKLEARN]} cannot be opened: {_line(error)}"
            raise ArtifactError(msg) from error
        _check(pipeline)
        return cls(tuple(str(label) for label in pipeline.classes_), inputs, pipeline)

    @property
    def dimensions(self) -> int | None:
        """How many numbers a vector must have, None where the pipeline does not say."""
        return None if TEXT in self.inputs else getattr(self.pipeline, "n_features_in_", None)

    def predict_proba(self, rows: pa.Table) -> Probabilities:
        """Ask the pipeline about each row."""
        return probabilities(rows, self.inputs, len(self.labels), self._ask)

    def explain(self, rows: pa.Table, probabilities: Probabilities) -> list[str]:
        """Say that the model does not tell."""
        return unexplained(rows, "scikit-learn")

    def _ask(self, text: str, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        given = [text] if TEXT in self.inputs else vector.reshape(1, -1)
        try:
            return np.asarray(self.pipeline.predict_proba(given), np.float64)
        except _FAILURES as error:
            msg = f"the pipeline fails on a row: {_line(error)}"
            raise ArtifactError(msg) from error


def _check(pipeline: Any) -> None:
    if not hasattr(pipeline, "predict_proba") or not hasattr(pipeline, "classes_"):
        msg = f"a {type(pipeline).__name__} gives no probabilities, or was not fitted"
        raise ArtifactError(msg)
    options = pipeline.get_params(deep=True)
    reading = [n for n, v in options.items() if n.split("__")[-1] == "input" and v != "content"]
    if reading:
        msg = f"the pipeline's '{reading[0]}' would read files by the names that texts give"
        raise ArtifactError(msg)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
