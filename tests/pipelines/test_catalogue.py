"""The catalogue says what the lake says, and points in time are resolved against the lake."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import psycopg
import pyarrow as pa
import pytest

from contracts.tables import KPI_VOLUME_DAILY, LABELS, MESSAGES, TICKETS
from lakehouse.control.catalogue import TableCatalogue, TableEntry
from lakehouse.control.postgres import Postgres
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.as_of import AsOf
from lakehouse.data.tables import TableRef
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.catalogue import (
    CONTRACTS,
    find_contract,
    measure,
    refresh_catalogue,
    run_at,
    tables_at,
    versions_at,
)
from pipelines.run import RunPorts


@pytest.fixture(scope="module")
def ports(
    killable: ModuleType, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> RunPorts:
    """A lake and a database of their own, after two runs."""
    folder = tmp_path_factory.mktemp("catalogue")
    server = postgres_url.rsplit("/", 1)[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE catalogue_test")
    killable.prepare(f"{server}/catalogue_test", folder)
    killable.second_run(f"{server}/catalogue_test", folder / "lake")
    made: RunPorts = killable.ports_at(f"{server}/catalogue_test", folder / "lake")
    return made


def entries(ports: RunPorts, tenant: TenantContext) -> list[TableEntry]:
    return TableCatalogue(ports.postgres).entries(tenant)


def test_the_catalogue_equals_what_the_lake_says_when_a_run_has_closed(
    killable: ModuleType, ports: RunPorts
) -> None:
    known = {entry.name: entry for entry in entries(ports, killable.NORTE)}
    written = [t for t in CONTRACTS if ports.store.head(t, killable.NORTE) is not None]
    assert set(known) == {f"{t.layer}.{t.entity}" for t in written}
    newest = ports.log.recent(killable.NORTE, limit=1)[0].run.run_id
    for table in written:
        entry, rows = (
            known[f"{table.layer}.{table.entity}"],
            ports.store.scan(table, killable.NORTE),
        )
        head = ports.store.head(table, killable.NORTE)
        assert rows is not None
        assert head is not None
        assert (entry.rows, entry.version) == (len(rows), head.version)
        assert entry.newest_day == max(rows["day"].to_pylist())
        assert entry.contract_version == CONTRACTS[table].version
        assert entry.owner
        assert entry.last_run == newest
        files = [f for f in Path(entry.location).rglob("*.parquet") if "_delta_log" not in str(f)]
        assert (entry.files, entry.size_bytes) == (
            len(files),
            sum(file.stat().st_size for file in files),
        )


def test_what_was_written_outside_a_run_is_there_after_a_refresh(
    killable: ModuleType, ports: RunPorts
) -> None:
    run = RunContext.begin(killable.NORTE, kind="labels", at=datetime(2026, 2, 1, tzinfo=UTC))
    before = entries(ports, killable.NORTE)
    ports.store.append(LABELS.table, one_label(run), run)
    assert entries(ports, killable.NORTE) == before
    catalogue = TableCatalogue(ports.postgres)
    refreshed = refresh_catalogue(killable.NORTE, store=ports.store, catalogue=catalogue)
    assert set(entries(ports, killable.NORTE)) == set(refreshed)
    (labels,) = [entry for entry in refreshed if entry.name == "silver.labels"]
    assert (labels.rows, labels.last_run) == (1, run.run_id)


def one_label(run: RunContext) -> pa.Table:
    words = {field.name: "x" for field in LABELS.schema if not field.nullable}
    row = {
        **words,
        "tenant_id": run.tenant.tenant_id,
        "run_id": run.run_id,
        "day": date(2026, 1, 1),
        "suggested_score": 0.5,
        "responded_at": run.started_at,
    }
    return pa.Table.from_pylist([row], schema=LABELS.schema)


def test_the_catalogue_shows_a_tenant_its_own_tables_only(
    killable: ModuleType, ports: RunPorts
) -> None:
    sur = TenantContext.parse("sur")
    TenantDirectory(ports.postgres).create(sur, name="Sur")
    assert entries(ports, sur) == []
    refresh_catalogue(sur, store=ports.store, catalogue=TableCatalogue(ports.postgres))
    assert entries(ports, sur) == []
    assert entries(ports, killable.NORTE)


def test_a_run_means_what_it_left(killable: ModuleType, ports: RunPorts) -> None:
    second, first = ports.log.recent(killable.NORTE, limit=2)
    counted = {}
    for record in (first, second):
        as_of = AsOf.parse(record.run.run_id)
        found = tables_at(as_of, killable.NORTE, store=ports.store, log=ports.log)
        measured = measure(killable.NORTE, ports.store, versions=found)
        counted[record.run.run_id] = {e.name: e.rows for e in measured}
    assert counted[first.run.run_id]["silver.tickets"] == 2
    assert counted[second.run.run_id]["silver.tickets"] == 8
    assert "silver.attachments" not in counted[first.run.run_id]


def test_a_moment_means_what_was_there(killable: ModuleType, ports: RunPorts) -> None:
    first = ports.store.commits(TICKETS.table, killable.NORTE)[1]
    found = at(ports, killable.NORTE, first.at.isoformat(), TICKETS.table)
    assert found == {TICKETS.table: 1}
    with pytest.raises(InputError, match="silver_tickets was not there yet at 2020-01-01"):
        at(ports, killable.NORTE, "2020-01-01", TICKETS.table)
    later = (first.at + timedelta(days=1)).isoformat()
    head = ports.store.head(TICKETS.table, killable.NORTE)
    assert head is not None
    assert at(ports, killable.NORTE, later, TICKETS.table) == {TICKETS.table: head.version}


def at(ports: RunPorts, tenant: TenantContext, text: str, *tables: TableRef) -> dict[TableRef, int]:
    return versions_at(AsOf.parse(text), tables, tenant, store=ports.store, log=ports.log)


def test_a_point_that_means_nothing_here_is_refused(killable: ModuleType, ports: RunPorts) -> None:
    with pytest.raises(InputError, match="has no run 'run-20260102T030405-cfb36bd5'"):
        at(ports, killable.NORTE, "run-20260102T030405-cfb36bd5", TICKETS.table)
    with pytest.raises(InputError, match="version 1 is of one table, and these are several"):
        at(ports, killable.NORTE, "1", TICKETS.table, MESSAGES.table)
    with pytest.raises(InputError, match="version 1 is of one table"):
        tables_at(AsOf.parse("1"), killable.NORTE, store=ports.store, log=ports.log)


def test_the_run_that_wrote_last_is_named_by_version_by_moment_and_by_run(
    killable: ModuleType, ports: RunPorts
) -> None:
    second, first = (record.run.run_id for record in ports.log.recent(killable.NORTE, limit=2))
    commit = ports.store.commits(KPI_VOLUME_DAILY.table, killable.NORTE)[1]
    for text in ("1", commit.at.isoformat(), first):
        assert last_run(ports, killable.NORTE, text) == first
    assert last_run(ports, killable.NORTE, second) == second
    with pytest.raises(InputError, match=r"no run .* had written gold\.kpi_volume_daily at 0"):
        last_run(ports, killable.NORTE, "0")


def last_run(ports: RunPorts, tenant: TenantContext, text: str) -> str:
    table, as_of = KPI_VOLUME_DAILY.table, AsOf.parse(text)
    return run_at(as_of, table, tenant, store=ports.store, log=ports.log)


def test_a_run_of_the_other_tenant_is_not_known(ports: RunPorts, killable: ModuleType) -> None:
    own = ports.log.recent(killable.NORTE, limit=1)[0].run.run_id
    with pytest.raises(InputError, match="tenant 'sur' has no run"):
        at(ports, TenantContext.parse("sur"), own, TICKETS.table)


@pytest.mark.parametrize(
    "name", ["gold.kpi_volume_daily", "gold_kpi_volume_daily", "GOLD.kpi_volume_daily"]
)
def test_a_table_is_found_by_both_of_its_names(name: str) -> None:
    assert find_contract(name) is KPI_VOLUME_DAILY


@pytest.mark.parametrize("name", ["silver.ticket", "tickets", "bronze.tickets"])
def test_an_unknown_table_is_answered_with_its_neighbours(name: str) -> None:
    with pytest.raises(InputError, match=r"did you mean .*silver\.tickets"):
        find_contract(name)


def test_a_catalogue_without_a_database_says_so() -> None:
    nowhere = TableCatalogue(Postgres("postgresql://ana:secreto@127.0.0.1:1/plata"))
    with pytest.raises(Exception, match="plata up") as caught:
        nowhere.entries(TenantContext.parse("norte"))
    assert "secreto" not in str(caught.value)
