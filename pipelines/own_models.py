"""Models brought in: an MLflow model folder, tried in a process of its own, becomes a version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakehouse.errors import InputError, last_words
from models.external import EMBEDDING, FILES, ONNX, SKLEARN, TEXT
from models.folder import write_config
from models.task import Task
from models.trial import Trial
from pipelines.bundles import pinned_space
from pipelines.corpus_figures import NOT_MEASURED
from registry.errors import ArtifactError
from registry.mlmodel import MODEL_FILE, read_mlmodel
from registry.onnx_file import check_onnx
from registry.refs import ModelPackage, ModelRef, Registry
from registry.safety import check_folder

MOST_MEGABYTES = 2_048
_SECONDS = 120
_LEAN = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Libraries that reserve no memory ahead: what is counted is the model's."""
_PLACES = {ONNX: "data", SKLEARN: "pickled_model"}
"""Under which key a flavour says where its file is; the second is MLflow's word, for skops too."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A version that was made, and how its trial went."""

    model: ModelRef
    family: str
    trial: Trial


def register_own_model(
    reach: Callable[[], Registry],
    task: Task,
    source: Path,
    *,
    uri: str,
    megabytes: int = MOST_MEGABYTES,
) -> Registered:
    """Check an MLflow model folder, try it, and register it as a version of the task's model.

    Raises `ArtifactError` where it is not safe, or does not keep the contract: nothing is
    registered then, and nothing of the folder's was run. `uri` is where it came from. The registry
    is reached while the model is on trial: MLflow takes as long to import as a trial takes. A model
    that reads vectors pins the embedding the task uses now, and is held to it ever after.
    """
    if not (source / MODEL_FILE).is_file():
        msg = f"'{uri}' has no file {MODEL_FILE}; expected the folder of an MLflow model"
        raise InputError(msg)
    check_folder(source)
    said = read_mlmodel(source / MODEL_FILE)
    with tempfile.TemporaryDirectory(prefix="plata-own-") as made:
        folder = Path(made) / "model"
        family = _copy(source, said["flavors"], folder)
        inputs, labels = _signature(said, task.labels)
        config = {"family": family, "labels": list(labels), "inputs": list(inputs)}
        write_config(folder, config)
        check_folder(folder)
        with ThreadPoolExecutor(1) as beside:
            trying = beside.submit(tried, folder, task.labels, megabytes=megabytes)
            registry, trial = reach(), trying.result()
        space = pinned_space(task.embedding, registry) if EMBEDDING in inputs else {}
        if space:
            write_config(folder, {**config, "embedding": space})
        ref = registry.register_model(_package(folder, task, family, inputs, trial, uri, space))
    return Registered(ref, family, trial)


def tried(folder: Path, labels: tuple[str, ...], *, megabytes: int) -> Trial:
    """Try a model folder in a process of its own: what it takes there, it does not take here."""
    command = [sys.executable, "-m", "models.trial"]
    try:
        done = subprocess.run(
            [*command, str(folder), json.dumps(labels), str(megabytes)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, **_LEAN},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"the model did not answer a batch of 64 texts within {_SECONDS} s"
        raise ArtifactError(msg) from error
    if done.returncode != 0:
        raise ArtifactError(last_words(done.stderr, done.returncode))
    return Trial(**json.loads(done.stdout))


def _copy(source: Path, flavors: Mapping[str, Any], folder: Path) -> str:
    """Copy the one file that is the model, with what it keeps beside it; return the family."""
    family = ONNX if ONNX in flavors else SKLEARN
    place = flavors.get(family, {}).get(_PLACES[family])
    if not isinstance(place, str):
        msg = f"{MODEL_FILE} does not say where the model is ('flavors.{family}.{_PLACES[family]}')"
        raise ArtifactError(msg)
    file = (source / place).resolve()
    if source.resolve() not in file.parents or not file.is_file():
        msg = f"{MODEL_FILE} leads to '{place}', which is no file of the folder"
        raise ArtifactError(msg)
    if file.suffix != Path(FILES[family]).suffix:
        msg = f"{MODEL_FILE} leads to '{place}', expected a file ending in {FILES[family][-5:]}"
        raise ArtifactError(msg)
    folder.mkdir()
    shutil.copyfile(file, folder / FILES[family])
    for tensors in check_onnx(file, source.resolve()) if family == ONNX else ():
        beside = folder / tensors.relative_to(file.parent)
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tensors, beside)
    return family


