"""Which texts a model learned from, by digest: none of them may judge it.

A model folder keeps eight bytes a text, of the text without case, accents and punctuation. The
texts cannot be read back; who has a text can tell whether it was among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.text import folded
from registry.errors import ArtifactError

LEARNED_FILE = "learned.parquet"

Digests = NDArray[np.uint64]


def text_digests(texts: Sequence[str]) -> Digests:
    """Return a number a text, equal for texts that differ in case, accents and punctuation.

    >>> one, same, other = text_digests(["Hay un hueco.", "hay un HUECO", "Otra cosa"]).tolist()
    >>> one == same, one == other
    (True, False)
    """
    found = [hashlib.sha256(folded(text).encode()).digest()[:8] for text in texts]
    return np.frombuffer(b"".join(found), ">u8").astype(np.uint64)


def write_learned(folder: Path, texts: Sequence[str]) -> None:
    """Keep which texts a model learned from."""
    digests = np.unique(text_digests(texts))
    table = pa.table({"text_digest": pa.array(digests, pa.uint64())})
    pq.write_table(table, folder / LEARNED_FILE, compression="zstd")


def read_learned(folder: Path) -> Digests | None:
    """Return the digests of the texts a model learned from, None where it does not say."""
    path = folder / LEARNED_FILE
    if not path.is_file():
        return None
    try:
        column = pq.read_table(path, columns=["text_digest"])["text_digest"]
    except (OSError, pa.ArrowException) as error:
        msg = f"{LEARNED_FILE} cannot be read: {' '.join(str(error).split())}"
        raise ArtifactError(msg) from error
    return np.asarray(column.to_numpy(), np.uint64)


def learned(texts: Sequence[str], digests: Digests) -> NDArray[np.bool_]:
    """Mark the texts that were learned from."""
    return np.isin(text_digests(texts), digests)
