"""The door to sentence-transformers: a folder as an `Embedder`, a model of a hub as a folder."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
from huggingface_hub import hf_hub_download
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from lakehouse.errors import InputError


class SentenceTransformerEmbedder:
    """Slower to start and to run than a graph, and able to open what has none."""

    def __init__(self, folder: Path) -> None:
        try:
            self._model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        except (OSError, ValueError) as error:
            msg = (
                f"'{folder}' is not a folder that sentence-transformers opens: "
                f"{str(error).splitlines()[0]}"
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
            prompt="",  # the text comes filled in; the model's own default is not to be added
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, np.float32).reshape(len(texts), self.dimensions)


def save_from_hub(name: str, folder: Path) -> None:
    """Save a hub's model into `folder`. Raises `InputError` where there is none or no hub.

    One small file is asked for first: the whole model, asked for in vain, takes minutes to fail.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it announces every attempt
    try:
        hf_hub_download(name, "modules.json")
        SentenceTransformer(name, device="cpu").save(str(folder), create_model_card=False)
    except (OSError, ValueError) as error:
        msg = (
            f"'{name}' is neither a folder nor a sentence-transformers model on a hub that can be "
            f"reached from here: {str(error).splitlines()[0]}"
        )
        raise InputError(msg) from error
