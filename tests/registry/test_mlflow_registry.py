"""What only the registry on MLflow can promise."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lakehouse.errors import ServiceUnavailableError
from registry.errors import ArtifactError
from registry.experiments import EvaluationRun
from registry.refs import ModelPackage, digest_of_tests, text_digest

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def url(plata_services: Any) -> str:
    return str(plata_services.mlflow_url)


def package(folder: Path, picture: Path) -> ModelPackage:
    folder.mkdir()
    (folder / "plata.json").write_text("{}", encoding="utf-8")
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    return ModelPackage(
        name=f"norte-{uuid4().hex[:8]}.tipo",
        folder=folder,
        family="linear",
        card="# Tarjeta\n" + "Una línea larga.\n" * 600,
        labels=("a", "b"),
        metrics={"macro_f1": 0.5},
        parameters={"features": "both"},
        figures={"confusion.png": picture},
        data={"name": "etiquetas.csv", "digest": "0f" * 32},
        example={"text": "Texto de ejemplo"},
    )


def test_a_server_that_is_down_is_said_to_be_down() -> None:
    from registry.mlflow_registry import MlflowRegistry

    with pytest.raises(ServiceUnavailableError, match=r"MLflow does not answer at .*plata up"):
        MlflowRegistry("http://127.0.0.1:9").resolve_model("norte.tipo")


def test_everything_is_there_to_be_seen_in_its_pages(url: str, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    from registry.mlflow_registry import MlflowRegistry

    ref = MlflowRegistry(url, tmp_path / "cache").register_model(
        package(tmp_path / "model", tmp_path / "c.png")
    )
    client = MlflowClient(url)
    version = client.get_model_version(ref.name, ref.version)
    run = client.get_run(version.run_id)
    assert version.description.startswith("# Tarjeta")
    assert version.description.endswith("(the whole card is the artifact card.md)")
    assert version.tags["plata.digest"] == ref.digest
    assert run.data.metrics["macro_f1"] == 0.5
    assert run.info.status == "FINISHED"
    assert run.inputs.dataset_inputs[0].dataset.name == "etiquetas.csv"
    assert sorted(a.path for a in client.list_artifacts(version.run_id)) == ["card.md", "figures"]


def test_a_model_is_fetched_by_another_machine_and_mended_where_it_was_changed(
    url: str, tmp_path: Path
) -> None:
    from registry.mlflow_registry import MlflowRegistry

    ref = MlflowRegistry(url, tmp_path / "cache").register_model(
        package(tmp_path / "model", tmp_path / "c.png")
    )
    other = tmp_path / "other"
    fetched = MlflowRegistry(url, other).fetch(ref)
    assert (fetched / "plata.json").read_text(encoding="utf-8") == "{}"
    (fetched / "plata.json").write_text("changed", encoding="utf-8")
    again = MlflowRegistry(url, other).fetch(ref)
    assert (again / "plata.json").read_text(encoding="utf-8") == "{}"


def test_files_that_were_changed_behind_the_registry_are_refused(url: str, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    from registry.mlflow_registry import MlflowRegistry

    registry = MlflowRegistry(url, tmp_path / "cache")
    ref = registry.register_model(package(tmp_path / "model", tmp_path / "c.png"))
    client = MlflowClient(url)
    model_id = client.get_model_version(ref.name, ref.version).source.removeprefix("models:/")
    (tmp_path / "plata").mkdir()
    (tmp_path / "plata" / "plata.json").write_text("changed", encoding="utf-8")
    client.log_model_artifacts(model_id, str(tmp_path / "plata"), "plata")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(ArtifactError, match="digest differs"):
        MlflowRegistry(url, tmp_path / "cache").fetch(ref)


def test_an_evaluation_is_a_run_of_the_models_experiment_with_its_figures_and_pictures(
    url: str, tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    from registry.mlflow_registry import MlflowRegistry

    registry = MlflowRegistry(url, tmp_path / "cache")
    ref = registry.register_model(package(tmp_path / "model", tmp_path / "c.png"))
    before = next(info for info in registry.models() if info.name == ref.name).metrics
    page = registry.log_evaluation(
        EvaluationRun(
            experiment=ref.name,
            name="evaluate-1",
            model=ref,
            summary="# Evaluación\n\nMás.",
            report='{"texts": 210}',
            metrics={"macro_f1": 0.75, "audit/macro_f1": 0.5, "lift/p_better": 0.01},
            parameters={"champion": "models:/x/1"},
            figures={"held-out-calibration.png": tmp_path / "c.png"},
            data={"name": "etiquetas.csv", "digest": "0a" * 32, "texts": "210"},
        )
    )
    client = MlflowClient(url)
    run = client.get_run(page.rsplit("/", 1)[1])
    assert page == f"{url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert client.get_experiment(run.info.experiment_id).name == ref.name
    assert (run.info.run_name, run.info.status) == ("evaluate-1", "FINISHED")
    assert run.data.metrics == {"macro_f1": 0.75, "audit/macro_f1": 0.5, "lift/p_better": 0.01}
    assert run.data.params == {"champion": "models:/x/1"}
    assert run.data.tags["plata.model"] == ref.uri
    assert run.inputs.dataset_inputs[0].dataset.name == "etiquetas.csv"
    assert len(run.inputs.model_inputs) == 1
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"evaluation.json", "evaluation.md", "figures"}
    (picture,) = client.list_artifacts(run.info.run_id, "figures")
    assert picture.path == "figures/held-out-calibration.png"
    after = next(info for info in registry.models() if info.name == ref.name).metrics
    assert after == before


@pytest.mark.parametrize("tags", [{"plata.tests": "[]"}, {"plata.tests.digest": "0f"}])
def test_tests_of_a_prompt_that_somebody_changed_are_refused(tags: dict[str, str]) -> None:
    from mlflow.entities.model_registry import PromptVersion

    from registry.mlflow_registry import _tests_of

    text = "query: {{text}}"
    own = {"plata.tests": "[1]", "plata.tests.digest": digest_of_tests(text_digest(text), "[1]")}
    assert _tests_of(PromptVersion("p", 1, text, tags=own)) == "[1]"
    with pytest.raises(ArtifactError, match="its tests, is not what was registered"):
        _tests_of(PromptVersion("p", 1, text, tags=own | tags))
    with pytest.raises(ArtifactError):
        _tests_of(PromptVersion("p", 1, f"{text} ", tags=own))
