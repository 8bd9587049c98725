"""Ask a challenger and a champion about the same texts as a run would ask them, and time them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakehouse.compute.batches import Cluster
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from models.classifier import Probabilities
from models.folder import EMBEDDING, family_of, read_config
from models.task import Task
from pipelines.enrich import Enricher, ModelSteps
from pipelines.steps import Progress, unobserved, untold
from registry.bundles import Bundle, TaskPins
from registry.refs import ModelRef, PromptRef, Registry

TIMED_TEXTS = 40
_PER = 1_000


@dataclass(frozen=True, slots=True)
class Asking:
    """One evaluation's way to ask bundles as a run would; vectors are kept, texts asked once."""

    run: RunContext
    store: TableStore
    registry: Registry
    models: ModelSteps
    cluster: Cluster | None
    _vectors: dict[tuple[ModelRef, PromptRef, tuple[str, ...]], pa.ChunkedArray] = field(
        default_factory=dict
    )

    def vectors(
        self, bundle: Bundle, texts: tuple[str, ...], *, progress: Progress = untold
    ) -> pa.ChunkedArray:
        """Return a vector a text, of the bundle's embedding."""
        key = (bundle.embedding, bundle.embedding_prompt, texts)
        if key not in self._vectors:
            rows = pa.table({"text": pa.array(texts, pa.string())})
            enricher = self._enricher(bundle, self.cluster)
            self._vectors[key] = enricher.vectors(rows, progress=progress)
        return self._vectors[key]

    def probabilities(
        self, bundle: Bundle, task: Task, texts: tuple[str, ...], *, progress: Progress = untold
    ) -> Probabilities:
        """Return a row a text, by the task's labels; NaN where the champion gave no answer."""
        pins = pins_of(bundle, task.name)
        rows = _questions(texts, self.vectors(bundle, texts))
        answers = self._enricher(bundle, self.cluster).ask(rows, pins, progress=progress)
        return _matrix(answers["probabilities"].to_pylist(), task.labels)

    def seconds(self, bundle: Bundle, task: Task, texts: tuple[str, ...]) -> float:
        """Measure the processor time of this process for a thousand texts, on some of them.

        Embedding counts where the model reads vectors. What is loaded once is not counted.
        """
        pins = pins_of(bundle, task.name)
        here = self._enricher(bundle, None)
        every = range(0, len(texts), max(1, len(texts) // TIMED_TEXTS))
        places = pa.array(list(every)[:TIMED_TEXTS])
        rows = _questions(texts, self.vectors(bundle, texts)).take(places)
        here.ask(rows.slice(0, 1), pins)
        spent = 0.0
        if reads_vectors(pins, self.registry):
            here.vectors(rows.select(["text"]).slice(0, 1))
            began = time.process_time()
            here.vectors(rows.select(["text"]))
            spent = time.process_time() - began
        began = time.process_time()
        here.ask(rows, pins)
        return (spent + time.process_time() - began) / len(rows) * _PER

    def _enricher(self, bundle: Bundle, cluster: Cluster | None) -> Enricher:
        return Enricher(
            run=self.run,
            bundle=bundle,
            store=self.store,
            registry=self.registry,
            models=self.models,
            cluster=cluster,
            on_step=unobserved,
        )


def pins_of(bundle: Bundle, task: str) -> TaskPins:
    """Return a bundle's versions for a task that it has."""
    return next(pins for pins in bundle.tasks if pins.task == task)


def reads_vectors(pins: TaskPins, registry: Registry) -> bool:
    """Whether the champion of a task reads embeddings besides the text."""
    folder = registry.fetch(pins.champion)
    return family_of(folder) == EMBEDDING or "embedding" in read_config(folder)


def counted_as_wrong(
    probabilities: Probabilities, truth: NDArray[np.int64]
) -> tuple[Probabilities, int]:
    """Put, where there is no answer, one that is surely wrong; return how many there were."""
    silent = np.isnan(probabilities).any(axis=1)
    labels = probabilities.shape[1]
    instead = np.full((int(silent.sum()), labels), 1 / (labels - 1))
    instead[np.arange(len(instead)), truth[silent]] = 0.0
    filled = probabilities.copy()
    filled[silent] = instead
    return filled, len(instead)


def _questions(texts: tuple[str, ...], vectors: pa.ChunkedArray) -> pa.Table:
    names = [f"{number:08d}" for number in range(len(texts))]
    return pa.table({"ticket_id": names, "text": pa.array(texts, pa.string())}).append_column(
        "embedding", vectors
    )


def _matrix(written: list[str | None], labels: tuple[str, ...]) -> Probabilities:
    rows = np.full((len(written), len(labels)), np.nan)
    for place, text in enumerate(written):
        if text is not None:
            found = json.loads(text)
            rows[place] = [found[label] for label in labels]
    return rows
