"""Plata's models against plain TF-IDF and logistic regression, on the real sets, by a paired test.

    python -m benchmarks.real_models --data ../shared/data [--home .plata] [--curves docs/images]

Every model answers the same texts, none of which it learned from: five folds that keep
near-duplicates together, and for the dated set also training on 2017 and judging 2018. Embedding
takes most of the time and is done once: the vectors are kept under `--home`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.progress import told
from benchmarks.real_sets import RealSet, read_cdmx, read_ods, vectors_of
from features.embed import as_lists
from lakehouse.errors import PlataError
from models.classifier import best
from models.comparison import Comparison, Places, compare
from models.fitting import fit_uncalibrated
from models.intervals import macro_f1
from models.linear import Features
from serving.cli.output import emit, fail

PLAIN = "plain"
"""scikit-learn's TfidfVectorizer and LogisticRegression as they come."""
FOLDS = 5
SEED = 20260101
ODS_TEXTS = 2_500
_YEAR_ONE = "2018-01-01"
_CURVE_FOLDS = 2
_CURVE_SHARES = (0.125, 0.25, 0.5, 1.0)

Answer = Callable[[pa.Table, Places, pa.Table], Places]
"""Learns from rows and positions of labels, and answers other rows."""


@dataclass(frozen=True, slots=True)
class Line:
    """One model on one split. Lifts and p are against the plain and against Plata's own `tfidf`."""

    split: str
    model: str
    texts: int
    accuracy: float
    macro_f1: float
    against_plain: Comparison
    against_tfidf: Comparison


