"""The linear family: word and character weights, embeddings or both, under a calibrated regression.

The words a label was chosen for can be read off the weights, which is why it explains itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import softmax

from features.embed import as_matrix, flat
from models.classifier import Probabilities, best

if TYPE_CHECKING:  # a worker that reads embeddings alone never imports scikit-learn
    from sklearn.feature_extraction.text import TfidfVectorizer

_MOST_SHOWN = 4
_SHORTEST = 4
"""Letters a word must have to be shown: shorter ones explain nothing."""
_DIGIT = re.compile(r"\d")


class Features(StrEnum):
    """What the regression reads."""

    TFIDF = "tfidf"
    EMBEDDING = "embedding"
    BOTH = "both"

    @property
    def words(self) -> bool:
        """Whether texts are read."""
        return self is not Features.EMBEDDING

    @property
    def vectors(self) -> bool:
        """Whether embeddings are read."""
        return self is not Features.TFIDF


@dataclass(frozen=True, slots=True)
class Weights:
    """What a calibrated logistic regression learned.

    `coefficients` has a row a label and a column a feature, `intercepts` a number a label. The
    scores are divided by one temperature (Guo et al., 2017); `sharpness` is its inverse.
    """

    coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    sharpness: float

    def probabilities(self, given: Any) -> Probabilities:
        """Return the labels' probabilities, a row a text.

        Each row is summed by itself, so an answer does not depend on the texts beside it.
        """
        scores = sparse.csr_array(given) @ self.coefficients.T + self.intercepts
        return np.asarray(softmax(self.sharpness * scores, axis=1), np.float64)


@dataclass(frozen=True, slots=True)
class LinearClassifier:
    """A fitted model. `word` and `char` are None where it reads only embeddings."""

    labels: tuple[str, ...]
    features: Features
    word: TfidfVectorizer | None
    char: TfidfVectorizer | None
    weights: Weights

    def predict_proba(self, rows: pa.Table) -> Probabilities:
        """Return calibrated probabilities."""
        if len(rows) == 0:
            return np.zeros((0, len(self.labels)))
        return self.weights.probabilities(matrix(rows, self.features, self.word, self.char))

    def explain(self, rows: pa.Table, probabilities: Probabilities) -> list[str]:
        """Name the words of the text that weigh most for the chosen label."""
        if self.word is None:
            return ["Por semejanza con textos ya etiquetados."] * len(rows)
        given = self.word.transform(texts(rows))
        terms = self.word.get_feature_names_out()
        weights = self.weights.coefficients[:, : len(terms)]
        return [
            _reason(given[row], weights[label], terms)
            for row, label in enumerate(best(probabilities))
        ]


def matrix(
    rows: pa.Table,
    features: Features,
    word: TfidfVectorizer | None,
    char: TfidfVectorizer | None,
) -> Any:
    """Return what the regression reads: words, characters, then embeddings, in one matrix."""
    parts: list[Any] = []
    if word is not None and char is not None:
        read = texts(rows)
        parts += [word.transform(read), char.transform(read)]
    if features.vectors:
        parts.append(as_matrix(rows["embedding"]).astype(np.float64))
    return parts[0] if len(parts) == 1 else sparse.hstack(parts, format="csr")


def texts(rows: pa.Table) -> list[str]:
    """Return the texts, with digits hidden: numbers identify people, not kinds of request."""
    return [_DIGIT.sub("0", text or "") for text in flat(rows["text"]).to_pylist()]


def _reason(row: Any, weights: NDArray[np.float64], terms: NDArray[np.str_]) -> str:
    """Name single words only, and none with a digit."""
    gains = row.data * weights[row.indices]
    order = np.argsort(-gains, kind="stable")
    named = [str(terms[row.indices[n]]) for n in order if gains[n] > 0]
    long = [term for term in named if term.isalpha() and len(term) >= _SHORTEST]
    if not long:
        return "Sin palabras decisivas: por el conjunto del texto."
    return f"Palabras con más peso: {', '.join(long[:_MOST_SHOWN])}."
