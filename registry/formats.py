"""The plain formats of a model folder, and what makes a file of each one unsafe to open.

Every check raises `ArtifactError` with what is wrong, as words that follow the file's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from safetensors import SafetensorError, safe_open

from registry.errors import ArtifactError

_MB = 1 << 20
_MOST_JSON = 64 * _MB
_MOST_TEXT = 64 * _MB
_MOST_YAML = _MB
_MOST_ROWS_BYTES = 2 << 30
_MOST_NODES = 200_000
_WALKED_JSON = _MB
"""A larger JSON file is a vocabulary: only its own keys are looked at."""

_REMOTE_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")
_MODULES_FILE = "modules.json"
_MODULES = "sentence_transformers."
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "seq", "map", "timestamp")
}


def check_json(path: Path) -> None:
    """Refuse what is no JSON, what is too large to be read, and configurations that name code."""
    value = read_json(read_bytes(path, _MOST_JSON))
    small = path.stat().st_size <= _WALKED_JSON
    for mapping in _mappings(value) if small else [value]:
        named = [key for key in _REMOTE_CODE if isinstance(mapping, dict) and mapping.get(key)]
        if named:
            msg = f"asks for code of its own ('{named[0]}')"
            raise ArtifactError(msg)
    if path.name == _MODULES_FILE:
        _check_modules(value)


def read_json(data: bytes) -> Any:
    """Parse JSON. Raises `ArtifactError` where it is none, or nested too deep."""
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"is not JSON: {_line(error)}"
        raise ArtifactError(msg) from error


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes. Raises `ArtifactError` on a larger one."""
    size = path.stat().st_size
    if size > most:
        msg = f"has {size / _MB:,.0f} MB, more than the {most / _MB:,.0f} MB its kind may have"
        raise ArtifactError(msg)
    return path.read_bytes()


def check_yaml(path: Path) -> None:
    """Refuse tags that make objects, and anchors that multiply: `read_yaml` does."""
    read_yaml(path)


def read_yaml(path: Path) -> Any:
    """Parse YAML of plain values, looked at before it is built."""
    data = read_bytes(path, _MOST_YAML)
    try:
        node = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
        if node is None:
            return None
        _weigh(node, {}, set())
        return yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        msg = f"is not YAML: {_line(error)}"
        raise ArtifactError(msg) from error


def check_text(path: Path) -> None:
    """Refuse what is not UTF-8 text."""
    data = read_bytes(path, _MOST_TEXT)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = "is not plain text in UTF-8"
        raise ArtifactError(msg) from error
    if b"\0" in data:
        msg = "is not plain text: it has NUL characters"
        raise ArtifactError(msg)


def check_pieces(path: Path) -> None:
    """Refuse what does not begin as the pieces of a sentencepiece model do."""
    with path.open("rb") as file:
        if file.read(1) != b"\n":
            msg = "is not the vocabulary of sentencepiece"
            raise ArtifactError(msg)


def check_safetensors(path: Path) -> None:
    """Refuse a header that does not describe the file to its last byte."""
    try:
        with safe_open(path, framework="np") as file:
            file.keys()
    except (SafetensorError, ValueError) as error:
        msg = f"is not safetensors: {_line(error)}"
        raise ArtifactError(msg) from error


def check_parquet(path: Path) -> None:
    """Refuse what is no Parquet, swells to more than memory, or names a Python type."""
    try:
        with pq.ParquetFile(path) as file:
            meta = file.metadata
            groups = [meta.row_group(n) for n in range(meta.num_row_groups)]
            raw = dict(meta.metadata or {})
    except (pa.ArrowException, ValueError) as error:
        msg = f"is not Parquet: {_line(error)}"
        raise ArtifactError(msg) from error
    if sum(group.total_byte_size for group in groups) > _MOST_ROWS_BYTES:
        msg = f"swells to more than {_MOST_ROWS_BYTES / _MB:,.0f} MB"
        raise ArtifactError(msg)
    if b"arrow.py_extension_type" in _schema_bytes(raw):
        msg = "has a column of a type that is a pickle"
        raise ArtifactError(msg)


def _schema_bytes(metadata: dict[bytes, bytes]) -> bytes:
    import base64

    return base64.b64decode(metadata.get(b"ARROW:schema", b""), validate=False)


def _check_modules(value: Any) -> None:
    """Check the file by which sentence-transformers picks the classes it makes."""
    kinds = [m.get("type") for m in _mappings(value) if "type" in m]
    foreign = [kind for kind in kinds if not str(kind).startswith(_MODULES)]
    if foreign:
        msg = f"names the class '{foreign[0]}', which is not one of sentence-transformers"
        raise ArtifactError(msg)


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _weigh(node: yaml.Node, known: dict[yaml.Node, int], above: set[yaml.Node]) -> int:
    """Count the values a document has once its anchors are followed; refuse what is not plain."""
    if node in known:
        return known[node]
    if node in above:
        msg = "holds itself"
        raise ArtifactError(msg)
    if node.tag not in _PLAIN_TAGS:
        msg = f"has a value with the tag '{node.tag}', and only plain values are read"
        raise ArtifactError(msg)
    above.add(node)
    weight = 1
    if isinstance(node, yaml.SequenceNode):
        weight += sum(_weigh(child, known, above) for child in node.value)
    elif isinstance(node, yaml.MappingNode):
        weight += sum(_weigh(child, known, above) for pair in node.value for child in pair)
    above.discard(node)
    if weight > _MOST_NODES:
        msg = "swells, by anchors that repeat each other, to more values than can be read"
        raise ArtifactError(msg)
    known[node] = weight
    return weight


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