@dataclass(frozen=True, slots=True)
class Point:
    """Macro-F1 after learning from so many texts, the mean over folds."""

    split: str
    model: str
    texts: int
    macro_f1: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, draw, print."""
    options = _options(arguments)
    try:
        lines, points = measure(Path(options.data), Path(options.home), curves=options.curves)
    except PlataError as error:
        fail(str(error))
        sys.exit(1)
    if options.curves:
        draw_curves(points, Path(options.curves))
    values = {"lines": [asdict(line) for line in lines], "curves": [asdict(p) for p in points]}
    emit(values, as_json=options.json, table=lambda: _drawn(lines))


def measure(data: Path, home: Path, *, curves: bool) -> tuple[list[Line], list[Point]]:
    """Judge every model on every set."""
    lines: list[Line] = []
    points: list[Point] = []
    for one in (read_cdmx(data), read_ods(data, texts=ODS_TEXTS, seed=SEED)):
        rows = _rows(one, vectors_of(one.texts, home, told))
        name = f"{one.name}, near-duplicates grouped"
        lines += judged(name, one, rows, list(folds(one)))
        if one.days.any():
            lines += judged(f"{one.name}, 2017 → 2018", one, rows, [by_time(one)])
        if curves:
            points += learning(one.name, one, rows)
    return lines, points


Split = tuple[Places, Places]
"""Which texts are learned from, and which are answered."""


def folds(one: RealSet) -> Iterator[Split]:
    """Yield five splits, near-duplicates on one side; every text is answered once."""
    cut = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    yield from cut.split(one.texts, one.truth, one.groups)


def by_time(one: RealSet) -> Split:
    """Learn from 2017, answer what came later and nearly repeats nothing of 2017."""
    before = one.days < _YEAR_ONE
    later = ~before & ~np.isin(one.groups, one.groups[before])
    return np.flatnonzero(before), np.flatnonzero(later)


def judged(name: str, one: RealSet, rows: pa.Table, splits: Sequence[Split]) -> list[Line]:
    """Let every model answer, and compare the answers text by text, group by group."""
    labels = len(one.labels)
    asked = np.sort(np.concatenate([answered for _, answered in splits]))
    truth, groups = one.truth[asked], one.groups[asked]
    found: dict[str, Places] = {}
    for model, answer in MODELS.items():
        given = np.full(len(one.texts), -1)
        for number, (learned, answered) in enumerate(splits):
            told(f"{name}: {model}", number, len(splits))
            given[answered] = answer(rows.take(learned), one.truth[learned], rows.take(answered))
        found[model] = given[asked]

    def beside(model: str, other: str) -> Comparison:
        return compare(truth, found[model], found[other], labels=labels, seed=SEED, groups=groups)

    return [
        Line(
            name,
            model,
            len(asked),
            float((answers == truth).mean()),
            macro(truth, answers, labels),
            beside(model, PLAIN),
            beside(model, Features.TFIDF),
        )
        for model, answers in found.items()
    ]


def learning(name: str, one: RealSet, rows: pa.Table) -> list[Point]:
    """Let every model learn from ever more of a fold; each part is within the next."""
    labels = len(one.labels)
    random = np.random.default_rng(SEED)
    splits = list(folds(one))[:_CURVE_FOLDS]
    orders = [random.permutation(learned) for learned, _ in splits]
    points = []
    for model, answer in MODELS.items():
        for share in _CURVE_SHARES:
            told(f"{name}, learning curve: {model}", round(100 * share), 100)
            scores, sizes = [], []
            for order, (_, answered) in zip(orders, splits, strict=True):
                part = order[: round(share * len(order))]
                given = answer(rows.take(part), one.truth[part], rows.take(answered))
                scores.append(macro(one.truth[answered], given, labels))
                sizes.append(len(part))
            points.append(Point(name, model, round(np.mean(sizes)), float(np.mean(scores))))
    return points


def _plain(learned: pa.Table, truth: Places, asked: pa.Table) -> Places:
    words = TfidfVectorizer()
    given = words.fit_transform(learned["text"].to_pylist())
    model = LogisticRegression(max_iter=1_000).fit(given, truth)
    return np.asarray(model.predict(words.transform(asked["text"].to_pylist())), np.int64)


def _ours(features: Features) -> Answer:
    def answer(learned: pa.Table, truth: Places, asked: pa.Table) -> Places:
        present, places = np.unique(truth, return_inverse=True)
        names = tuple(map(str, present))
        model = fit_uncalibrated(learned, places, names, features=features, seed=SEED)
        return np.asarray(present[best(model.predict_proba(asked))], np.int64)

    return answer


MODELS: Mapping[str, Answer] = {PLAIN: _plain, **{f.value: _ours(f) for f in Features}}


def _rows(one: RealSet, vectors: NDArray[np.float32]) -> pa.Table:
    return pa.table({"text": pa.array(one.texts, pa.string()), "embedding": as_lists(vectors)})


def macro(truth: Places, answers: Places, labels: int) -> float:
    """Return macro-F1 of answers."""
    hits, said, true = (
        np.bincount(places, minlength=labels)
        for places in (truth[truth == answers], answers, truth)
    )
    return float(macro_f1(hits, said, true))


def draw_curves(points: Sequence[Point], folder: Path) -> None:
    """Draw a picture a set."""
    for name in dict.fromkeys(point.split for point in points):
        figure = Figure(figsize=(5.6, 4), layout="constrained")
        axes = figure.subplots()
        for model in MODELS:
            own = [p for p in points if (p.split, p.model) == (name, model)]
            axes.plot([p.texts for p in own], [p.macro_f1 for p in own], "o-", label=model)
        axes.set(xlabel="texts learned from", ylabel="macro-F1", title=name, xscale="log")
        sizes = sorted({point.texts for point in points if point.split == name})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"learning-{name}.png", dpi=110)


def _drawn(lines: Sequence[Line]) -> Table:
    table = Table(title="Real sets", title_justify="left", header_style="bold")
    for name in ("split", "model"):
        table.add_column(name)
    for name in ("texts", "accuracy", "macro-F1", "over plain", "p", "over tfidf", "p"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.split,
            line.model,
            f"{line.texts}",
            f"{line.accuracy:.3f}",
            f"{line.macro_f1:.3f}",
            f"{line.against_plain.macro_f1_lift:+.3f}",
            f"{line.against_plain.p_macro_f1:.4f}",
            f"{line.against_tfidf.macro_f1_lift:+.3f}",
            f"{line.against_tfidf.p_macro_f1:.4f}",
        )
    return table


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="benchmarks.real_models", description=__doc__)
    data = os.environ.get("PLATA_DATA", "../shared/data")
    parser.add_argument("--data", default=data, help="the folder of the real sets (PLATA_DATA)")
    parser.add_argument("--home", default=".plata", help="where vectors are kept (.plata)")
    parser.add_argument("--curves", help="a folder to draw learning curves into")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
