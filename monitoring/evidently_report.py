"""The door to Evidently, and with it to pandas: a program that draws reports and ends.

    python -m monitoring.evidently_report FOLDER...

Each folder holds `reference.parquet` and `current.parquet`; it gets `report.html` (whole: it asks
the network for nothing), `report.json` (Evidently's own account) and `numbers.json` (what we keep
of it). It is a program of its own because Evidently takes up to half a minute and 300 MB to import,
which a flow gives back when it ends.
"""

from __future__ import annotations

import json
import sys
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
from monitoring.report import HTML, INPUTS, JSON, NUMBERS
from monitoring.words import FEATURES

_CATEGORICAL_METHOD, _CATEGORICAL_LIMIT = "jensenshannon", 0.1
_NUMERICAL_METHOD, _NUMERICAL_LIMIT = "wasserstein", 0.1
_EMBEDDING_LIMIT = 0.65
_SEED = 7

_FEATURE_OF = {title: feature for feature, title in FEATURES.items()}


def draw(reference: pa.Table, current: pa.Table, folder: Path) -> list[dict[str, Any]]:
    """Write the report's files to `folder` and return its numbers, one a column."""
    np.random.seed(_SEED)  # Evidently's classifier draws from the global generator
    dimensions = len(reference[EMBEDDING][0])
    definition = _definition(dimensions)
    datasets = [
        Dataset.from_pandas(_frame(rows, dimensions), data_definition=definition)
        for rows in (current, reference)
    ]
    snapshot = _report().run(*datasets)
    snapshot.save_html(str(folder / HTML))
    snapshot.save_json(str(folder / JSON))
    found = [_number(metric) for metric in snapshot.dict()["metrics"]]
    return [number for number in found if number is not None]


def _report() -> Report:
    titles = [FEATURES[name] for name in (LABEL, SCORE, *DESCRIPTORS)]
    return Report(
        [
            DataDriftPreset(
                columns=titles,
                cat_method=_CATEGORICAL_METHOD,
                cat_threshold=_CATEGORICAL_LIMIT,
                num_method=_NUMERICAL_METHOD,
                num_threshold=_NUMERICAL_LIMIT,
            ),
            EmbeddingsDrift(
                embeddings_name=FEATURES[EMBEDDING],
                drift_method=ModelDriftMethod(threshold=_EMBEDDING_LIMIT),
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
        "drifted": bool(value >= threshold),
    }


def main(*folders: str) -> None:
    """Draw a report in each folder; the numbers are written last, so they are there when all is."""
    for folder in map(Path, folders):
        reference, current = (pq.read_table(folder / name) for name in INPUTS)
        numbers = draw(reference, current, folder)
        (folder / NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
