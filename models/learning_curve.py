"""What more labels would bring: the same model fitted on ever more of what it learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.evaluation import evaluate
from models.intervals import Interval, macro_f1_interval
from models.linear import Features
from models.splitting import held_out

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Macro-F1 of a model that learned from so many texts."""

    texts: int
    macro_f1: float
    interval: Interval


def learning_curve(
    learned: pa.Table,
    learned_truth: NDArray[np.int64],
    judged: pa.Table,
    judged_truth: NDArray[np.int64],
    *,
    labels: tuple[str, ...],
    features: Features,
    seed: int,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[CurvePoint, ...]:
    """Fit on growing parts, each within the next, and judge each on the same texts.

    Rows have `text` and `embedding`. A part with too few texts of a label is left out.
    """
    from models.fitting import FOLDS, fit

    texts = learned["text"].to_pylist()
    points = []
    for number, share in enumerate(SHARES):
        told(number, len(SHARES))
        part = held_out(texts, learned_truth, share=share, seed=seed)
        truth = learned_truth[part]
        if np.bincount(truth, minlength=len(labels)).min() < FOLDS:
            continue
        model = fit(learned.filter(pa.array(part)), truth, labels, features=features, seed=seed)
        found = evaluate(model.predict_proba(judged), judged_truth, labels)
        interval = macro_f1_interval(found.confusion, seed=seed)
        points.append(CurvePoint(len(truth), found.macro_f1, interval))
    return tuple(points)
