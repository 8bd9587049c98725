"""Labelled texts as they are handed in for training: read whole and checked, or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.text import folded
from lakehouse.errors import InputError
from models.splitting import first_of_each
from models.task import Task
from pipelines.source_files import SourceFile

FEWEST_ROWS = 40
FEWEST_OF_A_LABEL = 8
"""Two are held out, and six are left for five folds of calibration."""


@dataclass(frozen=True, slots=True)
class LabelsFile:
    """Where labelled texts are. `note` says what a reader of the model's card must know of them."""

    path: Path
    text_column: str = "text"
    label_column: str = "label"
    note: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Columns that are read besides, by what they are to be called."""


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Distinct texts, and the position of each one's label in the task.

    `repeated` rows were dropped because their text was there already, `blank` ones because they
    had no text or no label. `beside` has what the file's columns of that name say of each text,
    empty where they say nothing.
    """

    texts: tuple[str, ...]
    truth: NDArray[np.int64]
    sha256: str
    repeated: int
    blank: int
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_labelled(file: LabelsFile, task: Task) -> LabelledTexts:
    """Read what a model is to be trained on. Raises `InputError` where there is too little."""
    found = read_labels(file, task)
    require_enough(found.truth, task, f"'{file.path}'")
    return found


def read_labels(file: LabelsFile, task: Task) -> LabelledTexts:
    """Read and check. A label may be written as stored or as reviewers read it."""
    source = SourceFile.find(file.path)
    sha256 = source.digest()
    _require_columns(source, file)
    rows, blank = _rows(source, file)
    truth = _positions([label for _, label, _ in rows], file, task)
    kept = first_of_each([text for text, _, _ in rows])
    distinct = [row for row, keep in zip(rows, kept, strict=True) if keep]
    return LabelledTexts(
        texts=tuple(text for text, _, _ in distinct),
        truth=truth[kept],
        sha256=sha256,
        repeated=int((~kept).sum()),
        blank=blank,
        beside={
            name: tuple(values[place] for _, _, values in distinct)
            for place, name in enumerate(file.beside)
        },
    )


def _require_columns(source: SourceFile, file: LabelsFile) -> None:
    have = source.columns()
    options = [("--text-column", file.text_column), ("--label-column", file.label_column)]
    options += [("--slice", column) for column in file.beside.values()]
    for option, name in options:
        if name not in have:
            msg = (
                f"'{file.path}' has no column '{name}'; it has: {', '.join(have) or 'none'}. "
                f"Name the right one with {option}"
            )
            raise InputError(msg)


def _rows(
    source: SourceFile, file: LabelsFile
) -> tuple[list[tuple[str, str, tuple[str, ...]]], int]:
    """Return text, label and what stands beside them of the rows that have both; count the rest."""
    rows: list[tuple[str, str, tuple[str, ...]]] = []
    blank = 0
    for number, record in enumerate(source.records(), start=1):
        if isinstance(record, bytes):
            msg = f"'{file.path}': record {number} is not a row of {source.kind.value.upper()}"
            raise InputError(msg)
        text, label = _value(record, file.text_column), _value(record, file.label_column)
        if text and label:
            beside = tuple(_value(record, column) for column in file.beside.values())
            rows.append((text, label, beside))
        else:
            blank += 1
    return rows, blank


def _value(record: Mapping[str, Any], column: str) -> str:
    value = record.get(column)
    return "" if value is None else str(value).strip()


def _positions(labels: list[str], file: LabelsFile, task: Task) -> NDArray[np.int64]:
    known = {folded(title): place for place, title in enumerate(task.titles.values())}
    known |= {folded(label): place for place, label in enumerate(task.labels)}
    unknown = Counter(label for label in labels if folded(label) not in known)
    if unknown:
        found = ", ".join(f"'{label}' ({n} rows)" for label, n in unknown.most_common(5))
        msg = (
            f"'{file.path}' has labels in '{file.label_column}' that task '{task.name}' does not "
            f"have: {found}; its labels are: {', '.join(task.labels)}"
        )
        raise InputError(msg)
    return np.array([known[folded(label)] for label in labels], np.int64)


def require_enough(truth: NDArray[np.int64], task: Task, source: str, remedy: str = "") -> None:
    """Raise `InputError` unless there are enough texts to train on, of every label too."""
    after = f"; {remedy}" if remedy else ""
    if len(truth) < FEWEST_ROWS:
        msg = (
            f"{source} has {len(truth)} distinct labelled texts, at least {FEWEST_ROWS} are "
            f"needed to train and to measure{after}"
        )
        raise InputError(msg)
    counts = np.bincount(truth, minlength=len(task.labels))
    few = [
        f"'{name}' ({n})"
        for name, n in zip(task.labels, counts, strict=True)
        if n < FEWEST_OF_A_LABEL
    ]
    if few:
        msg = (
            f"{source} has too few texts of {', '.join(few)}: at least {FEWEST_OF_A_LABEL} "
            f"of every label are needed{after}"
        )
        raise InputError(msg)
