"""The texts an evaluation judges on: labels of a file, and what people answered in review."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.tables import LABELS
from lakehouse.data.tables import TableStore
from lakehouse.tenancy import TenantContext
from models.learned import Digests, learned
from models.slices import UNKNOWN, lengths
from models.splitting import first_of_each
from models.task import Task
from pipelines.answered import asked_text, first_words
from pipelines.labelled_texts import LabelsFile, read_labels
from pipelines.standing_labels import standing_labels

HELD_OUT = "held-out"
REASONS = ("audit", "doubt")
"""Why a person was asked. Audited tickets are drawn from all there are; the others are those the
champion of the time was not sure of, so only the first are a sample of all tickets. What was asked
to teach a model or to settle a disagreement judges none: it was chosen by what models said."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MONTH = 7


@dataclass(frozen=True, slots=True)
class Within:
    """Which of people's labels count: of tickets since a day, known by a moment; None is any.

    `version` is of the table of labels.
    """

    since: date | None = None
    as_of: datetime | None = None
    version: int | None = None


ALL_THERE_IS = Within()


@dataclass(frozen=True, slots=True)
class JudgedTexts:
    """Distinct texts with the positions of their labels. `slices` has a value a text.

    `left_out` counts what was not used, by reason.
    """

    name: str
    texts: tuple[str, ...]
    truth: NDArray[np.int64]
    slices: Mapping[str, tuple[str, ...]]
    source: str
    digest: str
    left_out: Mapping[str, int]

    def without(self, digests: Digests | None, reason: str) -> JudgedTexts:
        """Leave out the texts of these digests; None are none."""
        if digests is None:
            return self
        found = learned(self.texts, digests)
        kept = np.flatnonzero(~found)
        return replace(
            self,
            texts=_chosen(self.texts, kept),
            truth=self.truth[kept],
            slices={name: _chosen(values, kept) for name, values in self.slices.items()},
            left_out={**self.left_out, reason: int(found.sum())},
        )


def from_file(file: LabelsFile, task: Task) -> JudgedTexts:
    """Read labelled texts; `beside` names columns to slice by, of which days become months."""
    found = read_labels(file, task)
    return JudgedTexts(
        name=HELD_OUT,
        texts=found.texts,
        truth=found.truth,
        slices={name: _values(own) for name, own in found.beside.items()}
        | {"length": tuple(lengths(found.texts))},
        source=file.path.name,
        digest=found.sha256,
        left_out={"repeated": found.repeated, "blank": found.blank},
    )


def from_people(
    task: Task, tenant: TenantContext, store: TableStore, within: Within = ALL_THERE_IS
) -> Iterator[JudgedTexts]:
    """Yield what people answered about tickets, the audited and the doubtful apart.

    The label that stands of a ticket counts.
    """
    known = standing_labels(task.name, tenant, store, as_of=within.as_of, at=within.version)
    answers = pl.DataFrame(pl.from_arrow(known))
    if within.since is not None:
        answers = answers.filter(pl.col("day") >= within.since)
    asked = first_words(answers["ticket_id"].to_arrow(), tenant, store)
    texts = pl.DataFrame(
        {"ticket_id": asked["ticket_id"].to_pylist(), "asked": _asked(asked, task)},
        schema={"ticket_id": pl.String, "asked": pl.String},
    )
    about = pl.DataFrame(pl.from_arrow(asked.select(["ticket_id", "channel", "region"])))
    rows = answers.join(texts, on="ticket_id").join(about, on="ticket_id").sort("ticket_id")
    for reason in REASONS:
        own = rows.filter(reason=reason)
        if len(own):
            yield _of_people(reason, own, task)


def _of_people(reason: str, rows: pl.DataFrame, task: Task) -> JudgedTexts:
    known = rows.filter(pl.col("label").is_in(task.labels) & (pl.col("asked") != ""))
    kept = known.filter(pl.Series(first_of_each(known["asked"].to_list()), dtype=pl.Boolean))
    places = {label: place for place, label in enumerate(task.labels)}
    texts = tuple(kept["asked"].to_list())
    return JudgedTexts(
        name=reason,
        texts=texts,
        truth=np.array([places[label] for label in kept["label"]], np.int64),
        slices={
            "channel": _values(kept["channel"].to_list()),
            "region": _values(kept["region"].to_list()),
            "month": _values([str(day) for day in kept["day"]]),
            "length": tuple(lengths(texts)),
        },
        source=str(LABELS.table),
        digest=hashlib.sha256("\n".join(sorted(kept["label_id"])).encode()).hexdigest(),
        left_out={
            "unknown_label": len(rows) - len(known),
            "repeated": len(known) - len(kept),
        },
    )


def _asked(words: Any, task: Task) -> list[str]:
    return [text or "" for text in asked_text(words, task.text_field).to_pylist()]


def _values(values: Sequence[str | None]) -> tuple[str, ...]:
    """Name what is not known, and cut days to their month."""
    known = [value for value in values if value]
    months = bool(known) and all(_DAY.match(value) for value in known)
    return tuple((v[:_MONTH] if months else v) if v else UNKNOWN for v in values)


def _chosen(values: Sequence[str], places: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(values[int(place)] for place in places)
