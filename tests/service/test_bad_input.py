"""What goes wrong in use ends in one line that says what to do, or in a quarantined row."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.tables import QUARANTINE
from lakehouse.tenancy import TenantContext
from pipelines.demo_corpus import ALCALDIA, Part, as_events

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]

NAME = "con-errores"
TENANT = TenantContext.parse(NAME)
OF_TENANT = ("--tenant", NAME)
FROM = (*OF_TENANT, "--source", "ventanilla")
NOBODY = "127.0.0.1:9"


@pytest.fixture(scope="module")
def there(plata: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files of a tenant that has nothing yet."""
    folder = tmp_path_factory.mktemp("entrada con espacio")
    plata.json("tenants", "create", NAME)
    return folder


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a command that failed as it should."""
    assert (done.returncode, done.stdout) == (1, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_an_unknown_tenant_is_named_beside_the_known_ones(there: Path, plata: Any) -> None:
    line = only_line(plata("run", "--tenant", "nadie"))
    assert "unknown tenant 'nadie'" in line
    assert NAME in line
    assert "plata tenants create nadie" in line


def test_a_file_that_cannot_be_used_is_refused_with_the_remedy(there: Path, plata: Any) -> None:
    table = "id;texto\n1;Petición\n"
    texts = written(there / "textos.csv", table.encode())
    latin = written(there / "latin.csv", table.encode("latin-1"))
    empty = written(there / "vacio.jsonl", b"")
    missing = str(there / "no-hay.csv")
    refusals = {
        (texts, "--map", "text=mensaje"): "has no column 'mensaje'; it has: id, texto",
        (latin, "--map", "text=texto"): "is not UTF-8 at line 2",
        (empty,): "is empty: there is nothing to land",
        (missing,): "does not exist",
    }
    for words, expected in refusals.items():
        assert expected in only_line(plata("ingest", *words, *FROM))


def test_a_prompt_without_its_variable_is_not_registered(there: Path, plata: Any) -> None:
    query = written(there / "consulta.txt", b"consulta sin variable\n")
    zero_shot = written(there / "tipo.yaml", b"etiquetas:\n  queja: una queja\n")
    for name, file in {"e5-query": query, f"{NAME}.tipo.zero-shot": zero_shot}.items():
        line = only_line(plata("prompts", "register", name, file))
        assert f"prompt '{name}' has no variable; write where the text goes" in line


SERVICES_DOWN = [
    ("MLflow", {"PLATA_MLFLOW_URL": f"http://{NOBODY}"}, ("models", "list")),
    ("Prefect", {"PREFECT_API_URL": f"http://{NOBODY}/api"}, ("run", *OF_TENANT)),
    (
        "Argilla",
        {"PLATA_ARGILLA_URL": f"http://{NOBODY}", "PLATA_ARGILLA_API_KEY": "clave"},
        ("review", "status", *OF_TENANT),
    ),
    ("Dask", {"PLATA_DASK_ADDRESS": f"tcp://{NOBODY}"}, ("run", *OF_TENANT)),
    (
        "Postgres",
        {"PLATA_POSTGRES_URL": f"postgresql://ana:secreto@{NOBODY}/plata"},
        ("runs", "list", *OF_TENANT),
    ),
]


@pytest.fixture(scope="module")
def waits(there: Path, plata: Any) -> TenantContext:
    """A tenant with a good line and a broken one in Raw."""
    good = as_events(ALCALDIA, Part.WEEK).splitlines()[0]
    file = written(there / "eventos.jsonl", f'{good}\n{{"event_id": "cortado\n'.encode())
    (landed,) = plata.json("ingest", file, *FROM)
    assert landed["events"] == 2
    return TENANT


@pytest.mark.parametrize(("service", "environment", "words"), SERVICES_DOWN)
def test_a_service_that_is_down_is_named_with_its_address(
    waits: TenantContext,
    plata: Any,
    service: str,
    environment: dict[str, str],
    words: tuple[str, ...],
) -> None:
    line = only_line(plata(*words, env=environment))
    assert f"{service} does not answer at" in line
    assert NOBODY in line
    assert "`plata up`" in line
    assert "secreto" not in line


def test_an_alias_gone_from_mlflow_names_the_command_and_then_the_run_goes_through(
    waits: TenantContext, embedding: str, plata: Any
) -> None:
    plata.json("bundles", "create", *OF_TENANT, "--promote")
    alias = {"name": f"{NAME}.tipo", "alias": "champion"}
    api = f"{plata.mlflow_url}/api/2.0/mlflow/registered-models/alias"
    httpx.request("DELETE", api, json=alias, timeout=60).raise_for_status()
    line = only_line(plata("run", *OF_TENANT))
    assert f"{NAME}.tipo@champion is no version in MLflow, version 1 in the bundle" in line
    remedy = f"plata bundles restore --tenant {NAME}"
    assert remedy in line
    plata.json(*remedy.split()[1:])

    plata.json("run", *OF_TENANT)
    (row,) = plata.store.scan(QUARANTINE.table, waits).to_pylist()
    assert (row["raw_line"], row["reason"]) == (2, "the line is not one JSON object")
