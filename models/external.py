"""What brought-in models share: how rows are put to them, and what their answers must be.

A row is asked alone: a graph that rounds by its batch, or a matrix product, would else give a text
another answer beside other texts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.embed import as_matrix
from models.classifier import Probabilities
from registry.errors import ArtifactError

TEXT, EMBEDDING = "text", "embedding"
ONNX, SKLEARN = "onnx", "sklearn"
FILES = {ONNX: "model.onnx", SKLEARN: "model.skops"}
"""The file a brought-in model is, by family."""

Asked = Callable[[str, NDArray[np.float32]], NDArray[np.float64]]
"""Asks about one row: its text and its vector, empty where the model reads none."""

_OFF = 1e-3


def probabilities(
    rows: pa.Table, inputs: tuple[str, ...], labels: int, ask: Asked
) -> Probabilities:
    """Ask about every row. Raises `ArtifactError` where an answer is no probabilities."""
    texts = rows[TEXT].to_pylist() if TEXT in inputs else [""] * len(rows)
    blank = np.zeros((len(rows), 0), np.float32)
    vectors = as_matrix(rows[EMBEDDING]) if EMBEDDING in inputs else blank
    found = np.zeros((len(rows), labels))
    for place, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
        found[place] = _checked(ask(text or "", vector), labels)
    return found


def _checked(answer: NDArray[np.float64], labels: int) -> NDArray[np.float64]:
    row = np.asarray(answer, np.float64).reshape(-1)
    total = float(row.sum()) if len(row) else 0.0
    sound = len(row) == labels and np.isfinite(row).all() and (row >= 0).all()
    if not sound or abs(total - 1) > _OFF:
        found = ", ".join(f"{value:.3g}" for value in row[:4])
        msg = (
            f"the model answered {len(row)} numbers ({found}) that sum to {total:.3g}; expected "
            f"{labels} probabilities, one a label, that sum to 1"
        )
        raise ArtifactError(msg)
    return row / total


def unexplained(rows: pa.Table, family: str) -> list[str]:
    """Say the same of every row: such a model does not tell why."""
    return [f"Modelo externo ({family}): no dice por qué."] * len(rows)
