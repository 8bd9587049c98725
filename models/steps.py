"""Classification as a step over batches: what a worker builds once and keeps."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from lakehouse.compute.batches import Step
from models.classifier import answers
from registry.errors import ArtifactError


def classify_step(folder: str, labels: list[str], template: str | None = None) -> Step:
    """Build the step that answers rows of ticket_id, text and embedding.

    `folder` holds a registered model; with `template`, the text of a zero-shot prompt, it holds
    the embedding model the rows' vectors come from. Gives ticket_id, predicted_label, score,
    probabilities (a JSON object in the order of `labels`) and explanation.
    """
    from models.artifacts import load, load_zero_shot

    place = Path(folder)
    classifier = load(place) if template is None else load_zero_shot(place, template)
    order = tuple(labels)
    if set(classifier.labels) != set(order):
        msg = (
            f"the model answers {', '.join(sorted(classifier.labels))}; the task wants "
            f"{', '.join(sorted(order))}. Train or register a version for the task as it is now"
        )
        raise ArtifactError(msg)

    def classify(rows: pa.Table) -> pa.Table:
        return answers(classifier, rows, order)

    return classify
