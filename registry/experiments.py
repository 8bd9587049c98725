"""The port to where evaluations are looked at: a run in the experiment of the model's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from registry.refs import ModelRef


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """An evaluation as it is handed in. `summary` is Markdown; `report` is JSON, as text.

    `figures` are pictures by file name. `data` describes the texts: `name`, `digest` and what else
    is worth showing.
    """

    experiment: str
    name: str
    model: ModelRef
    summary: str
    report: str
    metrics: Mapping[str, float]
    parameters: Mapping[str, str]
    figures: Mapping[str, Path] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)


class Experiments(Protocol):
    """Where evaluations are kept to be looked at."""

    def log_evaluation(self, run: EvaluationRun) -> str:
        """Keep an evaluation and return the page where it is seen."""
        ...