def _signature(
    said: Mapping[str, Any], labels: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns a model reads, and the labels it answers in the order of its columns."""
    signature = said.get("signature")
    if not isinstance(signature, dict):
        msg = f"{MODEL_FILE} has no signature; save the model with one, {_EXPECTED}"
        raise ArtifactError(msg)
    given, answered = _names(signature.get("inputs")), _names(signature.get("outputs"))
    metadata = said.get("metadata")
    if len(answered) == 1 and isinstance(metadata, dict) and metadata.get("labels"):
        answered = tuple(str(label) for label in metadata["labels"])
    if not given or set(given) - {TEXT, EMBEDDING}:
        msg = f"the signature reads {', '.join(given) or 'nothing'}; expected {_EXPECTED}"
        raise ArtifactError(msg)
    if set(answered) != set(labels) or len(answered) != len(labels):
        msg = (
            f"the signature answers {', '.join(answered) or 'nothing'}; the task has "
            f"{', '.join(labels)}; expected {_EXPECTED}"
        )
        raise ArtifactError(msg)
    return given, answered


_EXPECTED = (
    "'text', 'embedding' or both as inputs and one output column a label (or one tensor of "
    "probabilities, and the labels in its order in the model's metadata as 'labels')"
)


def _names(columns: Any) -> tuple[str, ...]:
    try:
        return tuple(str(column.get("name", "")) for column in json.loads(columns or "[]"))
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"the signature in {MODEL_FILE} cannot be read; expected {_EXPECTED}"
        raise ArtifactError(msg) from error


def _package(
    folder: Path,
    task: Task,
    family: str,
    inputs: tuple[str, ...],
    trial: Trial,
    uri: str,
    space: Mapping[str, str],
) -> ModelPackage:
    example: dict[str, object] = {}
    if TEXT in inputs:
        example[TEXT] = "Solicito información sobre un trámite."
    if EMBEDDING in inputs:
        example[EMBEDDING] = [0.0, 1.0]
    return ModelPackage(
        name=task.model,
        folder=folder,
        family=family,
        card=_card(task, family, inputs, trial, space),
        labels=task.labels,
        metrics={"trial.rows_per_second": trial.rows_per_second, "trial.peak_mb": trial.peak_mb},
        parameters={"family": family, "inputs": ", ".join(inputs), **space},
        tags={f"plata.embedding.{name}": value for name, value in space.items()},
        inputs=inputs,
        example=example,
        note=f"brought in from {uri if ':/' in uri else Path(uri).name}",
    )


def _card(
    task: Task, family: str, inputs: tuple[str, ...], trial: Trial, space: Mapping[str, str]
) -> str:
    vectors = (
        f"Its vectors are those of `{space['model']}` read through `{space['prompt']}`: no bundle "
        "with another embedding takes it.\n\n"
        if space
        else ""
    )
    return (
        f"# {task.model}: a model brought in ({family})\n\n"
        f"Answers task `{task.name}` from {' and '.join(f'`{name}`' for name in inputs)}: "
        f"{', '.join(task.titles.values())}.\n\n"
        f"{vectors}"
        "## Trial\n\n"
        f"{trial.rows} rows, twice, backwards and one by one, gave the same bytes. "
        f"{trial.rows_per_second:,.0f} rows a second of processor time on one thread, "
        f"{trial.peak_mb:,.0f} MB at most with its libraries.\n\n"
        f"## How it does\n\n{NOT_MEASURED}\n"
        "## Limits\n\n- What it learned from is for whoever brought it to say: evaluate it on "
        "labels it cannot have seen.\n- It does not say why.\n- It has no training reference, so "
        "drift is not measured against it.\n"
    )
