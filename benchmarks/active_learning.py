"""Labels chosen by active learning against labels drawn at random, on the real sets.

    python -m benchmarks.active_learning --data ../shared/data [--pictures docs/images]

Each repeat cuts a set anew into texts to be asked about and texts to be judged on, near-duplicates
on one side. All ways begin with the same labels, drawn at random, and ask for the same numbers;
after each the model is fitted again and judged. The labels are the sets' own: nobody is asked.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table
from scipy.stats import t as student
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.progress import told
from benchmarks.real_models import ODS_TEXTS, SEED, macro
from benchmarks.real_sets import RealSet, read_cdmx, read_ods, vectors_of
from features.embed import as_lists
from lakehouse.errors import PlataError
from models.active import most_telling, uncertainty
from models.classifier import Probabilities, best
from models.comparison import Places
from models.fitting import fit_uncalibrated
from models.linear import Features
from serving.cli.output import emit, fail

SIZES = (50, 100, 200, 400, 800)
REPEATS = 20
RANDOM, MARGIN = "random", "margin"
_PARTS = 3
_MOST = 0.8
"""Share of the texts that are asked about at most: with all of them, every way is the same."""
_CROWD = 20

Vectors = NDArray[np.float32]
Way = Callable[[Probabilities, Vectors, int, np.random.Generator], Places]
"""Chooses so many texts by what the model said of them and where they lie."""


def by_lot(said: Probabilities, vectors: Vectors, count: int, lot: np.random.Generator) -> Places:
    """Draw at random."""
    return lot.permutation(len(said))[:count]


def by_margin(said: Probabilities, vectors: Vectors, count: int, _: np.random.Generator) -> Places:
    """Take the smallest margins between the two best labels."""
    return np.argsort(-uncertainty(said), kind="stable")[:count]


def by_entropy(said: Probabilities, vectors: Vectors, count: int, _: np.random.Generator) -> Places:
    """Take the highest entropies."""
    entropy = -(said * np.log(np.clip(said, 1e-12, 1.0))).sum(axis=1)
    return np.argsort(-entropy, kind="stable")[:count]


def by_crowd(said: Probabilities, vectors: Vectors, count: int, _: np.random.Generator) -> Places:
    """Take small margins in crowded places: the margin is weighed by the rank of the density."""
    alike = vectors @ vectors.T
    near = np.sort(alike, axis=1)[:, -_CROWD - 1 : -1].mean(axis=1)
    rank = np.argsort(np.argsort(near)) / len(near)
    return np.argsort(-uncertainty(said) * (0.5 + rank), kind="stable")[:count]


def ours(said: Probabilities, vectors: Vectors, count: int, _: np.random.Generator) -> Places:
    """Take what Plata takes: doubt, label by label, then unlike one another."""
    return most_telling(said, vectors, count)


WAYS: Mapping[str, Way] = {
    RANDOM: by_lot,
    MARGIN: by_margin,
    "entropy": by_entropy,
    "margin × density": by_crowd,
    "Plata": ours,
}


@dataclass(frozen=True, slots=True)
class Point:
    """Macro-F1 after so many labels, the mean over repeats, and its 95 % interval."""

    split: str
    way: str
    labels: int
    macro_f1: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """A mean over repeats, and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One way on one set: the area under its curve over random's and the margin's, each repeat's.

    The area is over the logarithm of the number of labels. The interval (95 %, Student's) is of the
    mean over repeats: of other draws from the same texts. `random_labels` is how many labels drawn
    at random bring as much as `of_labels` chosen; None where even the most do not.
    """

    split: str
    way: str
    repeats: int
    area: float
    over_random: Ratio
    over_margin: Ratio
    of_labels: int
    random_labels: float | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, draw, print."""
    options = _options(arguments)
    try:
        lines, points = measure(Path(options.data), Path(options.home), options.repeats)
    except PlataError as error:
        fail(str(error))
        sys.exit(1)
    if options.pictures:
        draw(points, Path(options.pictures))
    values = {"lines": [asdict(line) for line in lines], "curves": [asdict(p) for p in points]}
    emit(values, as_json=options.json, table=lambda: _drawn(lines))


def measure(data: Path, home: Path, repeats: int) -> tuple[list[Line], list[Point]]:
    """Let every way choose, on every set."""
    lines: list[Line] = []
    points: list[Point] = []
    for one in (read_cdmx(data), read_ods(data, texts=ODS_TEXTS, seed=SEED)):
        sizes, scores = simulated(one, vectors_of(one.texts, home, told), repeats)
        lines += compared(one.name, sizes, scores)
        points += curves(one.name, sizes, scores)
    return lines, points


Scores = Mapping[str, NDArray[np.float64]]
"""Of each way macro-F1, a row a repeat, a column a number of labels."""


def simulated(one: RealSet, vectors: Vectors, repeats: int) -> tuple[tuple[int, ...], Scores]:
    """Let the ways choose in turns, repeat by repeat."""
    fewest = round((1 - 1 / _PARTS) * len(one.texts) * _MOST)
    sizes = tuple(size for size in SIZES if size <= fewest)
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for repeat in range(repeats):
        told(f"{one.name}: choosing labels", repeat, repeats)
        cut = StratifiedGroupKFold(_PARTS, shuffle=True, random_state=SEED + repeat)
        asked, judged = next(iter(cut.split(one.texts, one.truth, one.groups)))
        for way in WAYS:
            found[way].append(_curve(way, one, vectors, asked, judged, sizes, SEED + repeat))
    told(f"{one.name}: choosing labels", repeats, repeats)
    return sizes, {way: np.array(rows) for way, rows in found.items()}


def _curve(
    way: str,
    one: RealSet,
    vectors: Vectors,
    asked: Places,
    judged: Places,
    sizes: Sequence[int],
    seed: int,
) -> list[float]:
    lot = np.random.default_rng(seed)
    known = lot.permutation(asked)[: sizes[0]]
    scores = []
    for size in sizes:
        if size > len(known):
            rest = np.setdiff1d(asked, known)
            said = _said(vectors, known, one.truth[known], rest)
            chosen = WAYS[way](said, vectors[rest], size - len(known), lot)
            known = np.concatenate([known, rest[chosen]])
        present = np.unique(one.truth[known])
        answers = present[best(_said(vectors, known, one.truth[known], judged))]
        scores.append(macro(one.truth[judged], answers, len(one.labels)))
    return scores


def _said(vectors: Vectors, known: Places, truth: Places, asked: Places) -> Probabilities:
    """Fit on the embeddings of the known, as `plata models train` does, and score the asked."""
    present, places = np.unique(truth, return_inverse=True)
    names = tuple(map(str, present))
    model = fit_uncalibrated(
        _rows(vectors[known]), places, names, features=Features.EMBEDDING, seed=SEED
    )
    return model.predict_proba(_rows(vectors[asked]))


def _rows(vectors: Vectors) -> pa.Table:
    return pa.table({"embedding": as_lists(vectors)})


def compared(split: str, sizes: Sequence[int], scores: Scores) -> list[Line]:
    """Hold each way's area under the curve against random's and the margin's of the same repeat."""
    areas = {way: _area(sizes, rows) for way, rows in scores.items()}
    middle = len(sizes) // 2
    lines = []
    for way, own in areas.items():
        reached = float(scores[way].mean(axis=0)[middle])
        lines.append(
            Line(
                split=split,
                way=way,
                repeats=len(own),
                area=float(own.mean()),
                over_random=Ratio(*_interval(own / areas[RANDOM])),
                over_margin=Ratio(*_interval(own / areas[MARGIN])),
                of_labels=sizes[middle],
                random_labels=_labels_for(reached, sizes, scores[RANDOM].mean(axis=0)),
            )
        )
    return lines


def _area(sizes: Sequence[int], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.log(sizes)
    found: NDArray[np.float64] = np.trapezoid(rows, places, axis=1) / (places[-1] - places[0])
    return found


def _labels_for(reached: float, sizes: Sequence[int], curve: NDArray[np.float64]) -> float | None:
    """Return how many labels the curve needs to reach a score, between the measured ones by log."""
    rising = np.maximum.accumulate(curve)
    if reached > rising[-1]:
        return None
    return float(np.exp(np.interp(reached, rising, np.log(sizes))))


def curves(split: str, sizes: Sequence[int], scores: Scores) -> list[Point]:
    """Return the curve of each way."""
    return [
        Point(split, way, size, *_interval(rows[:, place]))
        for way, rows in scores.items()
        for place, size in enumerate(sizes)
    ]


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval, by Student's t; a single value has none."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, mean, mean
    half = float(student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half


def draw(points: Sequence[Point], folder: Path) -> None:
    """Draw a picture a set: the curves, and how far each is above random's."""
    for split in dict.fromkeys(point.split for point in points):
        figure = Figure(figsize=(5.6, 4), layout="constrained")
        axes = figure.subplots()
        for way in WAYS:
            own = [p for p in points if (p.split, p.way) == (split, way)]
            sizes = [p.labels for p in own]
            (line,) = axes.plot(sizes, [p.macro_f1 for p in own], "o-", label=way, markersize=3)
            axes.fill_between(
                sizes,
                [p.low for p in own],
                [p.high for p in own],
                alpha=0.12,
                color=line.get_color(),
            )
        axes.set(xlabel="labels", ylabel="macro-F1", title=split, xscale="log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"active-{split}.png", dpi=110)


def _drawn(lines: Sequence[Line]) -> Table:
    table = Table(
        title=f"Labels chosen, {lines[0].repeats} repeats",
        title_justify="left",
        header_style="bold",
    )
    for name in ("set", "way"):
        table.add_column(name)
    for name in ("area", "over random", "over margin", "labels", "as many at random"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.split,
            line.way,
            f"{line.area:.3f}",
            _shown(line.over_random),
            _shown(line.over_margin),
            f"{line.of_labels}",
            "more than there are" if line.random_labels is None else f"{line.random_labels:.0f}",
        )
    return table


def _shown(ratio: Ratio) -> str:
    return f"{ratio.mean:.3f} ({ratio.low:.3f}–{ratio.high:.3f})"


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="benchmarks.active_learning", description=__doc__)
    data = os.environ.get("PLATA_DATA", "../shared/data")
    parser.add_argument("--data", default=data, help="the folder of the real sets (PLATA_DATA)")
    parser.add_argument("--home", default=".plata", help="where vectors are kept (.plata)")
    parser.add_argument("--pictures", help="a folder to draw learning curves into")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"default {REPEATS}")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
