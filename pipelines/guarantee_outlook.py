"""What more labels would buy: a guarantee proven again from as many as one could have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from models.guarantee import GuaranteeTerms, Promise
from models.label_value import curve_of, expected_coverage

FACTORS = (1, 2, 4, 8)
"""How many times the labels there are now."""

_FEWEST = 20
"""Labels below which an error rate along the scores is not worth drawing."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """So many labels in all, and the share of all answers a guarantee from them would accept."""

    labels: int
    coverage: float


def outlook(
    answers: pa.Table, promises: Sequence[Promise], terms: GuaranteeTerms, *, seed: int
) -> list[Outlook]:
    """Estimate, for `FACTORS` times the labels of every pool as it is now, what would be accepted.

    By simulation from the errors found so far: answers without a label are left out of the error
    rate here. Empty where no pool has labels enough to tell.
    """
    frame = pl.from_arrow(answers)
    assert isinstance(frame, pl.DataFrame)
    known = [promise for promise in promises if promise.drawn - promise.missing >= _FEWEST]
    if not known:
        return []
    whole = sum(promise.answers for promise in promises)
    found = []
    for factor in FACTORS:
        labels = factor * sum(promise.drawn - promise.missing for promise in known)
        accepted = sum(
            promise.answers * _expected(frame, promise, terms, factor, seed) for promise in known
        )
        found.append(Outlook(labels, accepted / whole))
    return found


def _expected(
    answers: pl.DataFrame, promise: Promise, terms: GuaranteeTerms, factor: int, seed: int
) -> float:
    own = answers.filter(
        pl.col("predicted_label").is_in(promise.labels), pl.col("score").is_finite()
    )
    checked = own.filter(pl.col("drawn"), pl.col("right").is_not_null())
    others = own.filter(~pl.col("drawn"))
    curve = curve_of(
        checked["score"].to_numpy(),
        (~checked["right"]).cast(pl.Float64).to_numpy(),
        others["score"].to_numpy() if len(others) else np.empty(0),
    )
    return expected_coverage(curve, factor * len(checked), terms.limit, seed=seed)
