"""The ONNX family: a graph from somewhere else that reads `text`, `embedding` or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    NotImplemented,
    RuntimeException,
)

from models.classifier import Probabilities
from models.external import EMBEDDING, FILES, ONNX, TEXT, probabilities, unexplained
from registry.errors import ArtifactError

_FAILURES = (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    NotImplemented,
    RuntimeException,
)
_NUMBERS = ("tensor(float)", "tensor(double)")
_READ = {TEXT: (("tensor(string)",), (1, 2)), EMBEDDING: (_NUMBERS, (2,))}
"""Of each input, the types it may have and the numbers of axes."""


@dataclass(frozen=True, slots=True)
class OnnxClassifier:
    """`output` is the tensor of probabilities, one column a label in the order of `labels`."""

    labels: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    session: Any

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> OnnxClassifier:
        """Open a folder whose files were checked. Raises `ArtifactError` on another signature."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                folder / FILES[ONNX], options, providers=["CPUExecutionProvider"]
            )
        except _FAILURES as error:
            msg = f"onnxruntime does not open {FILES[ONNX]}: {_line(error)}"
            raise ArtifactError(msg) from error
        inputs = tuple(given.name for given in session.get_inputs())
        _check_inputs(session)
        return cls(tuple(config["labels"]), inputs, _output(session), session)

    @property
    def dimensions(self) -> int | None:
        """How many numbers a vector must have, None where any number will do or none is read."""
        shapes = [given.shape for given in self.session.get_inputs() if given.name == EMBEDDING]
        return shapes[0][-1] if shapes and isinstance(shapes[0][-1], int) else None

    def predict_proba(self, rows: pa.Table) -> Probabilities:
        """Run the graph on each row."""
        return probabilities(rows, self.inputs, len(self.labels), self._ask)

    def explain(self, rows: pa.Table, probabilities: Probabilities) -> list[str]:
        """Say that the model does not tell."""
        return unexplained(rows, "ONNX")

    def _ask(self, text: str, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        given = {}
        for one in self.session.get_inputs():
            value = np.array([text], object) if one.name == TEXT else vector
            shape = (1,) if one.name == TEXT and len(one.shape) == 1 else (1, -1)
            kind = np.float64 if one.type == "tensor(double)" else value.dtype
            given[one.name] = value.astype(kind).reshape(shape)
        try:
            (answer,) = self.session.run([self.output], given)
        except _FAILURES as error:
            msg = f"the graph fails on a row: {_line(error)}"
            raise ArtifactError(msg) from error
        return np.asarray(answer, np.float64)


def _check_inputs(session: Any) -> None:
    for given in session.get_inputs():
        kinds, ranks = _READ.get(given.name, ((), ()))
        if given.type not in kinds or len(given.shape) not in ranks:
            msg = (
                f"the graph reads '{given.name}' ({given.type} {given.shape}); expected '{TEXT}', "
                f"a tensor of strings [n] or [n, 1], '{EMBEDDING}', floats [n, dimensions], or "
                "both"
            )
            raise ArtifactError(msg)


def _output(session: Any) -> str:
    made = [m for m in session.get_outputs() if m.type in _NUMBERS and len(m.shape) == 2]
    if len(made) != 1:
        found = ", ".join(f"{m.name} ({m.type} {m.shape})" for m in session.get_outputs())
        msg = (
            f"the graph gives {found}; expected one tensor of floats [n, labels], the "
            "probabilities (with skl2onnx: options={'zipmap': False})"
        )
        raise ArtifactError(msg)
    return str(made[0].name)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
