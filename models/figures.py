"""Pictures of how a model did, for the registry's pages; words on them are for Spanish readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from models.evaluation import Evaluation

mpl.use("Agg")


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
    figure.savefig(path, dpi=130)
