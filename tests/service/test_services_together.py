"""All services at once, each asked for the thing it is there for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.embedded.endpoints import read_endpoints
from infra.embedded.layout import ROOT, Layout
from infra.embedded.status import read_status
from lakehouse.control.migrate import migrate
from lakehouse.settings import Settings

pytestmark = pytest.mark.service


def plata(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import typer; from serving.cli import services; app = typer.Typer(); "
        "services.register(app); app()"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PLATA_", "PREFECT_"))}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**env, "PLATA_HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_service_answers(plata_services: Any) -> None:
    lines = read_status(plata_services.settings).services
    assert {line.service: (str(line.state), line.health) for line in lines} == dict.fromkeys(
        [
            "postgres",
            "valkey",
            "mlflow",
            "prefect",
            "argilla",
            "dask-scheduler",
            "dask-worker-1",
            "dask-worker-2",
            "supervisor",
        ],
        ("ready", "ok"),
    )


def test_status_for_programs_is_json_without_secrets(plata_services: Any) -> None:
    done = plata(plata_services.home, "status", "--json")
    value = json.loads(done.stdout)
    assert (done.returncode, value["running"], value["well"]) == (0, True, True)
    assert value["endpoints"]["mlflow_url"] == plata_services.mlflow_url
    assert plata_services.argilla_api_key not in done.stdout


def test_up_again_says_so(plata_services: Any) -> None:
    done = plata(plata_services.home, "up")
    assert (done.returncode, done.stdout) == (
        0,
        "The services are up already; see `plata status`.\n",
    )


def test_what_comes_up_has_platas_own_tables(local: Settings) -> None:
    done = plata(local.home, "up", "postgres")
    assert done.returncode == 0, done.stderr
    endpoints = read_endpoints(local.home)
    assert endpoints is not None
    assert migrate(endpoints.postgres_url) == []


def test_logs_show_the_end_of_the_right_log(plata_services: Any) -> None:
    """The service's own: what other tests made it say may stand at its end by now."""
    shown = plata(plata_services.home, "logs", "postgres", "-n", "5").stdout.strip()
    kept = Layout.of(plata_services.home).log("postgres").read_text(encoding="utf-8")
    assert "database system is ready" in kept
    assert shown
    assert shown in kept


def test_the_doctor_finds_nothing_wrong(plata_services: Any) -> None:
    done = plata(plata_services.home, "doctor", "--json")
    assert done.returncode == 0
    assert {check["verdict"] for check in json.loads(done.stdout)} <= {"ok", "warning"}


def test_status_of_nothing_says_so_with_its_exit_code(tmp_path: Path) -> None:
    done = plata(tmp_path, "status", "--json")
    assert (done.returncode, json.loads(done.stdout)["running"]) == (3, False)


def test_mlflow_clients_write_artifacts_to_disk_and_the_server_shows_them(
    plata_services: Any,
) -> None:
    api = f"{plata_services.mlflow_url}/api/2.0/mlflow"
    body = {"name": "artefactos con espacio"}
    experiment = httpx.post(f"{api}/experiments/create", json=body, timeout=60).json()
    run = httpx.post(f"{api}/runs/create", json={"experiment_id": experiment["experiment_id"]})
    info = run.json()["run"]["info"]
    scheme, _, folder = info["artifact_uri"].partition("://")
    assert scheme == "file"
    written = Path(folder.replace("%20", " ")) / "nota.txt"
    written.parent.mkdir(parents=True)
    written.write_text("hola")
    shown = httpx.get(
        f"{plata_services.mlflow_url}/get-artifact",
        params={"run_uuid": info["run_id"], "path": "nota.txt"},
    )
    assert shown.text == "hola"


def test_dask_workers_import_our_packages_and_little_else(plata_services: Any) -> None:
    from distributed import Client

    def loaded() -> list[str]:
        import sys

        import lakehouse.settings  # noqa: F401

        heavy = {"mlflow", "prefect", "argilla", "evidently"}
        return sorted({*heavy, "lakehouse"} & set(sys.modules))

    with Client(plata_services.dask_address, set_as_default=False) as client:
        answers = client.run(loaded)
    assert list(answers.values()) == [["lakehouse"]] * 2


def test_prefect_keeps_its_state_in_postgres(plata_services: Any) -> None:
    health = httpx.get(f"{plata_services.prefect_api_url}/ready", timeout=30)
    assert health.status_code == 200
    settings = httpx.get(f"{plata_services.prefect_api_url}/admin/settings", timeout=30).json()
    assert settings["server"]["analytics_enabled"] is False
