"""What only the registry on MLflow can promise."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lakehouse.errors import ServiceUnavailableError
from registry.errors import ArtifactError
from registry.refs import ModelPackage

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
