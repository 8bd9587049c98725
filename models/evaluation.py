"""How good answers are: accuracy, macro-F1, calibration error, and the table of confusions.

Calibration is the expected calibration error over ten bins of equal width (M. P. Naeini et al.,
"Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; C. Guo et al., "On
calibration of modern neural networks", ICML 2017). Few texts make it look worse than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.classifier import Probabilities, best
from models.intervals import macro_f1

_BINS = 10


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How one label did. A share of nothing is 0."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """The answers whose score lies from `low` to `high`: their mean score, and how many are right.

    Calibrated scores are right as often as they say.
    """

    low: float
    high: float
    texts: int
    mean_score: float
    right: int

    @property
    def gap(self) -> float:
        """How far the scores are from the share that is right."""
        return abs(self.mean_score - self.right / self.texts)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on one held-out set. `confusion` has the true label by row.

    `ece` is the expected calibration error: how far, on average, a score is from the share of
    answers of that score that are right. `bins` are those it was found over, the empty left out.
    """

    accuracy: float
    macro_f1: float
    ece: float
    log_loss: float
    labels: Mapping[str, LabelScore]
    confusion: NDArray[np.int64]
    bins: tuple[ScoreBin, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the numbers by name, those of each label included."""
        found = {
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "ece": self.ece,
            "log_loss": self.log_loss,
        }
        for label, score in self.labels.items():
            found[f"precision.{label}"] = score.precision
            found[f"recall.{label}"] = score.recall
            found[f"f1.{label}"] = score.f1
        return found


def evaluate(
    probabilities: Probabilities, truth: NDArray[np.int64], labels: tuple[str, ...]
) -> Evaluation:
    """Compare answers with the truth, given as positions in `labels`."""
    chosen = best(probabilities)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, chosen), 1)
    scores = {label: _label_score(confusion, place) for place, label in enumerate(labels)}
    right = probabilities[np.arange(len(truth)), truth]
    bins = _score_bins(probabilities.max(axis=1), chosen == truth)
    return Evaluation(
        accuracy=float((chosen == truth).mean()),
        macro_f1=float(
            macro_f1(confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1))
        ),
        ece=sum(part.texts * part.gap for part in bins) / len(truth),
        log_loss=float(-np.log(np.maximum(right, 1e-12)).mean()),
        labels=scores,
        confusion=confusion,
        bins=bins,
    )


def _label_score(confusion: NDArray[np.int64], place: int) -> LabelScore:
    hit = int(confusion[place, place])
    said, true = int(confusion[:, place].sum()), int(confusion[place].sum())
    return LabelScore(
        precision=hit / said if said else 0.0,
        recall=hit / true if true else 0.0,
        f1=2 * hit / (said + true) if said + true else 0.0,
        support=true,
    )


def _score_bins(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[ScoreBin, ...]:
    places = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    return tuple(
        ScoreBin(
            low=number / _BINS,
            high=(number + 1) / _BINS,
            texts=int(inside.sum()),
            mean_score=float(scores[inside].mean()),
            right=int(right[inside].sum()),
        )
        for number in range(_BINS)
        if (inside := places == number).any()
    )
