"""Guarantees on the real sets: does what is promised hold on other answers, and on later ones?

Models are TF-IDF (words and pairs of them) with logistic regression; near-duplicates of a text a
model learned from are in no sample, and none in what it is judged on. For drift the texts stand as
100 directions of their TF-IDF (SVD), in the place of Plata's embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.real_sets import RealSet, read_cdmx, read_ods
from features.text import describe
from models.guarantee import GuaranteeTerms, Looked, Promise, broken_by, promises_of
from monitoring.drift import (
    COLUMNS,
    EMBEDDING,
    LABEL,
    SCORE,
    DriftPolicy,
    DriftVerdict,
    detect_drift,
)

SEED = 20260101
_DRAWS = 100
_LEARNED = 0.5
"""Of CDMX's texts of 2017, what models learn from: near-duplicates stay on one side."""
_TRAININGS = 3
_DIRECTIONS = 100
_SHIFTS = 20
_WINDOW, _AUDITED = 2_000, 400

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RealLine:
    """Guarantees of one kind judged on answers they were not proven from, means over repeats.

    `broken` is the share of the repeats in which the error was above `alpha`; for shifts, the share
    that was withdrawn within one window. `said` tells how sure that is, or what drift was found.
    """

    name: str
    judged_on: str
    alpha: float
    labels: int
    repeats: int
    coverage: float
    error: float
    broken: float
    said: str


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers of a model about texts, and whether they are right."""

    said: NDArray[np.str_]
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    texts: tuple[str, ...]

    def some(self, places: Places) -> Judged:
        """Keep the chosen ones, in this order."""
        texts = tuple(self.texts[n] for n in places)
        return Judged(self.said[places], self.scores[places], self.right[places], texts)


class Model:
    """TF-IDF with logistic regression, learned from some texts of a set."""

    def __init__(self, found: RealSet, learned: Places) -> None:
        self._set = found
        self._vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        features = self._vectors.fit_transform([found.texts[n] for n in learned])
        self._answers = LogisticRegression(C=10, max_iter=300)
        self._answers.fit(features, found.truth[learned])
        self.directions = TruncatedSVD(_DIRECTIONS, random_state=SEED).fit(features)

    def judge(self, places: Places) -> Judged:
        """Answer texts of the set."""
        texts = tuple(self._set.texts[n] for n in places)
        told = self._answers.predict_proba(self._vectors.transform(texts))
        best = told.argmax(axis=1)
        answered = self._answers.classes_[best]
        names = np.array(self._set.labels)[answered]
        return Judged(names, told.max(axis=1), answered == self._set.truth[places], texts)

    def judge_strange(self, texts: tuple[str, ...]) -> Judged:
        """Answer texts of another domain: none of the labels is right."""
        told = self._answers.predict_proba(self._vectors.transform(texts))
        names = np.array(self._set.labels)[self._answers.classes_[told.argmax(axis=1)]]
        return Judged(names, told.max(axis=1), np.zeros(len(texts), np.bool_), texts)

    def described(self, answers: Judged) -> pa.Table:
        """Return answers as drift is measured on them."""
        vectors = self.directions.transform(self._vectors.transform(answers.texts))
        about = describe(pa.array(answers.texts))
        columns = {name: about[name] for name in about.column_names}
        columns |= {LABEL: pa.array(answers.said.tolist()), SCORE: pa.array(answers.scores)}
        columns[EMBEDDING] = pa.array(vectors.astype(np.float32).tolist(), pa.list_(pa.float32()))
        return pa.table({name: columns[name] for name in COLUMNS})


def _together(terms: GuaranteeTerms, found: RealSet) -> GuaranteeTerms:
    """Promise about all labels together: the sets are too small for each alone."""
    return GuaranteeTerms(terms.alpha, terms.delta, groups=(found.labels,))


def _promise(sample: Judged, others: Judged, alpha: float, found: RealSet) -> Promise:
    rows = pa.table(
        {
            "predicted_label": [*sample.said.tolist(), *others.said.tolist()],
            "score": np.concatenate([sample.scores, others.scores]),
            "drawn": [True] * len(sample.said) + [False] * len(others.said),
            "right": np.concatenate([sample.right, others.right]),
        }
    )
    terms = _together(GuaranteeTerms(alpha, 0.1), found)
    return promises_of(rows, terms, found.labels)[0]


def _held(promise: Promise, later: Judged) -> tuple[float, float]:
    """Return how much is accepted of answers, and the error among it."""
    if promise.accept_at is None:
        return 0.0, 0.0
    taken = later.scores >= promise.accept_at
    return float(taken.mean()), float((~later.right[taken]).mean()) if taken.any() else 0.0


def later_lines(data: Path) -> Iterator[RealLine]:
    """Judge guarantees on answers beside the sample (no drift), and in CDMX on later ones."""
    ods = read_ods(data, texts=10_000, seed=SEED)
    yield from _beside(ods, np.arange(len(ods.texts)), 0.5, "ods", (0.05, 0.1), (500, 1_000, 1_500))
    cdmx = read_cdmx(data)
    year_one = np.flatnonzero(cdmx.days < "2018-01-01")
    yield from _beside(cdmx, year_one, _LEARNED, "cdmx 2017", (0.3,), (150,))
    yield from _later(cdmx, year_one)


def _beside(
    found: RealSet,
    places: Places,
    learned: float,
    name: str,
    alphas: tuple[float, ...],
    sizes: tuple[int, ...],
) -> Iterator[RealLine]:
    """Draw samples among texts the model did not learn from, and judge on the rest of them.

    The error that counts is that of all the texts it could have been drawn from: they are what the
    sample speaks of. Of the rest alone it would be a little higher or lower by chance.
    """
    tried = {(alpha, size): list[tuple[float, float, bool]]() for alpha in alphas for size in sizes}
    for training in range(_TRAININGS):
        rng = np.random.default_rng(SEED + training)
        groups = rng.permutation(np.unique(found.groups[places]))
        own = np.isin(found.groups[places], groups[: int(learned * len(groups))])
        model = Model(found, places[own])
        rest = model.judge(places[~own])
        for alpha, size in tried:
            for _ in range(_DRAWS):
                order = rng.permutation(len(rest.said))
                sample, others = rest.some(order[:size]), rest.some(order[size:])
                promise = _promise(sample, others, alpha, found)
                coverage, error = _held(promise, rest)
                tried[alpha, size].append((coverage, error, error > alpha))
    for (alpha, size), repeats in tried.items():
        coverage, error, broken = _means(repeats)
        most = binom.ppf(0.999, len(repeats), 0.1) / len(repeats)
        said = f"at most {most:.3f} broken is as promised"
        judged = "the same days"
        yield RealLine(name, judged, alpha, size, len(repeats), coverage, error, broken, said)


def _means(repeats: list[tuple[float, float, bool]]) -> tuple[float, float, float]:
    coverage, error, broken = (float(np.mean(column)) for column in zip(*repeats, strict=True))
    return coverage, error, broken


def _later(cdmx: RealSet, year_one: Places) -> Iterator[RealLine]:
    """Promise from the rest of 2017 and judge on 2018; and from its first half on the second."""
    rng = np.random.default_rng(SEED)
    groups = rng.permutation(np.unique(cdmx.groups[year_one]))
    taught = groups[: int(_LEARNED * len(groups))]
    model = Model(cdmx, year_one[np.isin(cdmx.groups[year_one], taught)])
    fresh = np.flatnonzero(~np.isin(cdmx.groups, taught))
    days = cdmx.days[fresh]
    before = days < "2018-01-01"
    middle = np.sort(days[before])[int(before.sum()) // 2]
    yield from _judged_later("second half of 2017", cdmx, model, fresh, days < middle, before, rng)
    for number, (first, last) in enumerate(_QUARTERS, start=1):
        inside = (days >= first) & (days < last)
        yield from _judged_later(
            f"quarter {number} of 2018", cdmx, model, fresh, before, inside, rng
        )


def _judged_later(
    name: str,
    cdmx: RealSet,
    model: Model,
    fresh: Places,
    early: NDArray[np.bool_],
    late: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Iterator[RealLine]:
    reference, later = model.judge(fresh[early]), model.judge(fresh[late & ~early])
    tables = model.described(reference), model.described(later)
    verdict = detect_drift(*tables, DriftPolicy(), seed=SEED).verdict
    size = 2 * len(reference.said) // 3
    alpha, gone = 0.3, 0
    tried = []
    for _ in range(_DRAWS):
        order = rng.permutation(len(reference.said))
        sample, others = reference.some(order[:size]), reference.some(order[size:])
        promise = _promise(sample, others, alpha, cdmx)
        coverage, error = _held(promise, later)
        tried.append((coverage, error, error > alpha))
        gone += _withdrawn(promise, later, alpha, rng)
    said = f"{verdict.value}; the audit withdraws {gone / _DRAWS:.2f}"
    judged = f"{name} ({len(later.said)} texts)"
    yield RealLine("cdmx 2017", judged, alpha, size, _DRAWS, *_means(tried), said)


_QUARTERS = (
    ("2018-01-01", "2018-04-01"),
    ("2018-04-01", "2018-07-01"),
    ("2018-07-01", "2018-10-01"),
    ("2018-10-01", "2019-01-01"),
)


def _withdrawn(promise: Promise, window: Judged, alpha: float, rng: np.random.Generator) -> bool:
    """Audit so many of a window's answers, and look whether the accepted are too often wrong."""
    if promise.accept_at is None:
        return False
    audited = rng.permutation(len(window.said))[:_AUDITED]
    taken = audited[window.scores[audited] >= promise.accept_at]
    wrong = ~window.right[taken]
    newest = wrong[-200:]
    look = Looked(("all",), len(wrong), int(wrong.sum()), len(newest), int(newest.sum()))
    return broken_by([look], alpha) is not None


