"""A challenger judged on one set of labelled texts, beside a champion where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.classifier import Probabilities, best
from models.comparison import Comparison, compare
from models.evaluation import Evaluation, evaluate
from models.gates import SliceMeasures
from models.intervals import Interval, macro_f1_interval, wilson
from models.slices import Slice, sliced


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found. `champion` and `comparison` are None where there is nothing to compare."""

    name: str
    texts: int
    challenger: Evaluation
    accuracy: Interval
    macro_f1: Interval
    slices: tuple[Slice, ...]
    champion: Evaluation | None = None
    comparison: Comparison | None = None

    def metrics(self) -> dict[str, float]:
        """Return the numbers by name, as a registry shows them."""
        found = {
            **self.challenger.metrics(),
            "texts": float(self.texts),
            "accuracy_low": self.accuracy.low,
            "accuracy_high": self.accuracy.high,
            "macro_f1_low": self.macro_f1.low,
            "macro_f1_high": self.macro_f1.high,
        }
        if self.champion is not None and self.comparison is not None:
            found |= {
                "champion/accuracy": self.champion.accuracy,
                "champion/macro_f1": self.champion.macro_f1,
                "champion/ece": self.champion.ece,
                "lift/accuracy": self.comparison.accuracy_lift,
                "lift/macro_f1": self.comparison.macro_f1_lift,
                "lift/macro_f1_low": self.comparison.interval.low,
                "lift/macro_f1_high": self.comparison.interval.high,
                "lift/p_accuracy": self.comparison.p_accuracy,
                "lift/p_macro_f1": self.comparison.p_macro_f1,
                "lift/p_better": self.comparison.p_better,
            }
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "texts": self.texts,
            "metrics": self.metrics(),
            "labels": {
                label: {
                    "precision": s.precision,
                    "recall": s.recall,
                    "f1": s.f1,
                    "texts": s.support,
                }
                for label, s in self.challenger.labels.items()
            },
            "confusion": self.challenger.confusion.tolist(),
            "calibration": [
                {
                    "low": part.low,
                    "high": part.high,
                    "texts": part.texts,
                    "mean_score": part.mean_score,
                    "accuracy": part.right / part.texts,
                }
                for part in self.challenger.bins
            ],
            "slices": [_slice_values(part) for part in self.slices],
        }

    def slice_measures(self) -> tuple[SliceMeasures, ...]:
        """Return the slices as gates read them."""
        return tuple(
            SliceMeasures(s.name, s.texts, s.accuracy, s.champion_right / s.texts, s.p_worse)
            for s in self.slices
            if s.champion_right is not None and s.p_worse is not None
        )


def judged(
    name: str,
    truth: NDArray[np.int64],
    challenger: Probabilities,
    champion: Probabilities | None,
    *,
    labels: tuple[str, ...],
    slices: Mapping[str, Sequence[str]],
    seed: int,
) -> Judged:
    """Judge answers to the same texts; `truth` is positions in `labels`, at least one."""
    found = evaluate(challenger, truth, labels)
    right = best(challenger) == truth
    before = None if champion is None else best(champion)
    return Judged(
        name=name,
        texts=len(truth),
        challenger=found,
        accuracy=wilson(int(right.sum()), len(truth)),
        macro_f1=macro_f1_interval(found.confusion, seed=seed),
        slices=sliced(slices, right, None if before is None else before == truth),
        champion=None if champion is None else evaluate(champion, truth, labels),
        comparison=None
        if before is None
        else compare(truth, best(challenger), before, labels=len(labels), seed=seed),
    )


def _slice_values(part: Slice) -> dict[str, Any]:
    values = {
        "dimension": part.dimension,
        "value": part.value,
        "texts": part.texts,
        "accuracy": part.accuracy,
        "low": part.interval.low,
        "high": part.interval.high,
    }
    if part.champion_right is not None:
        values["champion_accuracy"] = part.champion_right / part.texts
        values["p_worse"] = part.p_worse
    return values
