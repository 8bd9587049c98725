"""`plata tables` and `plata sql` over a small real lake: the catalogue, the past, and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from infra.embedded.endpoints import Endpoints
from lakehouse.control.runs import TenantBusyError
from lakehouse.errors import InputError
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.ingest import RawStore, ingest
from pipelines.mapping import ColumnMapping
from pipelines.run import run_tenant
from pipelines.source_files import SourceFile
from pipelines.tenant_config import default_config
from serving.cli import lineage, sql, tables

SECRET = "Mi vecina María no paga la factura"

Plata = Callable[..., Any]


@pytest.fixture(scope="module")
def platform(
    killable: ModuleType, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Platform:
    folder = tmp_path_factory.mktemp("tables")
    settings = Settings(home=folder / "estado", lake_uri=str(folder / "lake"))
    made = Platform(settings, Endpoints(postgres_url=postgres_url))
    ports = killable.ports_at(postgres_url, folder / "lake")
    made.__dict__.update(run_ports=ports, registry=ports.registry)
    return made


@pytest.fixture(scope="module")
def runs(
    killable: ModuleType, platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[str]]:
    """A tenant and its two runs: two tickets, then one more."""
    name = f"t{uuid4().hex[:10]}"
    context = TenantContext.parse(name)
    platform.tenants.create(context, name="Tablas")
    platform.tenants.configure(context, default_config())
    killable.promote_aliases(context, platform.tasks(context), platform.run_ports)
    folder, ran = tmp_path_factory.mktemp("files"), []
    mapping = ColumnMapping.parse(["text=texto", "external_id=id"])
    raw = RawStore(platform.files, platform.landings)
    for day, lines in enumerate([[f"1,{SECRET}", "2,No hay luz"], ["3,Gracias por todo"]], start=1):
        path, at = folder / f"{day}.csv", datetime(2026, 1, day, tzinfo=UTC)
        path.write_text("\n".join(["id,texto", *lines]) + "\n", encoding="utf-8")
        ingest(SourceFile.find(path), context, source="web", mapping=mapping, raw=raw, at=at)
        manifest = run_tenant(context, platform.tasks(context), platform.run_ports, at=at)
        assert manifest is not None
        ran.append(str(manifest.run.run_id))
    return name, ran


@pytest.fixture
def tenant(platform: Platform, runs: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
    return runs[0]


@pytest.fixture
def plata() -> Plata:
    app = typer.Typer()
    sql.register(app)
    lineage.register(app)
    app.add_typer(tables.app, name="tables")

    def call(*words: str, as_json: bool = True) -> Any:
        result = CliRunner().invoke(app, [*words, "--json"] if as_json else [*words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if as_json else result.stdout

    return call


def test_the_tables_are_listed_with_size_freshness_version_and_owner(
    plata: Plata, tenant: str, runs: tuple[str, list[str]]
) -> None:
    listed = {row["table"]: row for row in plata("tables", "list", "-t", tenant)}
    tickets = listed["silver.tickets"]
    assert (tickets["rows"], tickets["newest_day"]) == (3, "2026-01-02")
    assert tickets["last_run"] == runs[1][1]
    assert tickets["size_bytes"] > 0
    assert tickets["owner"]
    drawn = plata("tables", "list", "-t", tenant, as_json=False)
    assert "silver.tickets" in drawn
    assert "responsable" in drawn


def test_a_list_as_of_a_run_says_what_that_run_left(
    plata: Plata, tenant: str, runs: tuple[str, list[str]]
) -> None:
    for run_id, rows in zip(runs[1], (2, 3), strict=True):
        listed = plata("tables", "list", "-t", tenant, "--as-of", run_id)
        assert {r["table"]: r["rows"] for r in listed}["silver.tickets"] == rows
    assert plata("tables", "list", "-t", tenant, "--as-of", "2020-01-01") == []


def test_a_refresh_lists_the_same(plata: Plata, tenant: str) -> None:
    before = plata("tables", "list", "-t", tenant)
    after = plata("tables", "refresh", "-t", tenant)
    assert sorted(before, key=lambda r: r["table"]) == sorted(after, key=lambda r: r["table"])


def test_a_table_is_shown_with_meaning_and_figures_and_no_citizens_words(
    plata: Plata, tenant: str
) -> None:
    shown = plata("tables", "show", "silver.messages", "-t", tenant)
    columns = {column["name"]: column for column in shown["columns"]}
    assert shown["partitions"] == ["source", "day"]
    assert columns["text"]["classification"] == "personal"
    assert (columns["text"]["distinct"], columns["text"]["smallest"]) == (3, None)
    assert (columns["day"]["smallest"], columns["day"]["largest"]) == ("2026-01-01", "2026-01-02")
    assert all(column["description"] for column in shown["columns"])
    everything = json.dumps(shown, ensure_ascii=False)
    everything += plata("tables", "show", "silver.messages", "-t", tenant, as_json=False)
    assert "María" not in everything
    assert "luz" not in everything


def test_every_table_the_tenant_has_can_be_shown(plata: Plata, tenant: str) -> None:
    for row in plata("tables", "list", "-t", tenant):
        shown = plata("tables", "show", row["table"], "-t", tenant)
        assert (shown["rows"], shown["version"]) == (row["rows"], row["version"])


def test_a_table_is_shown_as_it_was(plata: Plata, tenant: str, runs: tuple[str, list[str]]) -> None:
    then = plata("tables", "show", "silver.tickets", "-t", tenant, "--as-of", runs[1][0])
    assert (then["rows"], then["newest_day"], then["last_run"]) == (2, "2026-01-01", runs[1][0])


def test_the_history_says_which_run_added_what(
    plata: Plata, tenant: str, runs: tuple[str, list[str]]
) -> None:
    told = plata("tables", "history", "silver_tickets", "-t", tenant)
    added = [(row["run_id"], row["rows_added"]) for row in told if row["rows_added"]]
    assert added == [(runs[1][1], 1), (runs[1][0], 2)]
    assert len(plata("tables", "history", "silver.tickets", "-t", tenant, "--limit", "1")) == 1
    assert "versión" in plata("tables", "history", "silver.tickets", "-t", tenant, as_json=False)


def test_a_select_answers_with_rows_and_the_versions_it_read(plata: Plata, tenant: str) -> None:
    query = "select day, count(*) as n from silver.tickets group by day order by day"
    told = plata("sql", query, "-t", tenant)
    assert told["columns"] == ["day", "n"]
    assert told["rows"] == [["2026-01-01", 2], ["2026-01-02", 1]]
    assert list(told["versions"]) == ["silver.tickets"]
    drawn = plata("sql", query, "-t", tenant, as_json=False)
    assert "silver.tickets versión" in drawn


def test_an_answer_that_is_cut_says_so(plata: Plata, tenant: str) -> None:
    cut = plata("sql", "from silver.tickets", "-t", tenant, "--limit", "2")
    assert (len(cut["rows"]), cut["more"]) == (2, True)
    whole = plata("sql", "from silver.tickets", "-t", tenant, "--limit", "3")
    assert (len(whole["rows"]), whole["more"]) == (3, False)


def test_an_answer_goes_whole_into_a_file(plata: Plata, tenant: str, tmp_path: Path) -> None:
    query = "select range as n, 'á, \"' || range as words from range(50000)"
    for option, read in (("--csv", pacsv.read_csv), ("--parquet", pq.read_table)):
        file = tmp_path / f"answer{option}"
        assert plata("sql", query, "-t", tenant, option, str(file))["rows"] == 50_000
        rows = read(str(file))
        assert (len(rows), rows["words"][49_999].as_py()) == (50_000, 'á, "49999')
    part = tmp_path / "part.csv"
    assert plata("sql", query, "-t", tenant, "--csv", str(part), "--limit", "7")["rows"] == 7
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "answer--csv",
        "answer--parquet",
        "part.csv",
    ]


def test_an_answer_as_of_a_run_reads_its_tables(
    plata: Plata, tenant: str, runs: tuple[str, list[str]]
) -> None:
    query = "select count(*) from silver.tickets"
    assert plata("sql", query, "-t", tenant, "--as-of", runs[1][0])["rows"] == [[2]]


def test_a_number_is_followed_as_it_was_counted_then(
    plata: Plata, tenant: str, runs: tuple[str, list[str]]
) -> None:
    (kind,) = {row[0] for row in plata("sql", _FIRST_DAY, "-t", tenant)["rows"][:1]}
    asked = ["lineage", "gold.kpi_volume_daily", "--day", "2026-01-01", "--type", kind]
    for run_id in runs[1]:
        assert run_id in json.dumps(plata(*asked, "-t", tenant, "--as-of", run_id))
    with pytest.raises(InputError, match="give one of --run and --as-of"):
        plata(*asked, "-t", tenant, "--as-of", runs[1][0], "--run", runs[1][0])


_FIRST_DAY = "select pqrs_type from gold.kpi_volume_daily where day = '2026-01-01' order by run_id"


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    plata: Plata, tenant: str, tmp_path: Path
) -> None:
    old = tmp_path / "old.csv"
    old.write_text("kept", encoding="utf-8")
    failing = "select cast(if(range < 40000, '1', 'x') as int) from range(50000)"
    with pytest.raises(InputError, match="Could not convert"):
        plata("sql", failing, "-t", tenant, "--csv", str(old))
    assert old.read_text(encoding="utf-8") == "kept"
    assert list(tmp_path.iterdir()) == [old]
    with pytest.raises(InputError, match="cannot write"):
        plata("sql", "select 1", "-t", tenant, "--csv", str(tmp_path / "no" / "folder.csv"))
    with pytest.raises(InputError, match="use --parquet"):
        plata("sql", "select embedding from silver.embeddings", "-t", tenant, "--csv", str(old))


def test_small_files_are_merged_and_the_catalogue_knows(plata: Plata, tenant: str) -> None:
    count = "select count(*), count(distinct ticket_id) from gold.kpi_volume_daily, silver.tickets"
    answer = plata("sql", count, "-t", tenant)["rows"]
    asked = ["tables", "compact", "gold.kpi_volume_daily", "-t", tenant]
    (foreseen,) = plata(*asked, "--dry-run")
    before = {row["table"]: row for row in plata("tables", "list", "-t", tenant)}
    (done,) = plata(*asked)
    after = {row["table"]: row for row in plata("tables", "list", "-t", tenant)}
    assert foreseen["merged_files"] == done["merged_files"] > done["made_files"] > 0
    name = "gold.kpi_volume_daily"
    gone = done["merged_files"] - done["made_files"]
    assert after[name]["files"] == before[name]["files"] - gone
    assert after[name]["last_run"] == before[name]["last_run"]
    assert plata("sql", count, "-t", tenant)["rows"] == answer
    (again,) = plata(*asked)
    assert again["merged_files"] == 0


def test_a_vacuum_leaves_what_young_runs_read(
    plata: Plata, tenant: str, runs: tuple[str, list[str]]
) -> None:
    dry = plata("tables", "vacuum", "--all", "-t", tenant, "--dry-run")
    assert dry == [
        {**row, "dry_run": True} for row in plata("tables", "vacuum", "--all", "-t", tenant)
    ]
    assert sum(row["deleted_files"] for row in dry) == 0
    assert plata("tables", "list", "-t", tenant, "--as-of", runs[1][0])
    assert "archivos borrados" in plata("tables", "vacuum", "--all", "-t", tenant, as_json=False)


def test_a_chore_waits_for_no_run_and_names_its_table(
    plata: Plata, tenant: str, platform: Platform
) -> None:
    with (
        platform.runs.exclusive(TenantContext.parse(tenant), "run"),
        pytest.raises(TenantBusyError, match="another 'run' is at work"),
    ):
        plata("tables", "compact", "--all", "-t", tenant)
    for words in (["compact"], ["vacuum", "silver.tickets", "--all"]):
        with pytest.raises(InputError, match="name one table, or give --all"):
            plata("tables", *words, "-t", tenant)


def test_what_cannot_be_asked_says_what_to_do(plata: Plata, tenant: str) -> None:
    with pytest.raises(InputError, match=r"no table 'silver\.ticket'; did you mean"):
        plata("tables", "show", "silver.ticket", "-t", tenant)
    with pytest.raises(InputError, match="is no point in time"):
        plata("tables", "list", "-t", tenant, "--as-of", "ayer")
    with pytest.raises(InputError, match=r"has no silver\.labels yet"):
        plata("tables", "show", "silver.labels", "-t", tenant)
    with pytest.raises(InputError, match="only SELECT is accepted"):
        plata("sql", "delete from silver.tickets", "-t", tenant)
    with pytest.raises(InputError, match="give one of --csv and --parquet"):
        plata("sql", "select 1", "-t", tenant, "--csv", "a.csv", "--parquet", "a.parquet")
