"""What a model that was not trained answers about the bundled corpus, whose requests are made up.

The figures say whether it works at all, before anybody has labelled a text of the tenant's. They
are told as synthetic wherever they stand, and gates never read them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from models.classifier import Classifier
from models.evaluation import Evaluation, evaluate
from models.task import Task
from pipelines.demo_corpus import corpus

_LABELLED = ("tipo", "prioridad")
PREFIX = "synthetic/"
"""Before the name of every such figure."""

NOT_MEASURED = (
    "Not measured: that takes labelled texts, and nobody handed any in. `plata evaluate` measures "
    "it on yours.\n"
)


def corpus_evaluation(model: Classifier, task: Task) -> Evaluation | None:
    """Judge a model that reads texts; None where the corpus does not have the task's labels."""
    requests = corpus() if task.name in _LABELLED else []
    found = [str(request[task.name]) for request in requests]
    if set(found) != set(task.labels):
        return None
    truth = np.array([task.labels.index(label) for label in found], np.int64)
    order = [model.labels.index(label) for label in task.labels]
    rows = pa.table({"text": [str(request["texto"]) for request in requests]})
    return evaluate(model.predict_proba(rows)[:, order], truth, task.labels)


def as_metrics(found: Evaluation | None) -> dict[str, float]:
    """Return the figures by name; none where nothing was measured."""
    figures = {} if found is None else found.metrics()
    return {f"{PREFIX}{name}": value for name, value in figures.items()}


def as_words(found: Evaluation | None) -> str:
    """Say the figures on a card, or that there are none yet."""
    if found is None:
        return NOT_MEASURED
    texts = sum(score.support for score in found.labels.values())
    return (
        f"On the {texts} **synthetic** requests of the bundled corpus: accuracy "
        f"{found.accuracy:.3f}, macro-F1 {found.macro_f1:.3f}, ECE {found.ece:.3f}. They say "
        "nothing of how it does on the tenant's: `plata evaluate` measures that.\n"
    )
