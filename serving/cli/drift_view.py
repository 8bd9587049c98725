"""How comparisons for drift are shown: values for programs, Spanish tables for operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lakehouse.control.drift import DriftMeasure, DriftRecord
from monitoring.drift import DriftVerdict
from monitoring.words import FEATURES, METHODS, VERDICTS
from serving.cli.output import grid


def as_values(records: Sequence[DriftRecord]) -> list[dict[str, Any]]:
    """Return the records as plain values."""
    return [asdict(record) for record in records]


def drawn(records: Sequence[DriftRecord], tenant: str) -> RenderableType:
    """Draw the records, each with its verdict, numbers and page."""
    if not records:
        return f"{tenant}: todavía no hay informes; haz uno con plata drift report -t {tenant}"
    return Group(*(part for record in records for part in _parts(record, tenant)))


def _parts(record: DriftRecord, tenant: str) -> Iterator[RenderableType]:
    verdict = VERDICTS[DriftVerdict(record.verdict)]
    title = f"{tenant} · {record.task} · {record.model.removeprefix('models:/')}"
    rows = f"{record.reference_rows:,} de referencia, {record.current_rows:,} actuales"
    if record.measures:
        columns = ["variable", "método", "valor", "límite", "¿cambió?"]
        yield grid(f"{title} ({rows})", columns, [_row(m) for m in _ordered(record.measures)])
    else:
        yield Text(f"{title} ({rows})")
    yield Text(f"Veredicto: {verdict}", style="bold")
    if record.report_path is not None:
        yield Text(f"Informe: {record.report_path}", overflow="fold")
    yield Text("")


def _row(measure: DriftMeasure) -> list[Any]:
    return [
        FEATURES.get(measure.feature, measure.feature),
        METHODS.get(measure.method, measure.method),
        measure.score,
        measure.threshold,
        "sí" if measure.drifted else "no",
    ]


def _ordered(measures: Sequence[DriftMeasure]) -> list[DriftMeasure]:
    places = list(FEATURES)
    return sorted(measures, key=lambda m: (places.index(m.feature), m.method))
