"""An embedding model of a few kilobytes with the real one's files: for tests.

Its weights are drawn at random, so texts are near each other when they share words, and nothing
more is to be expected of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from features.e5_graph import QuantizedMatrix, write_graph
from features.embed import GRAPH_FILE, SETTINGS_FILE

DIMENSIONS = 32


def write_tiny_model(folder: Path, words: Iterable[str]) -> Path:
    """Write the model into `folder`; words it was not told are all the same to it."""
    vocabulary = {word: n for n, word in enumerate(["<unk>", *dict.fromkeys(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<unk> $A", special_tokens=[("<unk>", 0)]
    )
    (folder / GRAPH_FILE).parent.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.dumps({"prompts": {"query": "query: "}})
    (folder / SETTINGS_FILE).write_text(settings, encoding="utf-8")
    shapes = {"q": 1, "k": 1, "v": 1, "ao": 1, "fi": 4, "fo": 1}
    random = np.random.default_rng(0)
    matrices = {"emb.word": _matrix(random, len(vocabulary), DIMENSIONS)}
    vectors = {
        "emb.pos": np.zeros(512 * DIMENSIONS, np.float32),
        "emb.type": np.zeros(DIMENSIONS, np.float32),
    }
    for name, times in shapes.items():
        columns = 4 * DIMENSIONS if name == "fo" else DIMENSIONS
        matrices[f"l0.{name}.w"] = _matrix(random, times * DIMENSIONS, columns)
        vectors[f"l0.{name}.b"] = np.zeros(times * DIMENSIONS, np.float32)
    for name in ("emb.ln", "l0.aln", "l0.oln"):
        vectors[f"{name}.w"] = np.ones(DIMENSIONS, np.float32)
        vectors[f"{name}.b"] = np.zeros(DIMENSIONS, np.float32)
    write_graph(
        folder / GRAPH_FILE, matrices=matrices, vectors=vectors, layers=1, heads=2, epsilon=1e-12
    )
    return folder


def _matrix(random: np.random.Generator, rows: int, columns: int) -> QuantizedMatrix:
    levels: NDArray[np.uint8] = random.integers(0, 16, (rows, columns), dtype=np.uint8)
    return QuantizedMatrix(levels, np.full((rows, columns // 32), 0.02, np.float32))
