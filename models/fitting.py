"""Fit a linear model: the only place where weights are learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from models.linear import Features, LinearClassifier, Weights, matrix, texts

FOLDS = 5
_STRENGTH = 10.0
"""How little the weights are held back (C). Chosen inside the training part of the corpus."""


def fit(
    rows: pa.Table,
    truth: NDArray[np.int64],
    labels: tuple[str, ...],
    *,
    features: Features,
    seed: int,
) -> LinearClassifier:
    """Fit on rows that have `text` and `embedding`; `truth` is positions in `labels`.

    Probabilities are calibrated by one temperature, found on answers to texts the regression had
    not seen (five folds). Needs `FOLDS` rows of every label.
    """
    word, char, given = _given(rows, features)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    calibrated = CalibratedClassifierCV(
        _regression(seed), method="temperature", cv=folds, ensemble=False
    )
    calibrated.fit(given, truth)
    (fitted,) = calibrated.calibrated_classifiers_
    sharpness = float(fitted.calibrators[0].beta_)
    return LinearClassifier(labels, features, word, char, _weights(fitted.estimator, sharpness))


def fit_uncalibrated(
    rows: pa.Table,
    truth: NDArray[np.int64],
    labels: tuple[str, ...],
    *,
    features: Features,
    seed: int,
) -> LinearClassifier:
    """Fit without finding the temperature: the answers of `fit`, with scores that mean nothing."""
    word, char, given = _given(rows, features)
    regression = _regression(seed).fit(given, truth)
    return LinearClassifier(labels, features, word, char, _weights(regression, 1.0))


def _given(
    rows: pa.Table, features: Features
) -> tuple[TfidfVectorizer | None, TfidfVectorizer | None, Any]:
    word, char = _vectorizers(rows) if features.words else (None, None)
    return word, char, matrix(rows, features, word, char)


def _regression(seed: int) -> LogisticRegression:
    return LogisticRegression(
        C=_STRENGTH, class_weight="balanced", max_iter=2_000, random_state=seed
    )


def _weights(fitted: LogisticRegression, sharpness: float) -> Weights:
    """Take out the numbers; of two labels scikit-learn keeps only the second's."""
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(coefficients) == 1:
        coefficients, intercepts = (np.concatenate([-w, w]) for w in (coefficients, intercepts))
    return Weights(coefficients, intercepts, sharpness)


def _vectorizers(rows: pa.Table) -> tuple[TfidfVectorizer, TfidfVectorizer]:
    read = texts(rows)
    word = TfidfVectorizer(
        ngram_range=(1, 2),
        min_df=2,
        strip_accents="unicode",
        sublinear_tf=True,
        token_pattern=r"(?u)\b\w\w+\b",
        max_features=20_000,
    )
    char = TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 5),
        min_df=3,
        strip_accents="unicode",
        sublinear_tf=True,
        max_features=30_000,
    )
    return word.fit(read), char.fit(read)
