"""Which labels that stand deserve a second look, by what the model said before it could know them.

A person labels a ticket after a model answered it, so the answer that was shown is out of sample by
itself: no model is trained for this.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import polars as pl

from contracts.tables import CLASSIFICATIONS
from labeling.label_errors import doubts
from lakehouse.data.tables import TableStore
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.answered import CHAMPION
from pipelines.standing_labels import standing_labels


@dataclass(frozen=True, slots=True)
class LabelDoubt:
    """A label that stands, and the one the model was confident of instead."""

    ticket_id: str
    label: str
    instead: str
    own: float
    margin: float
    reviewers: int


@dataclass(frozen=True, slots=True)
class DoubtedLabels:
    """A task's labels in doubt, the worst first, out of `compared` that could be judged."""

    task: str
    labels: int
    compared: int
    found: tuple[LabelDoubt, ...]


def doubted_labels(task: Task, tenant: TenantContext, store: TableStore) -> DoubtedLabels:
    """Compare the labels that stand with the answers that reviewers were shown."""
    stand = pl.DataFrame(pl.from_arrow(standing_labels(task.name, tenant, store)))
    known = stand.filter(pl.col("label").is_in(list(task.labels)))
    shown = known.join(
        _answers(task, tenant, store), on=["ticket_id", "model_name", "model_version"]
    ).sort("ticket_id")
    places = {label: place for place, label in enumerate(task.labels)}
    given = np.array([places[label] for label in shown["label"]], np.int64)
    said = [json.loads(text) for text in shown["probabilities"]]
    rows = [[float(one.get(label, 0.0)) for label in task.labels] for one in said]
    found = doubts(given, np.array(rows, np.float64).reshape(len(rows), len(task.labels)))
    told = zip(found.places, found.instead, found.own, found.margin, strict=True)
    return DoubtedLabels(
        task.name,
        len(stand),
        len(shown),
        tuple(
            LabelDoubt(
                shown["ticket_id"][int(place)],
                shown["label"][int(place)],
                task.labels[int(instead)],
                float(own),
                float(margin),
                shown["reviewers"][int(place)],
            )
            for place, instead, own, margin in told
        ),
    )


def _answers(task: Task, tenant: TenantContext, store: TableStore) -> pl.DataFrame:
    """Read what each version of a model first said of a ticket, with all its probabilities."""
    keys = ["ticket_id", "model_name", "model_version"]
    columns = [*keys, "task", "tier", "probabilities", "inference_timestamp"]
    rows = store.scan(CLASSIFICATIONS.table, tenant, columns=columns)
    found = (CLASSIFICATIONS.empty() if rows is None else rows).select(columns)
    return (
        pl.DataFrame(pl.from_arrow(found))
        .filter(pl.col("probabilities").is_not_null(), task=task.name, tier=CHAMPION)
        .sort("inference_timestamp")
        .unique(keys, keep="first")
        .select(*keys, "probabilities")
    )
