"""What registering a model takes, a family at a time: the whole command, from its start to its end.

    python -m benchmarks.registration --repeats 3

A scikit-learn pipeline and an ONNX graph are registered by `plata models register`, rules by
`plata tenants create` (a tenant's whole: two tasks' rules, entities, prompts and a bundle), each as
a program of its own, in turns, every time a new version. Training is no registering, so the linear
model is timed from the end of its fitting. Postgres and MLflow are started for the purpose in a
folder that goes away at the end. `cpu` is processor time, the trial's own process included;
MLflow's server is not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skops.io import dump

from benchmarks.progress import told
from features.e5_package import unpacked
from infra.embedded.control import remove_data, start
from infra.embedded.layout import ROOT
from lakehouse.control.migrate import migrate
from lakehouse.run import RunContext
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines.bootstrap import Platform
from pipelines.demo_corpus import corpus
from pipelines.labelled_texts import LabelsFile
from pipelines.train import register_embedding_model, train
from serving.cli.output import emit, grid

_TENANT = TenantContext.parse("banco-de-pruebas")
_TASK = "tipo"
_DIMENSIONS = 384
_LEARNED = 200
SKLEARN, ONNX, RULES, LINEAR = "scikit-learn", "ONNX", "rules (a tenant)", "linear"


@dataclass(frozen=True, slots=True)
class Took:
    """One registration."""

    family: str
    wall: float
    cpu: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _options(arguments)
    with _place() as platform:
        took = [one for number in range(options.repeats) for one in _turn(platform, number)]
    families = {one.family: [t for t in took if t.family == one.family] for one in took}
    report = {
        "repeats": options.repeats,
        "median": {
            family: {
                "wall": statistics.median(t.wall for t in turns),
                "cpu": statistics.median(t.cpu for t in turns),
            }
            for family, turns in families.items()
        },
        "turns": [asdict(one) for one in took],
    }
    emit(
        report,
        as_json=options.json,
        table=lambda: grid(
            f"Registering, median of {options.repeats} turns",
            ["family", "s", "s of processor"],
            [[family, m["wall"], m["cpu"]] for family, m in report["median"].items()],
        ),
    )


def _turn(platform: Platform, number: int) -> Iterator[Took]:
    home = platform.home
    of_task = ["--tenant", _TENANT.tenant_id, "--task", _TASK]
    told("registering", number, 0)
    yield _timed(RULES, home, "tenants", "create", f"{_TENANT.tenant_id}-{number}")
    pipeline = _pipeline(home / f"sklearn-{number}", number)
    yield _timed(SKLEARN, home, "models", "register", str(pipeline), *of_task)
    graph = _graph(home / f"onnx-{number}", number)
    yield _timed(ONNX, home, "models", "register", str(graph), *of_task)
    yield _trained(platform, number)


def _timed(family: str, home: Path, *words: str) -> Took:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLATA_")}
    before, began = _children(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "serving.cli", *words, "--json"],
        env={**kept, "PLATA_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return Took(family, time.perf_counter() - began, _children() - before)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _trained(platform: Platform, number: int) -> Took:
    """Train on texts enough for a fit; the clock runs from when the winner is to be registered."""
    (task,) = [t for t in platform.tasks(_TENANT) if t.name == _TASK]
    file = platform.home / f"etiquetas-{number}.jsonl"
    rows = corpus()[number : number + _LEARNED]
    lines = [json.dumps({"text": r["texto"], "label": r[_TASK]}, ensure_ascii=False) for r in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    began: list[tuple[float, float]] = []

    def tell(what: str, done: int, total: int) -> None:
        if what == "registering the winner":
            began.append((time.perf_counter(), time.process_time()))

    run = RunContext.begin(_TENANT, kind="train", at=datetime.now(UTC))
    train(LabelsFile(file), task, run, registry=platform.registry, tell=tell)
    wall, cpu = began[0]
    return Took(LINEAR, time.perf_counter() - wall, time.process_time() - cpu)


def _pipeline(folder: Path, number: int) -> Path:
    """Fit and save a pipeline as MLflow would."""
    folder.mkdir()
    rows = corpus()[number : number + _LEARNED]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([str(row["texto"]) for row in rows], [str(row[_TASK]) for row in rows])
    dump(model, folder / "model.skops")
    flavor = {"pickled_model": "model.skops", "serialization_format": "skops", "code": None}
    return _described(folder, {"sklearn": flavor}, "text", list(model.classes_))


def _graph(folder: Path, number: int) -> Path:
    """Save a linear graph over vectors as MLflow would."""
    folder.mkdir()
    labels = sorted({str(row[_TASK]) for row in corpus()})
    shape = [_DIMENSIONS, len(labels)]
    numbers = np.random.default_rng(number).normal(size=shape).astype(np.float32)
    weights = helper.make_tensor("w", TensorProto.FLOAT, shape, numbers.ravel().tolist())
    nodes = [
        helper.make_node("MatMul", ["embedding", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    given = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", _DIMENSIONS])
    made = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(labels)])
    graph = helper.make_graph(nodes, "g", [given], [made], initializer=[weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return _described(folder, {"onnx": {"data": "model.onnx"}}, "embedding", labels)


def _described(folder: Path, flavors: dict[str, Any], reads: str, labels: Sequence[str]) -> Path:
    inputs = json.dumps([{"type": "string", "name": reads}])
    outputs = json.dumps([{"type": "double", "name": str(label)} for label in labels])
    said = {"flavors": flavors, "signature": {"inputs": inputs, "outputs": outputs}}
    (folder / "MLmodel").write_text(json.dumps(said), encoding="utf-8")
    return folder


@contextmanager
def _place() -> Iterator[Platform]:
    home = Path(tempfile.mkdtemp(prefix="plata-bench-"))
    settings = Settings.alone(home)
    try:
        told("starting Postgres and MLflow", 0, 0)
        endpoints = start(settings, frozenset({"postgres", "mlflow"}))
        migrate(endpoints.postgres_url)
        platform = Platform(settings, endpoints)
        register_embedding_model(platform.registry, unpacked(home))
        _timed(RULES, home, "tenants", "create", _TENANT.tenant_id)
        yield platform
    finally:
        remove_data(home)
        shutil.rmtree(home, ignore_errors=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registration", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
