"""`plata ingest`, the layers, `plata search`, `plata runs`: real tables, quick models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import typer
from deltalake import DeltaTable
from typer.testing import CliRunner

from infra.embedded.endpoints import Endpoints
from lakehouse.errors import InputError, UnknownTenantError
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.errors import NothingToDoError
from pipelines.tenant_config import default_config
from serving.cli import backfill, data, runs

Plata = Callable[..., Any]


@pytest.fixture
def tenant(
    killable: ModuleType, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    settings = Settings(home=tmp_path / "estado", lake_uri=str(tmp_path / "lake"))
    platform = Platform(settings, Endpoints(postgres_url=postgres_url))
    ports = killable.ports_at(postgres_url, tmp_path / "lake")
    platform.__dict__.update(run_ports=ports, registry=ports.registry)
    name = f"c{uuid4().hex[:10]}"
    context = TenantContext.parse(name)
    platform.tenants.create(context, name="Consola")
    platform.tenants.configure(context, default_config())
    killable.promote_aliases(context, platform.tasks(context), ports)
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
    return name


@pytest.fixture
def plata() -> Plata:
    app = typer.Typer()
    data.register(app)
    app.add_typer(runs.app, name="runs")
    app.add_typer(backfill.app, name="backfill")

    def call(*words: str) -> Any:
        result = CliRunner().invoke(app, [*words, "--json"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return call


def texts(folder: Path) -> str:
    path = folder / "textos.csv"
    path.write_text("id,texto\n1,Cobro doble\n2,No hay luz\n3,Gracias por todo\n", encoding="utf-8")
    return str(path)


def test_texts_go_from_a_file_to_gold_and_are_found_again(
    plata: Plata, tenant: str, tmp_path: Path
) -> None:
    mapped = ["--map", "text=texto", "--map", "external_id=id"]
    landed = plata("ingest", texts(tmp_path), "-t", tenant, "-s", "portal", *mapped)
    assert [(r["new"], r["events"]) for r in landed] == [(True, 6)]
    again = plata("ingest", texts(tmp_path), "-t", tenant, "-s", "portal", *mapped)
    assert [(r["new"], r["events"]) for r in again] == [(False, 6)]

    run_id = plata("bronze", "-t", tenant)["run_id"]
    assert plata("silver", "-t", tenant)["run_id"] == run_id
    manifest = plata("run", "-t", tenant, "--only", "gold")
    assert manifest["run_id"] == run_id
    assert manifest["counts"]["silver_tickets"] == 3

    found = plata("search", "No hay luz", "-t", tenant, "-k", "2")
    assert len(found) == 2
    assert found[0]["similarity"] == pytest.approx(1.0, abs=1e-2)
    assert "No hay luz" not in json.dumps(found, ensure_ascii=False)
    worded = plata("search", "No hay luz", "-t", tenant, "-k", "2", "--words")
    assert worded[0]["text"].startswith("No hay luz")

    listed = plata("runs", "list", "-t", tenant)
    assert [(r["run_id"], r["status"]) for r in listed] == [(run_id, "COMPLETED")]
    shown = plata("runs", "show", run_id, "-t", tenant)
    assert shown["manifest"]["pins"]["tipo.champion"] == f"models:/{tenant}.tipo/2"
    assert shown["plan"]["bundle_asked"] == f"bundle:/{tenant}@champion"
    assert shown["manifest"]["pins"]["bundle"] == shown["plan"]["bundle_id"]
    assert all(check["passed"] for check in shown["quality"])


def test_a_run_is_computed_again_and_rows_that_were_lost_come_back(
    plata: Plata, tenant: str, tmp_path: Path
) -> None:
    plata("ingest", texts(tmp_path), "-t", tenant, "-s", "portal", "--map", "text=texto")
    run_id = plata("bronze", "-t", tenant)["run_id"]
    plata("silver", "-t", tenant)
    plata("gold", "-t", tenant)
    again = plata("runs", "reproduce", run_id, "-t", tenant)
    assert (again["of_run"], again["agrees"]) == (run_id, True)

    wanted = ["--from", "2020-01-01", "--to", "2100-01-01", "--layer", "bronze"]
    assert plata("backfill", "-t", tenant, *wanted)["chunks"] == []
    lost = DeltaTable(str(tmp_path / "lake" / tenant / "bronze" / "pqrs_events"))
    lost.restore(0)
    (chunk,) = plata("backfill", "-t", tenant, *wanted, "--plan")["chunks"]
    assert chunk["new"] == {"bronze_pqrs_events": 6}
    assert plata("backfill", "-t", tenant, *wanted)["over"] is True
    assert plata("backfill", "-t", tenant, *wanted)["chunks"] == []
    with pytest.raises(NothingToDoError, match="no unfinished backfill"):
        plata("backfill", "status", "-t", tenant)


def test_nothing_waiting_is_said_and_is_no_error(plata: Plata, tenant: str) -> None:
    assert plata("bronze", "-t", tenant)["message"] == "nothing waits in Raw"
    assert plata("runs", "list", "-t", tenant) == []


def test_an_open_run_can_be_given_up_once(plata: Plata, tenant: str, tmp_path: Path) -> None:
    plata("ingest", texts(tmp_path), "-t", tenant, "-s", "portal", "--map", "text=texto")
    run_id = plata("bronze", "-t", tenant)["run_id"]
    assert plata("runs", "abandon", run_id, "-t", tenant)["status"] == "FAILED"
    with pytest.raises(InputError, match="only an open run can be given up"):
        plata("runs", "abandon", run_id, "-t", tenant)


def test_what_cannot_be_done_says_what_to_do(plata: Plata, tenant: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        plata("ingest", "nada.csv", "-t", tenant, "-s", "portal")
    with pytest.raises(InputError, match="is not a source name"):
        plata("ingest", texts(tmp_path), "-t", tenant, "-s", "../x")
    with pytest.raises(InputError, match="give one of --map, --mapping and --email"):
        plata("ingest", "a.csv", "-t", tenant, "-s", "p", "--map", "text=a", "--email")
    with pytest.raises(UnknownTenantError, match="unknown tenant 'nadie'"):
        plata("ingest", texts(tmp_path), "-t", "nadie", "-s", "p", "--map", "text=texto")
    with pytest.raises(NothingToDoError, match="plata run --tenant"):
        plata("search", "algo", "-t", tenant)
    with pytest.raises(NothingToDoError, match="plata run --only bronze"):
        plata("silver", "-t", tenant)
    with pytest.raises(InputError, match="has no run 'x'"):
        plata("runs", "show", "x", "-t", tenant)
