"""The tests of a prompt: texts with the label each must get, kept with the prompt's version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lakehouse.errors import InputError
from models.classifier import Probabilities

_EXPECTED = (
    "expected a list of {texto: …, etiqueta: …}, each with `minimo` if you like, the least "
    "probability from 0 to 1; as YAML, or in a file .jsonl one a line"
)


class Case(BaseModel):
    """A text, the label it must get, and how probable that must be at least."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texto: str = Field(min_length=1)
    etiqueta: str = Field(min_length=1)
    minimo: float = Field(default=0.0, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What one text got; `found` is None where there was no answer. `number` counts from one."""

    number: int
    expected: str
    at_least: float
    found: str | None
    score: float | None

    @property
    def passed(self) -> bool:
        """Whether the expected label was given, as surely as was asked."""
        return self.found == self.expected and (self.score or 0.0) >= self.at_least


_CASES = TypeAdapter(tuple[Case, ...])


def read_cases(text: str, *, lines: bool = False) -> tuple[Case, ...]:
    """Read tests as people write them; `lines` where each line is a JSON object.

    Raises `InputError` that names the test, and quotes no text.
    """
    try:
        values: Any = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if lines
            else yaml.safe_load(text)
        )
        cases = _CASES.validate_python(values)
    except (ValueError, yaml.YAMLError) as error:
        msg = f"these are no tests of a prompt: {_told(error)}; {_EXPECTED}"
        raise InputError(msg) from error
    if not cases:
        msg = f"there is no test in it; {_EXPECTED}"
        raise InputError(msg)
    return cases


def as_kept(cases: Sequence[Case]) -> str:
    """Write tests so that equal ones are equal texts; `read_cases` reads it."""
    values = [case.model_dump() for case in cases]
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def require_known(cases: Sequence[Case], labels: Sequence[str]) -> None:
    """Raise `InputError` where a test expects a label that is none."""
    for number, case in enumerate(cases, start=1):
        if case.etiqueta not in labels:
            msg = f"test {number} expects '{case.etiqueta}'; the labels are: {', '.join(labels)}"
            raise InputError(msg)


def judged_cases(
    cases: Sequence[Case], labels: Sequence[str], probabilities: Probabilities
) -> tuple[CaseResult, ...]:
    """Hold what the texts got, a row of probabilities each, against what they must get."""
    results = []
    for number, (case, row) in enumerate(zip(cases, probabilities, strict=True), start=1):
        silent = bool(np.isnan(row).any())
        place = 0 if silent else int(row.argmax())
        found, score = (None, None) if silent else (labels[place], float(row[place]))
        results.append(CaseResult(number, case.etiqueta, case.minimo, found, score))
    return tuple(results)


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        places = [_place(found["loc"]) + found["msg"] for found in error.errors()[:3]]
        return "; ".join(places)
    told = "it is neither YAML nor JSON lines that can be read"
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark is None:
        return told
    place = f"line {mark.line + 1}, column {mark.column + 1}"
    return f"{told} ({place}: put each text between quotation marks)"


def _place(where: tuple[int | str, ...]) -> str:
    if not where:
        return ""
    first = f"test {where[0] + 1}" if isinstance(where[0], int) else str(where[0])
    return " ".join([first, *map(str, where[1:])]) + ": "