def shift_lines(data: Path) -> Iterator[RealLine]:
    """Shift a window of ODS answers, and see whether drift or the audit withdraws within it."""
    ods = read_ods(data, texts=10_000, seed=SEED)
    rng = np.random.default_rng(SEED)
    places = rng.permutation(len(ods.texts))
    model = Model(ods, places[: len(places) // 2])
    rest = model.judge(places[len(places) // 2 :])
    half = len(rest.said) // 2
    before, after = rest.some(np.arange(half)), rest.some(np.arange(half, len(rest.said)))
    reference = model.described(before)
    strange = model.judge_strange(read_cdmx(data).texts)
    swapped = _swapped(after, ods)
    windows: dict[str, Callable[[], Judged]] = {
        "no shift": lambda: _drawn(after, rng),
        "half the texts from another domain": lambda: _mixed(after, strange, 0.5, rng),
        "a quarter from another domain": lambda: _mixed(after, strange, 0.25, rng),
        "three topics make up most": lambda: _tilted(after, rng),
        "a third of the labels mean another": lambda: _drawn(swapped, rng),
    }
    for name, window in windows.items():
        alpha, drifts, audits, either, errors, coverages = 0.1, 0, 0, 0, [], []
        for _ in range(_SHIFTS):
            order = rng.permutation(half)
            size = min(1_000, half - 200)
            promise = _promise(before.some(order[:size]), before.some(order[size:]), alpha, ods)
            now = window()
            described = model.described(now)
            verdict = detect_drift(reference, described, DriftPolicy(), seed=SEED).verdict
            drift, audit = verdict is DriftVerdict.DRIFT, _withdrawn(promise, now, alpha, rng)
            drifts, audits, either = drifts + drift, audits + audit, either + (drift or audit)
            coverage, error = _held(promise, now)
            errors.append(error)
            coverages.append(coverage)
        said = f"withdrawn: by drift {drifts / _SHIFTS:.2f}, by the audit {audits / _SHIFTS:.2f}"
        counts = (_SHIFTS, float(np.mean(coverages)), float(np.mean(errors)), either / _SHIFTS)
        yield RealLine("ods", name, alpha, 1_000, *counts, said)


def _drawn(own: Judged, rng: np.random.Generator) -> Judged:
    return own.some(rng.integers(len(own.said), size=_WINDOW))


def _mixed(own: Judged, strange: Judged, share: float, rng: np.random.Generator) -> Judged:
    foreign = int(share * _WINDOW)
    one = own.some(rng.integers(len(own.said), size=_WINDOW - foreign))
    other = strange.some(rng.integers(len(strange.said), size=foreign))
    return Judged(
        np.concatenate([one.said, other.said]),
        np.concatenate([one.scores, other.scores]),
        np.concatenate([one.right, other.right]),
        (*one.texts, *other.texts),
    )


def _tilted(own: Judged, rng: np.random.Generator) -> Judged:
    """Let the three topics that are wrong most often make up most of what comes in."""
    names = np.unique(own.said)
    worst = names[np.argsort([own.right[own.said == name].mean() for name in names])[:3]]
    weights = np.where(np.isin(own.said, worst), 8.0, 1.0)
    return own.some(rng.choice(len(own.said), size=_WINDOW, p=weights / weights.sum()))


def _swapped(own: Judged, found: RealSet) -> Judged:
    """Let people mean another label by a third of them: nothing in the texts tells."""
    changed = np.isin(own.said, np.array(found.labels)[::3])
    return Judged(own.said, own.scores, own.right & ~changed, own.texts)
