"""`MLmodel`, the file by which MLflow knows a model: only flavours that run no foreign code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from registry.errors import ArtifactError
from registry.formats import read_yaml

MODEL_FILE = "MLmodel"
ONNX, SKLEARN = "onnx", "sklearn"
_OURS = "plata"
_PYFUNC = "python_function"
_LOADERS = {"mlflow.onnx", "mlflow.sklearn"}
"""Loaders of MLflow's own; Plata uses neither, and reads the files they name by itself."""
_EXPORT = (
    "export the model to ONNX (`mlflow.onnx.save_model`), or save a scikit-learn pipeline with "
    "serialization_format='skops'"
)


def read_mlmodel(path: Path) -> dict[str, Any]:
    """Return what the file says. Raises `ArtifactError` where it names code, or how to run some."""
    value = read_yaml(path)
    flavors = value.get("flavors") if isinstance(value, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(f, dict) for f in flavors.values()):
        msg = "is not the description of an MLflow model: it has no flavors"
        raise ArtifactError(msg)
    _check_flavors(flavors)
    return value


def check_mlmodel(path: Path) -> None:
    """Refuse loaders, code and flavours that are not data; see `read_mlmodel`."""
    read_mlmodel(path)


def _check_flavors(flavors: dict[str, dict[str, Any]]) -> None:
    for name, flavor in flavors.items():
        named = [key for key in ("code", "code_paths", "model_code_path") if flavor.get(key)]
        if named:
            msg = f"brings code of its own ('{named[0]}: {flavor[named[0]]}'); {_EXPORT}"
            raise ArtifactError(msg)
        if name == _PYFUNC and (loader := flavor.get("loader_module")) not in _LOADERS:
            msg = f"is opened by running Python ('loader_module: {loader}'); {_EXPORT}"
            raise ArtifactError(msg)
        if name == SKLEARN and flavor.get("serialization_format") != "skops":
            form = flavor.get("serialization_format", "pickle")
            msg = f"has a scikit-learn model saved as '{form}', which runs what it says; {_EXPORT}"
            raise ArtifactError(msg)
    others = sorted(set(flavors) - {_OURS, _PYFUNC, ONNX, SKLEARN})
    if others:
        msg = f"has the flavour '{others[0]}', which opens only by running code; {_EXPORT}"
        raise ArtifactError(msg)
    if not set(flavors) - {_PYFUNC}:
        msg = f"has no flavour but '{_PYFUNC}', which is Python to be run; {_EXPORT}"
        raise ArtifactError(msg)
