"""Importing costs nothing: a vendor comes in through its door, when it is used, and not before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAVY = {
    "argilla",
    "dask",
    "deltalake",
    "distributed",
    "duckdb",
    "evidently",
    "matplotlib",
    "mlflow",
    "onnxruntime",
    "openlineage",
    "pandas",
    "prefect",
    "sentence_transformers",
    "sklearn",
    "torch",
    "transformers",
}

DOORS = {
    "features.e5_package",
    "features.onnx_embedder",
    "features.sentence_embedder",
    "labeling.argilla_queue",
    "lakehouse.compute.dask_cluster",
    "lakehouse.data.delta",
    "lakehouse.data.delta_history",
    "lakehouse.data.delta_maintenance",
    "lakehouse.data.duckdb_query",
    "models.artifacts",
    "models.lean_skops",
    "models.linear",
    "models.fitting",
    "models.figures",
    "models.onnx_family",
    "models.sklearn_family",
    "monitoring.evidently_report",
    "pipelines.flows",
    "pipelines.openlineage_events",
    "registry.mlflow_registry",
}
"""Modules that import a heavy vendor at their top, because that is what they are for."""


def modules(package: str) -> list[str]:
    files = sorted((ROOT / package).rglob("*.py"))
    names = [file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in files]
    return [name.removesuffix(".__init__") for name in names if "argilla_search" not in name]


def loaded_by(names: list[str]) -> set[str]:
    code = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, check=True, cwd=ROOT
    )
    return set(json.loads(out.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "package",
    ["lakehouse", "contracts", "registry", "features", "models", "labeling", "monitoring", "infra"],
)
def test_a_package_comes_in_without_the_vendors(package: str) -> None:
    names = [name for name in modules(package) if name not in DOORS and "__main__" not in name]
    assert HEAVY & loaded_by(names) == set()


def test_the_pipelines_come_in_without_the_vendors() -> None:
    names = [name for name in modules("pipelines") if name not in DOORS]
    assert HEAVY & loaded_by(names) == set()


def test_the_help_of_the_command_line_loads_almost_nothing() -> None:
    loaded = loaded_by(["serving.cli.app"])
    slow = HEAVY | {"httpx", "numpy", "polars", "psycopg", "pyarrow", "pydantic", "yaml"}
    assert slow & loaded == set()


def test_every_door_is_there() -> None:
    known = {
        name
        for package in (
            "features",
            "labeling",
            "lakehouse",
            "models",
            "monitoring",
            "pipelines",
            "registry",
        )
        for name in modules(package)
    }
    assert known >= DOORS
