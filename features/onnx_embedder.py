"""The door to onnxruntime: a model folder's graph as an `Embedder`, without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidProtobuf, NoSuchFile
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from registry.errors import ArtifactError

MAX_TOKENS = 512
_BEGIN, _END = 0, 2


class OnnxEmbedder:
    """One thread, one text at a time.

    The graph rounds its activations by the largest value in a batch, so a text's vector would
    depend on its neighbours if texts shared a batch; alone, it depends on the text. Alone is not
    slower either: nothing is padded.
    """

    def __init__(self, folder: Path, graph: str, pieces: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._numbers = tokenizer_of(folder, pieces)
            self._session = onnxruntime.InferenceSession(
                folder / graph, options, providers=["CPUExecutionProvider"]
            )
        except (OSError, Fail, InvalidProtobuf, NoSuchFile) as error:
            msg = f"'{folder.name}' is not a model folder that can be opened: {error}"
            raise ArtifactError(msg) from error
        self._dimensions = int(self._session.get_outputs()[0].shape[-1])

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self._dimensions

    def encode(self, texts: pa.Array) -> NDArray[np.float32]:
        """Return one vector of length one for each text."""
        vectors = np.zeros((len(texts), self._dimensions), np.float32)
        for position, text in enumerate(texts.to_pylist()):
            vectors[position] = self._encode(text or "")
        return vectors

    def _encode(self, text: str) -> NDArray[np.float32]:
        ids = np.array([self._numbers(text)], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return self._session.run(["sentence_embedding"], given)[0][0]


def tokenizer_of(folder: Path, pieces: str) -> Callable[[str], list[int]]:
    """Return what turns a text into numbers, at most `MAX_TOKENS` of them.

    A vocabulary of 250,000 pieces takes 280 MB as `tokenizer.json` and an eighth of that in
    sentencepiece's own form, which is taken where the folder has it.
    """
    if (folder / pieces).is_file():
        processor = SentencePieceProcessor(model_file=str(folder / pieces))
        return lambda text: [_BEGIN, *processor.encode(text)[: MAX_TOKENS - 2], _END]
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text).ids
