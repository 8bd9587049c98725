"""Texts to vectors: the port, the space vectors live in, and the step that adds them to rows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakehouse.compute.batches import Step
from registry.errors import ArtifactError, PromptError
from registry.refs import ModelRef, PromptRef
from registry.safety import check_registered

EMBEDDING_MODEL = "multilingual-e5-small-dq4"
QUERY_PROMPT = "e5-query"
QUERY_TEMPLATE = "query: {{text}}"
GRAPH_FILE = "onnx/model_int8.onnx"
"""Where a model folder keeps the graph it is served with."""
PIECES_FILE = "sentencepiece.bpe.model"
SETTINGS_FILE = "config_sentence_transformers.json"

_VARIABLE = re.compile(r"\{\{\s*text\s*\}\}")


@dataclass(frozen=True, slots=True)
class EmbeddingChoice:
    """What a tenant's texts are embedded with: the names of a model and of a prompt."""

    model: str = EMBEDDING_MODEL
    prompt: str = QUERY_PROMPT

    @classmethod
    def of(cls, model: str, prompt: str | None = None) -> EmbeddingChoice:
        """Choose a model and, unless a prompt is named, the one registered with the model.

        >>> EmbeddingChoice.of("minilm").prompt
        'minilm-query'
        """
        own = QUERY_PROMPT if model == EMBEDDING_MODEL else f"{model}-query"
        return cls(model, prompt or own)


class Embedder(Protocol):
    """A model that turns texts into vectors of length one."""

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        ...

    def encode(self, texts: pa.Array) -> NDArray[np.float32]:
        """Return one vector a text, in order. Missing text is read as the empty text."""
        ...


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Where vectors may be compared: one model version reading texts through one prompt version."""

    space_id: str
    model: ModelRef
    prompt: PromptRef
    dimensions: int

    @classmethod
    def of(cls, model: ModelRef, prompt: PromptRef, dimensions: int) -> EmbeddingSpace:
        """Name the space after the exact versions, so that another version is another space.

        >>> model = ModelRef("e5", "2", "0f")
        >>> EmbeddingSpace.of(model, PromptRef("e5-query", "1", "1a"), 384).space_id
        'e5-v2-e5-query-v1'
        """
        space_id = f"{model.name}-v{model.version}-{prompt.name}-v{prompt.version}"
        return cls(space_id, model, prompt, dimensions)


@lru_cache(maxsize=2)
def open_embedder(folder: Path) -> Embedder:
    """Open a model folder: its ONNX graph where it has one, else with sentence-transformers.

    The same folder is opened once a process: its steps share what takes memory. Raises
    `ArtifactError` where its files are not those its digest names, or could run code.
    """
    check_registered(folder)
    if (folder / GRAPH_FILE).is_file():
        from features.onnx_embedder import OnnxEmbedder

        return OnnxEmbedder(folder, GRAPH_FILE, PIECES_FILE)

    from features.sentence_embedder import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(folder)


def own_template(folder: Path) -> str:
    """Return how a model folder itself wants a query put to it; the bare text where it is silent.

    Raises `ArtifactError` where it says so in a file that cannot be read.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return "{{text}}"
    try:
        prompts = json.loads(path.read_text(encoding="utf-8")).get("prompts") or {}
    except (ValueError, AttributeError) as error:
        msg = f"{SETTINGS_FILE} of '{folder.name}' is not a JSON object: {error}"
        raise ArtifactError(msg) from error
    return f"{prompts.get('query') or ''}{{{{text}}}}"


def filled(template: str, texts: pa.Array) -> pa.Array:
    """Put every text in the place of `{{text}}`. Raises `PromptError` where there is none.

    >>> filled("query: {{text}}", pa.array(["hola", None])).to_pylist()
    ['query: hola', 'query: ']
    """
    parts = _VARIABLE.split(template)
    if len(parts) != 2:
        msg = (
            f"an embedding prompt holds {{{{text}}}} once, this one holds it {len(parts) - 1} "
            "times; write it as in 'query: {{text}}' and register it with `plata prompts register`"
        )
        raise PromptError(msg)
    before, after = parts
    return pc.binary_join_element_wise(before, pc.fill_null(texts, ""), after, "")


def embed_step(folder: str, template: str, text_column: str = "text") -> Step:
    """Build the step that adds `embedding`, a list of floats, read from a column of texts."""
    embedder = open_embedder(Path(folder))

    def embed(rows: pa.Table) -> pa.Table:
        texts = filled(template, flat(rows[text_column]))
        return rows.append_column("embedding", as_lists(encode_once(embedder, texts)))

    return embed


def encode_once(embedder: Embedder, texts: pa.Array) -> NDArray[np.float32]:
    """Encode every distinct text once and give equal texts the same vector."""
    distinct = pc.fill_null(texts, "").dictionary_encode()
    vectors = embedder.encode(distinct.dictionary)
    return vectors[distinct.indices.to_numpy(zero_copy_only=False)]


def flat(column: pa.ChunkedArray) -> pa.Array:
    """Return a column's values as one array."""
    chunks = column.combine_chunks()
    return chunks if isinstance(chunks, pa.Array) else pa.concat_arrays(chunks.chunks)


def as_lists(vectors: NDArray[np.float32]) -> pa.Array:
    """Return the rows of a matrix as an Arrow array of lists.

    >>> as_lists(np.zeros((2, 3), np.float32)).type
    ListType(list<item: float>)
    """
    count, width = vectors.shape
    offsets = pa.array(np.arange(0, (count + 1) * width, width) if width else [0], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1), pa.float32()))


def as_matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return an `embedding` column as a matrix, one row a vector."""
    lists = flat(column)
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values.reshape(len(lists), -1) if len(lists) else np.zeros((0, 0), np.float32)
