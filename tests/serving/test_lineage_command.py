"""`plata lineage` as people and programs call it: real tables, quick models."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import typer
from rich.console import Console as RichConsole
from typer.testing import CliRunner

from infra.embedded.endpoints import Endpoints
from lakehouse.errors import InputError
from lakehouse.run import RunId
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.ingest import RawStore, ingest
from pipelines.lineage_forward import Effect, Fate, Footprint, TouchedNumber
from pipelines.run import run_tenant
from pipelines.source_files import SourceFile
from pipelines.tenant_config import default_config
from serving.cli import data, lineage
from serving.cli.lineage_view import footprint_tree

AT = datetime(2026, 1, 10, tzinfo=UTC)
WORDS = "Llevo tres días sin agua"


@dataclass(frozen=True)
class Console:
    """A tenant with one run over eight tickets of one kind, and the program `plata`."""

    tenant: str
    run_id: str

    def __call__(self, *words: str) -> str:
        app = typer.Typer()
        data.register(app)
        lineage.register(app)
        result = CliRunner().invoke(app, [*words, "-t", self.tenant])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture(scope="module")
def plata(
    killable: ModuleType, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Console:
    folder = tmp_path_factory.mktemp("linaje")
    lake = folder / "mi lago"
    platform = Platform(
        Settings(home=folder / "estado", lake_uri=str(lake)), Endpoints(postgres_url=postgres_url)
    )
    ports = killable.ports_at(postgres_url, lake)
    platform.__dict__.update(run_ports=ports, registry=ports.registry)
    tenant = TenantContext.parse(f"l{uuid4().hex[:10]}")
    platform.tenants.create(tenant, name="Linaje")
    platform.tenants.configure(tenant, default_config())
    killable.promote_aliases(tenant, platform.tasks(tenant), ports)
    names = [f"a{number}" for number in range(8)]
    lines = [
        line for name in names for line in (killable.created(name), killable.said(name, WORDS))
    ]
    file = SourceFile.find(killable.write_lines(folder / "a.jsonl", [*lines, "no es JSON"]))
    raw = RawStore(platform.files, platform.landings)
    ingest(file, tenant, source="sim", mapping=None, raw=raw, at=AT)
    manifest = run_tenant(tenant, platform.tasks(tenant), ports, at=AT)
    assert manifest is not None
    patch = pytest.MonkeyPatch()
    patch.setattr(bootstrap, "open_platform", lambda: platform)
    return Console(tenant.tenant_id, manifest.run.run_id)


NUMBER = ["lineage", "gold.kpi_volume_daily", "--day", "2026-01-01"]


def test_a_number_is_drawn_down_to_a_line_one_can_print(plata: Console) -> None:
    shown = plata(*NUMBER)
    assert "= 8" in shown
    assert "y 3 más (--all las muestra)" in shown
    assert shown.count("radicado ") == 5
    assert f"{plata.tenant}.tipo/2" in shown
    assert " ← F1:" in shown
    (command,) = [line.strip() for line in shown.splitlines() if "sed -n" in line]
    printed = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout)["event_id"] in shown
    assert plata(*NUMBER, "--all").count("radicado ") == 8


def test_no_citizens_text_is_ever_shown(plata: Console) -> None:
    said = [plata(*NUMBER, "--all"), plata(*NUMBER, "--json")]
    found = plata.json(*NUMBER)
    event = next(iter(found["tickets"].values()))["events"][0]
    place = f"{event['raw']['path']}:{event['raw']['line']}"
    said += [plata("lineage", "raw", place), plata("lineage", "raw", place, "--json", "--history")]
    assert all("agua" not in words and "no es JSON" not in words for words in said)


def test_the_json_is_whole_and_its_lines_hold_the_events(plata: Console) -> None:
    found = plata.json(*NUMBER)
    assert len(found["tickets"]) == 8
    assert found["run_id"] == plata.run_id
    for trace in found["tickets"].values():
        for event in trace["events"]:
            line = Path(event["raw"]["address"]).read_text().splitlines()[event["raw"]["line"] - 1]
            assert json.loads(line)["event_id"] == event["event_id"]


def test_a_line_is_followed_to_the_served_numbers(plata: Console) -> None:
    trace = next(iter(plata.json(*NUMBER)["tickets"].values()))
    raw = trace["events"][0]["raw"]
    shown = plata("lineage", "raw", f"{raw['path']}:{raw['line']}")
    assert "servidas ahora" in shown
    assert "gold_kpi_volume_daily (1)" in shown
    refused = plata("lineage", "raw", f"{raw['path']}:17")
    assert "en cuarentena" in refused
    assert "the line is not one JSON object" in refused


def test_a_number_the_ticket_was_taken_out_of_is_drawn_as_such() -> None:
    key = {"day": "2026-01-05", "pqrs_type": "queja", "geo_region": "Huila"}
    told = ("gold_kpi_backlog_daily", RunId("run-1"), True, key, "open_tickets", 3)
    numbers = (TouchedNumber("t", *told), TouchedNumber("t", *told, Effect.TAKEN_OUT))
    tree, _ = footprint_tree(Footprint("x", Fate.ROW, numbers=numbers), limit=5)
    console = RichConsole(width=120, record=True, file=io.StringIO())
    console.print(tree)
    shown = console.export_text()
    assert "queja · Huila: open_tickets = 3\n" in shown.replace(" \n", "\n")
    assert "queja · Huila: open_tickets = 3, sin el radicado" in shown


def test_a_run_is_drawn_between_its_tables(plata: Console) -> None:
    shown = plata("lineage", "run", plata.run_id)
    assert "bronze_pqrs_events@" in shown
    assert "versiones fijadas" in shown
    assert plata.json("lineage", "run", plata.run_id)["counts"]["silver_tickets"] == 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gold.kpi_volume_daily"], "say the number's day: --day YYYY-MM-DD"),
        (["gold.kpi_volume_daily", "--day", "ayer"], "--day is 'ayer', expected a day such as"),
        (["gold.nada", "--day", "2026-01-01"], "is not a table of Gold; there are"),
        ([*NUMBER[1:], "--where", "label"], "is no pair, expected KEY=VALUE"),
        ([*NUMBER[1:], "--type", "tutela"], "that day has pqrs_type"),
        (["raw"], "plata lineage raw FILE:LINE"),
        (["run", "x"], "has no run 'x'"),
    ],
)
def test_a_question_that_cannot_be_answered_says_what_to_do(
    plata: Callable[..., str], words: list[str], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        plata("lineage", *words)
