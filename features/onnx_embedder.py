"""The door to onnxruntime: a model folder's graph as an `Embedder`, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidProtobuf, NoSuchFile
from tokenizers import Tokenizer

from registry.errors import ArtifactError

MAX_TOKENS = 512


class OnnxEmbedder:
    """One thread, one text at a time.

    The graph rounds its activations by the largest value in a batch, so a text's vector would
    depend on its neighbours if texts shared a batch; alone, it depends on the text. Alone is not
    slower either: nothing is padded.
    """

    def __init__(self, folder: Path, graph: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
            self._session = onnxruntime.InferenceSession(
                folder / graph, options, providers=["CPUExecutionProvider"]
            )
        except (OSError, Fail, InvalidProtobuf, NoSuchFile) as error:
            msg = f"'{folder.name}' is not a model folder that can be opened: {error}"
            raise ArtifactError(msg) from error
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
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
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return self._session.run(["sentence_embedding"], given)[0][0]
