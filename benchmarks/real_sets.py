"""The real, labelled sets in `shared/data`, as `benchmarks.real_models` judges models on them.

They are third parties' and stay outside the repository. Texts that repeat another are dropped;
texts that nearly do are known by group, so that no text is judged by a model that learned from its
double.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from benchmarks.progress import Tell
from features.e5_package import unpacked
from features.embed import QUERY_TEMPLATE, as_matrix, embed_step
from features.text import folded
from lakehouse.compute.batches import map_batches
from lakehouse.errors import InputError
from models.splitting import first_of_each

CDMX = Path("cdmx_solicitudes", "cdmx_solicitudes_2017_2018.csv")
ODS = Path("ods_textos", "ods_textos_70.csv")

_SHINGLE = 3
_NEAR = 0.5
"""Share of their shingles that near-duplicates have in common (Jaccard's index)."""
_BATCH = 64


@dataclass(frozen=True, slots=True)
class RealSet:
    """Distinct texts and labels. `groups` numbers near-duplicates alike; days may be blank."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    groups: NDArray[np.int64]
    days: NDArray[np.str_]

    def some(self, chosen: NDArray[np.int64]) -> RealSet:
        """Keep the chosen texts, in their order."""
        return RealSet(
            self.name,
            tuple(self.texts[n] for n in chosen),
            self.labels,
            self.truth[chosen],
            self.groups[chosen],
            self.days[chosen],
        )


def read_cdmx(folder: Path) -> RealSet:
    """Read Mexico City's requests about the earthquake of 2017, each text as it came first."""
    rows = _read(folder / CDMX).sort("fecha", "id")
    return _set("cdmx", rows["texto"], rows["clasificacion"], rows["fecha"])


def read_ods(folder: Path, *, texts: int, seed: int) -> RealSet:
    """Read passages about the goals of the United Nations, as many as asked, drawn by seed."""
    rows = _read(folder / ODS)
    found = _set("ods", rows["texto"], rows["etiqueta"], pl.Series([""] * len(rows)))
    order = np.random.default_rng(seed).permutation(len(found.texts))
    return found.some(np.sort(order[:texts]))


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        msg = f"no file '{path}'; name the folder of the real sets with --data or PLATA_DATA"
        raise InputError(msg)
    return pl.read_csv(path, infer_schema_length=0)


def _set(name: str, texts: pl.Series, labels: pl.Series, days: pl.Series) -> RealSet:
    kept = np.flatnonzero(first_of_each(texts.to_list()))
    known = tuple(sorted(set(labels)))
    place = {label: number for number, label in enumerate(known)}
    own = tuple(texts[int(n)] for n in kept)
    return RealSet(
        name=name,
        texts=own,
        labels=known,
        truth=np.array([place[labels[int(n)]] for n in kept], np.int64),
        groups=near_duplicates(own),
        days=np.array([days[int(n)] for n in kept], np.str_),
    )


def near_duplicates(texts: Sequence[str]) -> NDArray[np.int64]:
    """Give texts that share half their runs of three words, directly or by a chain, one number.

    >>> near_duplicates(["solicito copia del acta ya", "Solicito copia del acta, ya.", "otro"])
    array([0, 0, 1])
    """
    shingles: dict[str, int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        words = folded(text).split()
        runs = {" ".join(words[n : n + _SHINGLE]) for n in range(max(1, len(words) - _SHINGLE + 1))}
        rows += [row] * len(runs)
        columns += [shingles.setdefault(run, len(shingles)) for run in sorted(runs)]
    ones = np.ones(len(rows), np.int64)
    held = sparse.csr_array((ones, (rows, columns)), shape=(len(texts), max(1, len(shingles))))
    shared = sparse.coo_array(held @ held.T)
    sizes: NDArray[np.int64] = np.asarray(held.sum(axis=1), np.int64)
    either = sizes[shared.row] + sizes[shared.col] - shared.data
    near = shared.data >= _NEAR * either
    links = sparse.coo_array(
        (shared.data[near], (shared.row[near], shared.col[near])), shape=shared.shape
    )
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def vectors_of(texts: Sequence[str], home: Path, tell: Tell) -> NDArray[np.float32]:
    """Embed the texts with the packaged e5, once a `home`: the vectors are kept there."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    kept = home / "benchmarks" / f"e5-{digest}.npy"
    if kept.is_file():
        return np.asarray(np.load(kept))
    folder = unpacked(home, lambda what: tell(what, 0, 0))
    done = [0]

    def progress(rows: int) -> None:
        done[0] += rows
        tell("embedding the texts", done[0], len(texts))

    arguments = {"folder": str(folder), "template": QUERY_TEMPLATE}
    rows = pa.table({"text": pa.array(texts, pa.string())})
    mapped = map_batches(rows, embed_step, arguments, batch_rows=_BATCH, progress=progress)
    vectors = as_matrix(mapped["embedding"])
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, vectors)
    return vectors
