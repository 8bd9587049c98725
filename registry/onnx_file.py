"""An ONNX file as its nodes and tensors, read without ONNX: which operators, and what lies outside.

The walk follows every path on which a graph can hang (functions, attributes, training), reads the
names of operators and the places of tensors, and steps over the numbers. A file that onnxruntime
would read otherwise is refused: groups, which the format does not use, and lengths past the end.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import ArtifactError

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_ESCAPES = {
    "PythonOp",
    "PythonOpGrad",
    "ATen",
    "ATenGrad",
    "TritonOp",
    "EPContext",
    "ExternalGraph",
}
"""Operators of onnxruntime itself that call out of the graph."""

_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "outside"},
    "outside": {},
}
_KEY, _VALUE, _OP_TYPE, _NODE_DOMAIN, _FUNCTION_DOMAIN = 1, 2, 4, 7, 10
_DEEPEST = 64

Value = int | memoryview | None


@dataclass(slots=True)
class _Found:
    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)


def check_onnx(path: Path, folder: Path) -> set[Path]:
    """Refuse operators that are not onnxruntime's own, and tensors that lie outside `folder`.

    Returns the files beside the graph in which it keeps tensors.
    """
    if path.stat().st_size == 0:
        msg = "is not ONNX: it is empty"
        raise ArtifactError(msg)
    found = _Found()
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _walk(memoryview(whole), found)  # goes with its last part, which an error may hold
    if not found.operators:
        msg = "is not ONNX: it has no graph"
        raise ArtifactError(msg)
    _check_operators(found)
    return {_beside(place, path, folder) for place in found.outside}


def _walk(data: memoryview, found: _Found) -> None:
    waiting: list[tuple[str, memoryview, int]] = [("model", data, 0)]
    while waiting:
        message, part, depth = waiting.pop()
        if depth > _DEEPEST:
            msg = "is not ONNX: its graphs lie in each other without end"
            raise ArtifactError(msg)
        inside = _MESSAGES[message]
        named: dict[int, str] = {}
        for number, value in _fields(part):
            if not isinstance(value, memoryview):
                continue
            if number in inside:
                waiting.append((inside[number], value, depth + 1))
            elif number in _NAMES.get(message, ()):
                named[number] = _text(value)
        _note(message, named, found)


_NAMES = {
    "node": (_OP_TYPE, _NODE_DOMAIN),
    "function": (_FUNCTION_DOMAIN,),
    "outside": (_KEY, _VALUE),
}


def _note(message: str, named: Mapping[int, str], found: _Found) -> None:
    if message == "node":
        found.operators.add((named.get(_NODE_DOMAIN, ""), named.get(_OP_TYPE, "")))
    elif message == "function":
        found.functions.add(named.get(_FUNCTION_DOMAIN, ""))
    elif message == "outside" and named.get(_KEY) == "location":
        found.outside.add(named.get(_VALUE, ""))


def _check_operators(found: _Found) -> None:
    for domain, name in sorted(found.operators):
        if domain not in _DOMAINS | found.functions:
            msg = f"calls '{domain}.{name}', an operator that a library outside would bring"
            raise ArtifactError(msg)
        if name in _ESCAPES:
            msg = f"calls '{name}', an operator that leaves the graph"
            raise ArtifactError(msg)


def _beside(place: str, path: Path, folder: Path) -> Path:
    inside = path.parent / place
    lies = folder.resolve() in inside.resolve().parents
    if not place or Path(place).is_absolute() or not lies or not inside.is_file():
        msg = f"reads numbers from '{place}', which is no file of the model folder"
        raise ArtifactError(msg)
    return folder / inside.resolve().relative_to(folder.resolve())


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        value: Value = None
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value = data[at : at + size]
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            msg = "is not ONNX: its bytes are no protocol buffer"
            raise ArtifactError(msg)
        if at > end:
            msg = "is not ONNX: it is cut off"
            raise ArtifactError(msg)
        yield key >> 3, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    msg = "is not ONNX: it is cut off"
    raise ArtifactError(msg)


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")
