"""A model brought in is tried in a process of its own, and then answers as any family does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skops.io import dump

from features.embed import QUERY_PROMPT, as_lists
from infra.embedded.layout import ROOT
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from models.external import SKLEARN
from models.folder import write_config
from models.routing import RoutingPolicy
from models.steps import classify_step
from models.task import Task
from models.trial import Trial
from pipelines import own_models
from pipelines.bundles import Changes, bundle_of_aliases, check_fit, with_changes
from pipelines.errors import SpaceMismatchError
from pipelines.own_models import register_own_model
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.errors import ArtifactError
from registry.memory import MemoryRegistry
from registry.refs import PromptRef, VersionInfo

TASK = Task(
    name="tema",
    titles={"agua": "Agua", "vias": "Vías"},
    text_field="text",
    model="norte.tema",
    zero_shot_prompt="norte.tema.zero-shot",
    routing=RoutingPolicy(accept_at=0.8),
)
ROWS = pa.table(
    {
        "ticket_id": ["1", "2"],
        "text": ["no hay agua", "la vía tiene huecos"],
        "embedding": as_lists(np.array([[1, 0], [0, 1]], np.float32)),
    }
)


def describe(folder: Path, flavors: dict[str, Any], inputs: str, *outputs: str) -> Path:
    columns = [
        json.dumps([{"type": "string", "name": n} for n in ns]) for ns in ([inputs], outputs)
    ]
    signature = dict(zip(("inputs", "outputs"), columns, strict=True))
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavors, "signature": signature}))
    return folder


def onnx_model(folder: Path, *nodes: Any, labels: tuple[str, ...] = ("vias", "agua")) -> Path:
    """Write a graph of two numbers to two probabilities, as MLflow would save it."""
    folder.mkdir(exist_ok=True)
    given = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 2])
    made = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [0.0, 3.0, 3.0, 0.0])
    graph = helper.make_graph(list(nodes), "g", [given], [made], initializer=[weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    flavors = {
        "onnx": {"data": "model.onnx"},
        "python_function": {"loader_module": "mlflow.onnx", "data": "model.onnx"},
    }
    return describe(folder, flavors, "embedding", *labels)


MULTIPLY = helper.make_node("MatMul", ["embedding", "w"], ["scores"])
SOFTMAX = helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1)


def text_graph(folder: Path) -> Path:
    """Write a graph that reads the text itself: a text it knows is of water."""
    folder.mkdir()
    given = helper.make_tensor_value_info("text", TensorProto.STRING, ["n", 1])
    made = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    look = helper.make_node(
        "LabelEncoder",
        ["text"],
        ["water"],
        domain="ai.onnx.ml",
        keys_strings=["no hay agua"],
        values_floats=[0.9],
        default_float=0.25,
    )
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    rest = helper.make_node("Sub", ["one", "water"], ["rest"])
    both = helper.make_node("Concat", ["water", "rest"], ["probabilities"], axis=1)
    graph = helper.make_graph([look, rest, both], "g", [given], [made], initializer=[one])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return describe(folder, {"onnx": {"data": "model.onnx"}}, "text", "agua", "vias")


def sklearn_model(folder: Path, saved_as: str = "skops") -> Path:
    folder.mkdir()
    texts = ["no hay agua", "falta agua", "huecos en la vía", "la vía está rota"]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(C=100))
    dump(pipeline.fit(texts, ["agua", "agua", "vias", "vias"]), folder / "model.skops")
    flavor = {"pickled_model": "model.skops", "serialization_format": saved_as, "code": None}
    return describe(folder, {"sklearn": flavor}, "text", "agua", "vias")


@pytest.fixture
def registry(unopened: MemoryRegistry) -> MemoryRegistry:
    """A registry in which the tasks' embedding is, as every tenant's."""
    return unopened


def own(registry: MemoryRegistry) -> list[VersionInfo]:
    return [info for info in registry.models() if info.name == TASK.model]


@pytest.mark.parametrize(
    ("make", "family"),
    [
        (lambda folder: onnx_model(folder, MULTIPLY, SOFTMAX), "onnx"),
        (text_graph, "onnx"),
        (sklearn_model, "sklearn"),
    ],
    ids=["a graph of vectors", "a graph of texts", "a pipeline"],
)
def test_a_model_brought_in_answers_as_any_family_does(
    registry: MemoryRegistry, tmp_path: Path, make: Any, family: str
) -> None:
    found = register_own_model(lambda: registry, TASK, make(tmp_path / "m"), uri="runs:/1/m")
    step = classify_step(str(registry.fetch(found.model)), list(TASK.labels))
    answers = step(ROWS)
    assert answers["predicted_label"].to_pylist() == ["agua", "vias"]
    assert "Modelo externo" in answers["explanation"][0].as_py()
    assert (found.family, found.model.name) == (family, "norte.tema")
    (info,) = own(registry)
    assert info.metrics["trial.rows_per_second"] == found.trial.rows_per_second > 0
    assert found.trial.peak_mb > 0


def test_a_model_that_reads_vectors_is_held_to_the_embedding_it_was_registered_with(
    registry: MemoryRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_models, "tried", lambda *given, **more: Trial(100.0, 100.0, 64))
    norte = TenantContext.parse("norte")
    register_baseline(registry, norte, TASK)
    register_zero_shot_prompt(registry, norte, TASK)
    graph = onnx_model(tmp_path / "graph", MULTIPLY, SOFTMAX)
    vectors = register_own_model(lambda: registry, TASK, graph, uri="m").model
    words = register_own_model(lambda: registry, TASK, sklearn_model(tmp_path / "m"), uri="m").model
    reader = {info.version: info for info in own(registry)}[vectors.version]
    assert reader.tags["plata.embedding.model"] == bundle_of_aliases([TASK], registry).embedding.uri
    assert "no bundle with another embedding takes it" in reader.text

    def fits(prompt: PromptRef | None = None) -> None:
        for model in (words, vectors):
            bundle = bundle_of_aliases([TASK], registry)
            changes = Changes(
                models={"tema": model}, prompts={"embedding.prompt": prompt} if prompt else {}
            )
            check_fit(with_changes(bundle, changes, registry), [TASK], registry)

    fits()
    other = registry.register_prompt(QUERY_PROMPT, "otra: {{text}}", note="")
    with pytest.raises(SpaceMismatchError, match=f"{vectors.uri} was trained on vectors of"):
        fits(other)


_ON_TRIAL = """
import importlib, json, sys
from models.trial import main
assert main(sys.argv[1], '["agua", "vias"]', "2048") == 0
import skops.io
loaded = sorted(name for name in ("torch", "dask", "sklearn") if name in sys.modules)
importlib.import_module("sklearn.externals.array_api_compat.torch")
from skops.io._trusted_types import SKLEARN_ESTIMATOR_TYPE_NAMES as known
forest = "sklearn.ensemble._forest.RandomForestClassifier" in known
print(json.dumps([loaded, "torch" in sys.modules, forest]))
"""


def test_registering_a_pipeline_imports_no_torch_and_hides_it_from_nobody(tmp_path: Path) -> None:
    folder = sklearn_model(tmp_path / "m")
    write_config(folder, {"family": SKLEARN, "labels": ["agua", "vias"], "inputs": ["text"]})
    (folder / "MLmodel").unlink()
    done = subprocess.run(
        [sys.executable, "-c", _ON_TRIAL, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [["sklearn"], True, True]


def test_a_model_that_keeps_no_contract_is_refused_with_what_was_expected(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    draw = helper.make_node("RandomUniformLike", ["embedding"], ["scores"])
    inflate = helper.make_node("Identity", ["scores"], ["probabilities"])
    size = helper.make_node("Constant", [], ["size"], value_ints=[1 << 20, 1 << 12])
    huge = helper.make_node("ConstantOfShape", ["size"], ["huge"])
    first = helper.make_node("ReduceMax", ["huge"], ["top"], keepdims=0)
    add = helper.make_node("Add", ["scores", "top"], ["more"])
    soft = helper.make_node("Softmax", ["more"], ["probabilities"], axis=1)
    models = {
        "answers otherwise when": onnx_model(tmp_path / "dice", draw, SOFTMAX),
        "that sum to 3": onnx_model(tmp_path / "scores", MULTIPLY, inflate),
        "the graph fails on a row": onnx_model(
            tmp_path / "huge", MULTIPLY, size, huge, first, add, soft
        ),
        "the signature answers agua, luz": onnx_model(
            tmp_path / "labels", MULTIPLY, SOFTMAX, labels=("agua", "luz")
        ),
        "saved as 'pickle'": sklearn_model(tmp_path / "pickle", "pickle"),
    }
    for reason, folder in models.items():
        with pytest.raises(ArtifactError, match=reason):
            register_own_model(lambda: registry, TASK, folder, uri=str(folder), megabytes=1024)
    with pytest.raises(InputError, match="has no file MLmodel"):
        register_own_model(lambda: registry, TASK, tmp_path, uri="aquí")
    assert own(registry) == []


def test_a_path_in_the_description_stays_in_the_folder(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    onnx_model(tmp_path / "otro", MULTIPLY, SOFTMAX)
    folder = onnx_model(tmp_path / "m", MULTIPLY, SOFTMAX)
    describe(folder, {"onnx": {"data": "../otro/model.onnx"}}, "embedding", "agua", "vias")
    with pytest.raises(ArtifactError, match="is no file of the folder"):
        register_own_model(lambda: registry, TASK, folder, uri="m")
