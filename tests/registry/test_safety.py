"""Model folders that would run code, or take the machine down, are refused before any of it runs.

Every program among these artifacts leaves a mark, a file, if it runs: none may appear.
"""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251  to make what must be refused
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from features.embed import open_embedder
from models.artifacts import load
from registry.errors import ArtifactError
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage, ModelRef, folder_digest
from registry.safety import check_folder, check_registered


class Marks:
    """What unpickling it does: make a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch '{self._mark}'",)


def program(mark: Path) -> str:
    return f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"


def pickled(folder: Path, mark: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(Marks(mark)))


def graph(*nodes: object, **more: object) -> bytes:
    given = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 2])
    made = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    whole = helper.make_graph(list(nodes), "g", [given], [made], **more)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def outside(place: str) -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    node = helper.make_node("MatMul", ["embedding", "w"], ["probabilities"])
    return graph(node, initializer=[tensor])


def skops(folder: Path, node: dict[str, object], **members: bytes) -> None:
    schema = {**node, "protocol": 2, "_skops_version": "0.16.0"}
    with zipfile.ZipFile(folder / "model.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
        for name, content in members.items():
            archive.writestr(name.replace("_SLASH_", "/").replace("_DOTS_", ".."), content)


def node(loader: str, kind: str, **more: object) -> dict[str, object]:
    module, _, name = kind.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": name, **more}


def flavors(folder: Path, **flavors: dict[str, object]) -> None:
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavors}), encoding="utf-8")


Attack = Callable[[Path, Path], object]


def _mlmodel_loader(folder: Path, mark: Path) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "carga.py").write_text(program(mark), encoding="utf-8")
    flavors(folder, python_function={"loader_module": "carga", "code": "code"})


def _mlmodel_sklearn(folder: Path, mark: Path) -> None:
    pickled(folder, mark, "modelo.txt")
    flavors(folder, sklearn={"pickled_model": "modelo.txt", "serialization_format": "cloudpickle"})


def _skops_function(folder: Path, mark: Path) -> None:
    call = node("FunctionNode", "os.system", content="system")
    skops(folder, node("DictNode", "builtins.dict", key_types={}, content={"f": call}))


def _skops_reduce(folder: Path, mark: Path) -> None:
    arguments = node("TupleNode", "builtins.tuple", content=[f"touch {mark}"])
    skops(folder, node("ConstructorFromReduceNode", "os.system", __reduce__={"args": arguments}))


def _skops_object_array(folder: Path, mark: Path) -> None:
    pickled(folder, mark, "pickle.txt")
    content = (folder / "pickle.txt").read_bytes()
    (folder / "pickle.txt").unlink()
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    words = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    array = header + words.ljust(117) + b"\n" + content
    skops(
        folder,
        node("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy"),
        **{"a.npy": array},
    )


def _linked(folder: Path, mark: Path) -> None:
    pickled(folder.parent, mark, "fuera.bin")
    (folder / "pesos.safetensors").symlink_to(folder.parent / "fuera.bin")


def _sentence_modules(folder: Path, mark: Path) -> None:
    (folder / "modules.json").write_text('[{"idx": 0, "type": "os.path"}]', encoding="utf-8")


def _broken_safetensors(folder: Path, mark: Path) -> None:
    header = b'{"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 9999]}}'
    (folder / "pesos.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def _safetensors_with_a_tail(folder: Path, mark: Path) -> None:
    save_file({"w": np.zeros(2, np.float32)}, folder / "pesos.safetensors")
    with (folder / "pesos.safetensors").open("ab") as file:
        file.write(pickle.dumps(Marks(mark)))


def _huge_json(folder: Path, mark: Path) -> None:
    with (folder / "terms.json").open("wb") as file:
        file.truncate(65 << 20)


def _zip_bomb(folder: Path, mark: Path) -> None:
    with zipfile.ZipFile(folder / "model.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * (129 << 20))


def _anchors(folder: Path, mark: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (folder / "rules.yaml").write_text("\n".join(lines), encoding="utf-8")


def _python_type(folder: Path, mark: Path) -> None:
    field = pa.field(
        "a",
        pa.int64(),
        metadata={
            "ARROW:extension:name": "arrow.py_extension_type",
            "ARROW:extension:metadata": pickle.dumps(Marks(mark)),
        },
    )
    rows = pa.table([pa.array([1])], schema=pa.schema([field]))
    pq.write_table(rows, folder / "reference.parquet")


def _torch(folder: Path, mark: Path) -> None:
    torch.save(Marks(mark), folder / "pytorch_model.bin")


def _remote_code(folder: Path, mark: Path) -> None:
    (folder / "modeling.py").write_text(program(mark), encoding="utf-8")
    config = {"model_type": "x", "auto_map": {"AutoModel": "modeling.Modelo"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "modeling.py").rename(folder / "modeling.txt")


def _write(name: str, content: str | bytes) -> Attack:
    def write(folder: Path, mark: Path) -> None:
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(raw.replace(b"@MARK@", str(mark).encode()))

    return write


_CALL = helper.make_node("Grita", ["embedding"], ["probabilities"], domain="ajeno")
_ESCAPE = helper.make_node("PythonOp", ["embedding"], ["probabilities"], domain="com.microsoft")
_NESTED = helper.make_node(
    "If",
    ["embedding"],
    ["probabilities"],
    then_branch=helper.make_graph([_CALL], "t", [], []),
    else_branch=helper.make_graph([], "e", [], []),
)

ATTACKS: dict[str, tuple[Attack, str]] = {
    "a pickle": (lambda f, m: pickled(f, m, "model.pkl"), "is a pickle"),
    "joblib's": (lambda f, m: pickled(f, m, "model.joblib"), "is a pickle"),
    "cloudpickle's": (lambda f, m: pickled(f, m, "python_model.pkl"), "is a pickle"),
    "torch's own": (_torch, "torch's own format"),
    "a pickle in a folder": (lambda f, m: pickled(f, m, "onnx/modelo.pt"), "torch's own format"),
    "a pickle called json": (lambda f, m: pickled(f, m, "terms.json"), "is not JSON"),
    "a pickle called yaml": (lambda f, m: pickled(f, m, "rules.yaml"), "is not YAML"),
    "a pickle called text": (lambda f, m: pickled(f, m, "vocab.txt"), "is not plain text"),
    "a pickle called safetensors": (
        lambda f, m: pickled(f, m, "weights.safetensors"),
        "is not safetensors",
    ),
    "a pickle called onnx": (lambda f, m: pickled(f, m, "model.onnx"), "is not ONNX"),
    "a pickle called skops": (lambda f, m: pickled(f, m, "model.skops"), "is not skops"),
    "a pickle called parquet": (lambda f, m: pickled(f, m, "learned.parquet"), "is not Parquet"),
    "a pickle called pieces": (
        lambda f, m: pickled(f, m, "sentencepiece.bpe.model"),
        "vocabulary of sentencepiece",
    ),
    "tensors of no graph": (lambda f, m: pickled(f, m, "suelto.data"), "belongs to no graph"),
    "a program": (_write("sitecustomize.py", "open('@MARK@', 'w')"), "is a program"),
    "a loader module": (_mlmodel_loader, "brings code of its own|is a program"),
    "a loader by name": (
        _write("MLmodel", "flavors: {python_function: {loader_module: os}}"),
        "opened by running Python",
    ),
    "code paths": (
        _write("MLmodel", "flavors: {onnx: {data: model.onnx, code: code}}"),
        "brings code of its own",
    ),
    "a pickled pipeline": (_mlmodel_sklearn, "saved as 'cloudpickle'"),
    "another flavour": (
        _write("MLmodel", "flavors: {transformers: {task: text-classification}}"),
        "flavour 'transformers'",
    ),
    "a flavour to be run": (
        _write("MLmodel", "flavors: {python_function: {loader_module: mlflow.onnx}}"),
        "no flavour but",
    ),
    "a function in skops": (_skops_function, r"builds 'os\.system'"),
    "a constructor in skops": (_skops_reduce, r"builds 'os\.system'"),
    "a type in skops": (
        lambda f, m: skops(f, node("TypeNode", "subprocess.Popen")),
        r"builds 'subprocess\.Popen'",
    ),
    "a tree in skops": (
        lambda f, m: skops(f, node("TreeNode", "sklearn.tree._tree.Tree")),
        "not on Plata's list",
    ),
    "a pickled array in skops": (_skops_object_array, "an array that is a pickle"),
    "a way out of the zip": (
        lambda f, m: skops(f, node("ListNode", "builtins.list"), _DOTS__SLASH_a=b"x"),
        "a place outside",
    ),
    "an absolute place in the zip": (
        lambda f, m: skops(f, node("ListNode", "builtins.list"), _SLASH_a=b"x"),
        "a place outside",
    ),
    "a zip that swells": (_zip_bomb, "more than 128 MB"),
    "a link": (_linked, "is a link"),
    "a device": (lambda f, m: os.mkfifo(f / "pesos.json"), "is not a file"),
    "a deceiving name": (_write("..\\..\\a.json", "{}"), "characters that paths treat specially"),
    "yaml that calls": (
        _write("rules.yaml", "a: !!python/object/apply:os.system ['touch @MARK@']"),
        "tag:yaml.org,2002:python/object/apply:os.system",
    ),
    "yaml of a prompt that calls": (
        _write("prompt.yaml", "!!python/name:os.system"),
        "tag:yaml.org,2002:python/name:os.system",
    ),
    "yaml that swells": (_anchors, "swells"),
    "yaml that holds itself": (_write("rules.yaml", "a: &a [*a]"), "holds itself"),
    "json without end": (_huge_json, "more than the 64 MB"),
    "json within json": (_write("terms.json", "[" * 200_000), "is not JSON"),
    "an operator from outside": (_write("model.onnx", graph(_CALL)), r"calls 'ajeno\.Grita'"),
    "an operator in a branch": (_write("model.onnx", graph(_NESTED)), r"calls 'ajeno\.Grita'"),
    "an operator that escapes": (_write("model.onnx", graph(_ESCAPE)), "calls 'PythonOp'"),
    "tensors up the tree": (_write("model.onnx", outside("../fuera.data")), "reads numbers from"),
    "tensors anywhere": (_write("model.onnx", outside("/etc/hostname")), "reads numbers from"),
    "tensors in memory": (
        _write("model.onnx", outside("*/_ORT_MEM_ADDR_/*")),
        "reads numbers from",
    ),
    "a graph cut off": (_write("model.onnx", graph(_CALL)[:40]), "is not ONNX"),
    "code from a hub": (_remote_code, "auto_map"),
    "code allowed": (
        _write("config.json", '{"a": [{"trust_remote_code": true}]}'),
        "trust_remote_code",
    ),
    "a class to import": (_sentence_modules, "names the class 'os.path'"),
    "a header that lies": (_broken_safetensors, "is not safetensors"),
    "a tail": (_safetensors_with_a_tail, "is not safetensors"),
    "a type that is a pickle": (_python_type, "a type that is a pickle"),
}


@pytest.fixture(params=sorted(ATTACKS))
def attack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder of a rules model with one bad file among the good; no mark may be left."""
    folder, mark = tmp_path / "modelo", tmp_path / "marca"
    folder.mkdir()
    (folder / "plata.json").write_text('{"family": "rules", "labels": ["a", "b"]}', "utf-8")
    make, reason = ATTACKS[request.param]
    make(folder, mark)
    yield folder, reason
    assert not mark.exists()


