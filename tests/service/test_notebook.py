"""The notebook that a data scientist follows leaves the platform as it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.embedded.layout import ROOT
from tests.service.conftest import Program

pytestmark = [pytest.mark.service, pytest.mark.timeout(1800)]

NOTEBOOKS = ROOT / "docs" / "notebooks"
TENANT, MODEL = "alcaldia-sur", "alcaldia-sur.tipo"


@pytest.fixture(scope="module")
def folder(plata: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebook ran, with what it wrote."""
    folder = tmp_path_factory.mktemp("notebook")
    done = subprocess.run(
        [sys.executable, str(NOTEBOOKS / "execute.py"), str(folder)],
        env=plata.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_notebook_promotes_a_model_and_takes_it_back(plata: Program, folder: Path) -> None:
    assert folder
    made, promoted, back = reversed(plata.json("bundles", "history", "-t", TENANT))
    first, challenger = made["after"], promoted["after"]

    assert (promoted["before"], promoted["forced"]) == (first, False)
    assert all(gate["passed"] for gate in promoted["verdict"]["gates"])
    assert (back["before"], back["after"]) == (challenger, first)
    champion = plata.json("bundles", "show", f"bundle:/{TENANT}@champion", "-t", TENANT)
    assert champion["bundle"] == first
    aliases = {
        one["version"]: sorted(one["aliases"])
        for one in plata.json("models", "list")
        if one["name"] == MODEL
    }
    assert aliases == {"1": ["baseline", "champion"], "2": []}
    answers = plata.json(
        "sql",
        "select bundle_id, model_version, count(*) from silver.classifications "
        "where task = 'tipo' and tier = 'champion' group by all order by model_version",
        "-t",
        TENANT,
    )
    assert answers["rows"] == [[first, "1", 120], [challenger, "2", 40]]


def test_what_it_measured_is_in_mlflow_and_in_the_notebook(plata: Program, folder: Path) -> None:
    client = MlflowClient(plata.mlflow_url)
    experiment = client.get_experiment_by_name(MODEL)
    assert experiment is not None
    (evaluation,) = client.search_runs(
        [experiment.experiment_id], "tags.`plata.kind` = 'evaluation'"
    )
    measured = evaluation.data.metrics
    assert measured["texts"] == 120
    assert measured["lift/macro_f1_low"] > 0
    assert measured["lift/p_macro_f1"] < 0.05

    shown = (folder / "promote-a-model.ipynb").read_text(encoding="utf-8")
    outputs = [o for cell in json.loads(shown)["cells"] for o in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert f"{measured['macro_f1']:.3f}" in shown


def test_the_shadow_decided_nothing_and_the_diff_names_as_many_flips(
    plata: Program, folder: Path
) -> None:
    report = plata.json("shadow", "report", "-t", TENANT)
    tipo = next(task for task in report["tasks"] if task["task"] == "tipo")
    flips = tipo["agreement"]["of"] - tipo["agreement"]["count"]

    assert report["experiment"]["stopped_at"] is not None
    assert tipo["agreement"]["of"] == 120
    assert flips > 40
    page = (folder / "out" / "diff.html").read_text(encoding="utf-8")
    assert f"<strong>{flips}</strong>" in page
