"""The door to Evidently, and with it to pandas: a program that draws reports and ends.

    python -m monitoring.evidently_report FOLDER...

Each folder holds `reference.parquet` and `current.parquet`; it gets `report.html` (whole: it asks
the network for nothing), `report.json` (Evidently's own account) and `numbers.json` (what we keep
of it). It is a program of its own because Evidently takes up to half a minute and 300 MB to import,
which a flow gives back when it ends.

The folder's `limits.json` holds `risk`: as in our own numbers, a column counts as drifted only
where chance would not show as much in rows of equal populations, so that the page and the verdict
do not contradict each other on a hundred tickets.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from evidently import DataDefinition, Dataset, Report
from evidently.metrics.embeddings import EmbeddingsDrift, ModelDriftMethod
from evidently.presets import DataDriftPreset

from features.text import DESCRIPTORS
from monitoring.drift import EMBEDDING, LABEL, SCORE
from monitoring.measures import auc_by_chance, psi_by_chance
from monitoring.report import HTML, INPUTS, JSON, LIMITS, NUMBERS
from monitoring.words import FEATURES

_DISTANCE, _DISTANCE_LIMIT = "jensenshannon", 0.1
_SIGNIFICANCE = "ks"
_AUC_LIMIT = 0.65
_JUDGED_SHARE = 0.5
"""Of the rows, how many Evidently's classifier is judged on."""
_SEED = 7

_FEATURE_OF = {title: feature for feature, title in FEATURES.items()}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a column's number is held against: a distance, a p-value, an AUC."""

    distance: float
    significance: float
    auc: float

    @classmethod
    def of(cls, reference: pa.Table, current: pa.Table, risk: float) -> Limits:
        """Raise the fixed limits to what chance exceeds with probability `risk`.

        The squared Jensen-Shannon distance is, to second order, an eighth of the PSI.
        """
        sizes = len(reference), len(current)
        labels = set(reference[LABEL].to_pylist()) | set(current[LABEL].to_pylist())
        distance = math.sqrt(psi_by_chance(len(labels), *sizes, risk=risk) / 8)
        judged = (math.ceil(rows * _JUDGED_SHARE) for rows in sizes)
        return cls(
            distance=max(_DISTANCE_LIMIT, distance),
            significance=risk,
            auc=max(_AUC_LIMIT, auc_by_chance(*judged, risk=risk)),
        )


def draw(
    reference: pa.Table, current: pa.Table, limits: Limits, folder: Path
) -> list[dict[str, Any]]:
    """Write the report's files to `folder` and return its numbers, one a column."""
    np.random.seed(_SEED)  # Evidently's classifier draws from the global generator
    dimensions = len(reference[EMBEDDING][0])
    definition = _definition(dimensions)
    datasets = [
        Dataset.from_pandas(_frame(rows, dimensions), data_definition=definition)
        for rows in (current, reference)
    ]
    snapshot = _report(limits).run(*datasets)
    snapshot.save_html(str(folder / HTML))
    snapshot.save_json(str(folder / JSON))
    found = [_number(metric) for metric in snapshot.dict()["metrics"]]
    return [number for number in found if number is not None]


def _report(limits: Limits) -> Report:
    titles = [FEATURES[name] for name in (LABEL, SCORE, *DESCRIPTORS)]
    return Report(
        [
            DataDriftPreset(
                columns=titles,
                cat_method=_DISTANCE,
                cat_threshold=limits.distance,
                num_method=_SIGNIFICANCE,
                num_threshold=limits.significance,
            ),
            EmbeddingsDrift(
                embeddings_name=FEATURES[EMBEDDING],
                drift_method=ModelDriftMethod(threshold=limits.auc),
            ),
        ],
        include_tests=True,
    )


def _definition(dimensions: int) -> DataDefinition:
    return DataDefinition(
        categorical_columns=[FEATURES[LABEL]],
        numerical_columns=[FEATURES[name] for name in (SCORE, *DESCRIPTORS)],
        embeddings={FEATURES[EMBEDDING]: _dimension_names(dimensions)},
    )


def _frame(rows: pa.Table, dimensions: int) -> pd.DataFrame:
    names = [LABEL, SCORE, *DESCRIPTORS]
    plain = rows.select(names).rename_columns([FEATURES[n] for n in names]).to_pandas()
    flat = rows[EMBEDDING].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.reshape(len(rows), dimensions)
    return pd.concat([plain, pd.DataFrame(vectors, columns=_dimension_names(dimensions))], axis=1)


def _dimension_names(dimensions: int) -> list[str]:
    return [f"e{position}" for position in range(dimensions)]


def _number(metric: dict[str, Any]) -> dict[str, Any] | None:
    config, value = metric["config"], metric["value"]
    kind = config["type"].rsplit(":", 1)[-1]
    if kind == "ValueDrift":
        feature, method = _FEATURE_OF[config["column"]], config["method"]
        threshold = config["threshold"]
    elif kind == "EmbeddingsDrift":
        feature, method, threshold = EMBEDDING, "model", config["drift_method"]["threshold"]
    else:
        return None
    return {
        "feature": feature,
        "method": f"evidently_{method}",
        "score": float(value),
        "threshold": float(threshold),
        "drifted": bool(value <= threshold if method == _SIGNIFICANCE else value >= threshold),
    }


def main(*folders: str) -> None:
    """Draw a report in each folder; the numbers are written last, so they are there when all is."""
    for folder in map(Path, folders):
        reference, current = (pq.read_table(folder / name) for name in INPUTS)
        risk = json.loads((folder / LIMITS).read_text(encoding="utf-8"))["risk"]
        numbers = draw(reference, current, Limits.of(reference, current, risk), folder)
        (folder / NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
