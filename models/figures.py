"""Pictures of how a model did, for the registry's pages; words on them are for Spanish readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from models.evaluation import Evaluation
from models.intervals import Interval, wilson
from models.learning_curve import CurvePoint
from models.slices import Slice

mpl.use("Agg")

_DPI = 130
_DIMENSIONS = {"channel": "canal", "region": "región", "month": "mes", "length": "longitud"}


def draw_confusion(evaluation: Evaluation, titles: Mapping[str, str], path: Path) -> None:
    """Draw the table of confusions: how many texts of each true label got each answer."""
    counts = evaluation.confusion
    names = list(titles.values())
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    size = 2.6 + 0.9 * len(names)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("Respuesta del modelo")
    axes.set_ylabel("Etiqueta verdadera")
    axes.set_title(
        f"Exactitud {evaluation.accuracy:.1%}, macro-F1 {evaluation.macro_f1:.3f}", fontsize=11
    )
    for row in range(len(names)):
        for column in range(len(names)):
            color = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color)
    figure.colorbar(picture, label="Parte de la etiqueta verdadera")
    figure.savefig(path, dpi=_DPI)


def draw_calibration(evaluation: Evaluation, path: Path) -> None:
    """Draw how often answers of each score are right: on the diagonal, scores mean what they say.

    Beside it, how many answers have that score. Bars of doubt are Wilson's intervals.
    """
    bins = evaluation.bins
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    right = [part.right / part.texts for part in bins]
    doubt = _doubt(right, [wilson(part.right, part.texts) for part in bins])
    scores = [part.mean_score for part in bins]
    upper.errorbar(scores, right, yerr=doubt, fmt="o-", capsize=3, color="tab:blue")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="Parte de aciertos")
    upper.set_title(f"Calibración: ECE {evaluation.ece:.3f}", fontsize=11)
    lower.bar([part.low + 0.05 for part in bins], [part.texts for part in bins], width=0.09)
    lower.set(xlabel="Puntaje", ylabel="Textos")
    figure.savefig(path, dpi=_DPI)


def draw_slices(slices: Sequence[Slice], path: Path) -> None:
    """Draw each part's accuracy with its interval, and the champion's where there is one."""
    figure = Figure(figsize=(6.4, 1.4 + 0.3 * len(slices)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(slices))
    shares = [part.accuracy for part in slices]
    doubt = _doubt(shares, [part.interval for part in slices])
    axes.errorbar(shares, rows, xerr=doubt, fmt="o", capsize=3, label="evaluado")
    known = [
        (part.champion_right / part.texts, row)
        for row, part in enumerate(slices)
        if part.champion_right is not None
    ]
    if known:
        axes.plot(*zip(*known, strict=True), "x", color="tab:orange", label="campeón")
        axes.legend(loc="lower left", fontsize=8)
    names = [
        f"{_DIMENSIONS.get(part.dimension, part.dimension)} = {part.value} ({part.texts})"
        for part in slices
    ]
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), xlabel="Exactitud")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=_DPI)


def draw_curve(points: Sequence[CurvePoint], path: Path) -> None:
    """Draw macro-F1 by how many texts were learned from, with its interval."""
    figure = Figure(figsize=(5.6, 4), layout="constrained")
    axes = figure.subplots()
    sizes = [point.texts for point in points]
    axes.plot(sizes, [point.macro_f1 for point in points], "o-")
    axes.fill_between(
        sizes,
        [point.interval.low for point in points],
        [point.interval.high for point in points],
        alpha=0.2,
    )
    axes.set(xlabel="Textos aprendidos", ylabel="Macro-F1", ylim=(0, 1))
    axes.set_title("Curva de aprendizaje", fontsize=11)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=_DPI)


def _doubt(shares: Sequence[float], intervals: Sequence[Interval]) -> list[list[float]]:
    """Return how far each interval reaches below and above its share."""
    below = [max(0.0, s - i.low) for s, i in zip(shares, intervals, strict=True)]
    above = [max(0.0, i.high - s) for s, i in zip(shares, intervals, strict=True)]
    return [below, above]
