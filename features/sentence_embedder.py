"""The door to sentence-transformers: any of its models, by folder or hub name, as an `Embedder`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from lakehouse.errors import InputError


class SentenceTransformerEmbedder:
    """Slower to start and to run than a graph, and able to open what has none."""

    def __init__(self, name: str) -> None:
        try:
            self._model = SentenceTransformer(name, device="cpu")
        except (OSError, ValueError) as error:
            msg = (
                f"'{name}' is neither a folder of a sentence-transformers model nor one on a hub "
                f"that can be reached: {str(error).splitlines()[0]}"
            )
            raise InputError(msg) from error

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return int(self._model.get_embedding_dimension())

    def encode(self, texts: pa.Array) -> NDArray[np.float32]:
        """Return one vector of length one for each text."""
        vectors = self._model.encode(
            [text or "" for text in texts.to_pylist()],
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, np.float32).reshape(len(texts), -1)
