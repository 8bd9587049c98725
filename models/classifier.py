"""The port every family of models answers through, and the answers as columns."""

from __future__ import annotations

import json
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry.errors import ArtifactError

Probabilities = NDArray[np.float64]
"""One row a text, one column a label, in the order of the labels; rows sum to one."""


class Classifier(Protocol):
    """Something that says how probable each label is, and why, in words a reviewer reads."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers it knows, in the order of its probabilities."""
        ...

    def predict_proba(self, rows: pa.Table) -> Probabilities:
        """Score rows that have `text`, and `embedding` where the model reads it.

        A row is NaN where the model gave no answer, as one that is asked over a network may.
        """
        ...

    def explain(self, rows: pa.Table, probabilities: Probabilities) -> list[str]:
        """Say why, for the most probable label of each row; quotes single terms at most.

        Where there is no answer, why there is none, in one word.
        """
        ...


def best(probabilities: Probabilities) -> NDArray[np.int64]:
    """Return the position of each row's most probable label, the first of equals."""
    return np.asarray(probabilities.argmax(axis=1), np.int64)


def require_labels(classifier: Classifier, labels: tuple[str, ...]) -> None:
    """Raise `ArtifactError` unless the model answers with a task's labels."""
    if set(classifier.labels) == set(labels):
        return
    msg = (
        f"the model answers {', '.join(sorted(classifier.labels))}; the task wants "
        f"{', '.join(sorted(labels))}. Train or register a version for the task as it is now"
    )
    raise ArtifactError(msg)


def answers(classifier: Classifier, rows: pa.Table, labels: tuple[str, ...]) -> pa.Table:
    """Return ticket_id, predicted_label, score, probabilities and explanation of each row.

    `labels` is the order in which probabilities are written: a JSON object, rounded to six
    decimals. A row without an answer has no label, score or probabilities, and the reason for
    explanation.
    """
    if len(rows) == 0:
        return _ANSWERS.empty_table()
    found = classifier.predict_proba(rows)
    order = [classifier.labels.index(label) for label in labels]
    probabilities = np.ascontiguousarray(found[:, order])
    silent = np.isnan(probabilities).any(axis=1)
    chosen = [labels[place] for place in best(probabilities)]
    written = [_as_json(labels, row) for row in probabilities.tolist()]
    return pa.table(
        [
            rows["ticket_id"].cast(pa.string()),
            pa.array(chosen, pa.string(), mask=silent),
            pa.array(probabilities.max(axis=1), mask=silent),
            pa.array(written, pa.string(), mask=silent),
            pa.array(classifier.explain(rows, found)),
        ],
        schema=_ANSWERS,
    )


_ANSWERS = pa.schema(
    {
        "ticket_id": pa.string(),
        "predicted_label": pa.string(),
        "score": pa.float64(),
        "probabilities": pa.string(),
        "explanation": pa.string(),
    }
)


def _as_json(labels: tuple[str, ...], row: list[float]) -> str:
    values = {label: round(p, 6) for label, p in zip(labels, row, strict=True)}
    return json.dumps(values, ensure_ascii=False)
