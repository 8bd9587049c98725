"""Drift: whether the tickets of now still look like those the model was trained on.

Two tables are compared column by column: the reference kept with the model's version, and the
rows that model answered. What the model says (labels, scores) and what the texts mean (embeddings)
decide; how the texts are written (lengths, shares of digits and capitals) only asks for attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.text import DESCRIPTORS
from lakehouse.errors import ConfigurationError
from monitoring.errors import ReferenceShapeError
from monitoring.measures import (
    auc_by_chance,
    category_counts,
    decile_counts,
    domain_auc,
    psi,
    psi_by_chance,
)

EMBEDDING = "embedding"
LABEL = "predicted_label"
SCORE = "score"
COLUMNS = (LABEL, SCORE, *DESCRIPTORS, EMBEDDING)
"""What a reference holds, and what is compared."""

DECISIVE = frozenset({LABEL, SCORE, EMBEDDING})

PSI = "psi"
DOMAIN_AUC = "domain_auc"


class DriftVerdict(StrEnum):
    """What an operator is told. WATCH: the texts are written otherwise, the answers are not."""

    STABLE = "stable"
    WATCH = "watch"
    DRIFT = "drift"
    INSUFFICIENT_DATA = "insufficient_data"
    NO_REFERENCE = "no_reference"


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """The limits of one tenant. They change a verdict, so they are configuration, not settings.

    A limit is raised where chance alone would pass it with probability `risk` at the rows at hand.
    `sample_rows` bounds the rows a side that are compared, `report_rows` those Evidently draws.
    """

    psi: float = 0.2
    auc: float = 0.65
    risk: float = 0.001
    min_rows: int = 50
    sample_rows: int = 2000
    report_rows: int = 400
    folds: int = 5

    def __post_init__(self) -> None:
        if self.psi <= 0 or not 0.5 < self.auc < 1 or not 0 < self.risk < 1:
            msg = f"drift limits must have psi > 0, 0.5 < auc < 1 and 0 < risk < 1, got {self}"
            raise ConfigurationError(msg)
        if not 2 <= self.folds <= self.min_rows <= min(self.sample_rows, self.report_rows):
            msg = f"drift needs 2 <= folds <= min_rows <= sample_rows and report_rows, got {self}"
            raise ConfigurationError(msg)


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One number about one column. `score` is None where it could not be computed."""

    feature: str
    method: str
    score: float | None
    threshold: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Two tables compared. `reference_rows` and `current_rows` are what there was to compare."""

    reference_rows: int
    current_rows: int
    columns: tuple[ColumnDrift, ...]
    verdict: DriftVerdict


def detect_drift(
    reference: pa.Table, current: pa.Table, policy: DriftPolicy, *, seed: int
) -> DriftReport:
    """Compare `current` with `reference`, both with the columns `COLUMNS`.

    The same tables, policy and seed give the same report. With fewer rows than the policy asks
    for, on either side, there is no number and no verdict.
    """
    _require_columns(reference, "reference")
    _require_columns(current, "current rows")
    sizes = len(reference), len(current)
    if min(sizes) < policy.min_rows:
        return DriftReport(*sizes, (), DriftVerdict.INSUFFICIENT_DATA)
    before, after = (sample(rows, policy.sample_rows, seed=seed) for rows in (reference, current))
    columns = (
        _labels(before, after, policy),
        *(_numbers(name, before, after, policy) for name in (SCORE, *DESCRIPTORS)),
        _meaning(before, after, policy, seed),
    )
    return DriftReport(*sizes, columns, verdict_of(columns))


def verdict_of(columns: tuple[ColumnDrift, ...]) -> DriftVerdict:
    """Weigh the columns: one that is decisive makes drift, any other asks to watch."""
    drifted = {column.feature for column in columns if column.drifted}
    if drifted & DECISIVE:
        return DriftVerdict.DRIFT
    return DriftVerdict.WATCH if drifted else DriftVerdict.STABLE


def without_reference(current_rows: int) -> DriftReport:
    """Report on a model that keeps no reference, such as the rules baseline."""
    return DriftReport(0, current_rows, (), DriftVerdict.NO_REFERENCE)


def sample(rows: pa.Table, at_most: int, *, seed: int) -> pa.Table:
    """Draw rows without replacement, their order kept; all of them where they are few."""
    if len(rows) <= at_most:
        return rows
    drawn = np.random.default_rng(seed).choice(len(rows), at_most, replace=False)
    return rows.take(pa.array(np.sort(drawn)))


def _labels(before: pa.Table, after: pa.Table, policy: DriftPolicy) -> ColumnDrift:
    words = (np.asarray(rows[LABEL].to_pylist(), dtype=np.str_) for rows in (before, after))
    return _stability(LABEL, *category_counts(*words), policy=policy)


def _numbers(name: str, before: pa.Table, after: pa.Table, policy: DriftPolicy) -> ColumnDrift:
    values = (_floats(rows[name]) for rows in (before, after))
    return _stability(name, *decile_counts(*values), policy=policy)


def _stability(
    name: str, before: np.ndarray, after: np.ndarray, *, policy: DriftPolicy
) -> ColumnDrift:
    chance = psi_by_chance(len(before), int(before.sum()), int(after.sum()), risk=policy.risk)
    return _judge(name, PSI, psi(before, after), max(policy.psi, chance))


def _meaning(before: pa.Table, after: pa.Table, policy: DriftPolicy, seed: int) -> ColumnDrift:
    reference, current = (_distinct_vectors(rows[EMBEDDING]) for rows in (before, after))
    score = domain_auc(reference, current, folds=policy.folds, seed=seed)
    if score is None:
        return _judge(EMBEDDING, DOMAIN_AUC, None, policy.auc)
    chance = auc_by_chance(len(reference), len(current), risk=policy.risk)
    return _judge(EMBEDDING, DOMAIN_AUC, score, max(policy.auc, chance))


def _judge(name: str, method: str, score: float | None, threshold: float) -> ColumnDrift:
    return ColumnDrift(name, method, score, threshold, score is not None and score > threshold)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()


def _distinct_vectors(column: pa.ChunkedArray) -> np.ndarray:
    known = pc.drop_null(column).combine_chunks()
    if not len(known):
        return np.empty((0, 0))
    flat = known.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return np.unique(flat.reshape(len(known), -1), axis=0)


def _require_columns(rows: pa.Table, what: str) -> None:
    missing = [name for name in COLUMNS if name not in rows.column_names]
    if missing:
        raise ReferenceShapeError.of(what, missing)