def package(folder: Path) -> ModelPackage:
    return ModelPackage(name="norte.tipo", folder=folder, family="rules", card="")


def test_the_marks_would_appear(tmp_path: Path) -> None:
    """The attacks are real: unpickling one of them does leave its mark."""
    pickled(tmp_path, tmp_path / "marca", "model.pkl")
    pickle.loads((tmp_path / "model.pkl").read_bytes())
    assert (tmp_path / "marca").exists()


def test_a_malicious_folder_is_not_registered(attack: tuple[Path, str]) -> None:
    folder, reason = attack
    registry = MemoryRegistry()
    with pytest.raises(ArtifactError, match=reason) as refused:
        registry.register_model(package(folder))
    assert registry.models() == []
    assert len(str(refused.value).splitlines()) == 1


def test_a_malicious_folder_is_not_opened(attack: tuple[Path, str]) -> None:
    folder, reason = attack
    with pytest.raises(ArtifactError, match=reason):
        load(folder)
    with pytest.raises(ArtifactError, match=reason):
        open_embedder(folder)


def test_a_malicious_version_that_stands_in_the_registry_is_not_fetched(
    attack: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes past Plata can register anything, with the right digest."""
    folder, reason = attack
    if any(path.is_symlink() or path.is_fifo() for path in folder.iterdir()):
        pytest.skip("a registry keeps no links and devices")
    registry = MemoryRegistry()
    with monkeypatch.context() as patch:
        patch.setattr("registry.memory.check_folder", lambda folder: None)
        ref = registry.register_model(package(folder))
    with pytest.raises(ArtifactError, match=reason):
        registry.fetch(ref)


def test_the_folders_plata_makes_are_sound(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    multiply = helper.make_node("MatMul", ["embedding", "w"], ["probabilities"])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 0.0, 0.0, 1.0])
    (tmp_path / "onnx" / "model_int8.onnx").write_bytes(graph(multiply, initializer=[weights]))
    (tmp_path / "model.onnx").write_bytes(outside("pesos.data"))
    (tmp_path / "pesos.data").write_bytes(bytes(16))
    save_file({"w": np.zeros(2, np.float32)}, tmp_path / "weights.safetensors")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "reference.parquet")
    (tmp_path / "rules.yaml").write_text("a: &a [1, 2.5, sí]\nb: *a\nc: 2026-01-01\n", "utf-8")
    (tmp_path / "README.md").write_text("# Tarjeta con tildes: sí\n", encoding="utf-8")
    (tmp_path / "modules.json").write_text(
        '[{"idx": 0, "type": "sentence_transformers.models.Transformer"}]', encoding="utf-8"
    )
    check_folder(tmp_path)


def test_a_worker_opens_what_its_digest_names_or_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "plata.json").write_text("{}", encoding="utf-8")
    kept = made.rename(tmp_path / folder_digest(made))
    check_registered(kept)
    (kept / "plata.json").write_text('{"family": "otra"}', encoding="utf-8")
    for open_it in (check_registered, load, open_embedder):
        with pytest.raises(ArtifactError, match="are not those their digest names"):
            open_it(kept)


def test_the_registry_hands_out_folders_that_their_digest_names(tmp_path: Path) -> None:
    (tmp_path / "plata.json").write_text("{}", encoding="utf-8")
    registry = MemoryRegistry()
    ref: ModelRef = registry.register_model(package(tmp_path))
    assert registry.fetch(ref).name == ref.digest
