"""Classification as a step over batches: what a worker builds once and keeps."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from lakehouse.compute.batches import Step
from models.classifier import answers, require_labels


def classify_step(folder: str, labels: list[str], template: str | None = None) -> Step:
    """Build the step that answers rows of ticket_id, text and embedding.

    `folder` holds a registered model; `template` is the text of the prompt it reads, such as the
    zero-shot prompt of an embedding model, whose vectors the rows have. Gives ticket_id,
    predicted_label, score, probabilities (a JSON object in the order of `labels`) and explanation.
    """
    from models.artifacts import load

    classifier = load(Path(folder), template)
    order = tuple(labels)
    require_labels(classifier, order)

    def classify(rows: pa.Table) -> pa.Table:
        return answers(classifier, rows, order)

    return classify
