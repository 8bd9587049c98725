"""SQL reads one tenant's tables, at a point in time where asked, and reaches nothing else."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

from contracts.tables import TICKETS
from lakehouse.control.served import ServedTables
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.as_of import AsOf
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.errors import InputError, PlataError
from lakehouse.tenancy import TenantContext
from pipelines.run import RunPorts
from pipelines.sql import SqlPorts, asking

SUR = TenantContext.parse("sur")


@pytest.fixture(scope="module")
def run_ports(
    killable: ModuleType, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> RunPorts:
    """A lake and a database after two runs of one tenant, and another tenant with nothing."""
    folder = tmp_path_factory.mktemp("sql")
    url = f"{postgres_url.rsplit('/', 1)[0]}/sql_test"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE sql_test")
    killable.prepare(url, folder)
    killable.second_run(url, folder / "lake")
    ports: RunPorts = killable.ports_at(url, folder / "lake")
    TenantDirectory(ports.postgres).create(SUR, name="Sur")
    return ports


@pytest.fixture(scope="module")
def ports(run_ports: RunPorts) -> SqlPorts:
    served = ServedTables(run_ports.postgres)
    return SqlPorts(DuckDbEngine(), run_ports.store, served, run_ports.log)


@pytest.fixture
def norte(killable: ModuleType) -> TenantContext:
    tenant: TenantContext = killable.NORTE
    return tenant


def told(text: str, tenant: TenantContext, ports: SqlPorts, as_of: str | None = None) -> list[Any]:
    point = None if as_of is None else AsOf.parse(as_of)
    with asking(text, tenant, ports, as_of=point) as answer:
        rows: list[Any] = answer.rows.read_all().to_pylist()
    return [tuple(row.values()) for row in rows]


def test_a_table_is_read_by_both_of_its_names(ports: SqlPorts, norte: TenantContext) -> None:
    for name in ("silver.tickets", "silver_tickets", 'SILVER."tickets"'):
        assert told(f"select count(*) from {name}", norte, ports) == [(8,)]


def test_tables_of_all_layers_and_served_gold_are_joined(
    ports: SqlPorts, norte: TenantContext
) -> None:
    joined = """
        with counted as (
            select day, count(*) as tickets from silver.tickets group by day
        )
        select sum(s.tickets), sum(c.tickets)
        from (select day, sum(tickets) as tickets from served.kpi_volume_daily group by day) s
        join counted c using (day)
        where exists (select 1 from bronze.pqrs_events e where e.day = c.day)
    """
    assert told(joined, norte, ports) == [(8, 8)]


def test_what_postgres_serves_keeps_its_types_and_its_nulls(
    ports: SqlPorts, run_ports: RunPorts, norte: TenantContext
) -> None:
    with run_ports.postgres.administer() as connection:
        connection.execute(
            "CREATE TABLE gold.kinds (tenant_id text, moment timestamptz, day date, share float8, "
            "fine boolean, words text, empty text, number numeric, made jsonb)"
        )
        connection.execute("GRANT SELECT ON gold.kinds TO plata_app")
        connection.execute(
            "INSERT INTO gold.kinds VALUES ('norte', '2026-01-02 03:04:05.678+05', '2026-01-02', "
            "0.1, true, E'á, \"x\"\\ny', '', 1.5, '{}'), "
            "('norte', null, null, null, null, null, null, null, null)"
        )
    query = "select moment, day, share, fine, words, empty, number, made from served.kinds"
    full, empty = sorted(told(query, norte, ports), key=lambda row: row[0] is None)
    assert full[0].isoformat() == "2026-01-01T22:04:05.678000+00:00"
    assert full[1].isoformat() == "2026-01-02"
    assert full[2:] == (0.1, True, 'á, "x"\ny', "", 1.5, "{}")
    assert empty == (None,) * 8
    assert told("select count(*) from served.kinds", SUR, ports) == [(0,)]


def test_a_statement_reads_the_tables_as_they_were(
    ports: SqlPorts, run_ports: RunPorts, norte: TenantContext
) -> None:
    count = "select (select count(*) from silver.tickets), (select count(*) from silver.messages)"
    _, first = run_ports.log.recent(norte, limit=2)
    assert told(count, norte, ports) == [(8, 8)]
    assert told(count, norte, ports, first.run.run_id) == [(2, 2)]
    commits = run_ports.store.commits(TICKETS.table, norte)
    assert told("select count(*) from silver.tickets", norte, ports, "1") == [(2,)]
    moment = commits[1].at.isoformat()
    assert told("select count(*) from silver_tickets", norte, ports, moment) == [(2,)]
    with asking("from silver.tickets", norte, ports, as_of=AsOf.parse("1")) as answer:
        assert dict(answer.versions) == {TICKETS.table: 1}


def test_points_in_time_that_mean_nothing_are_refused(
    ports: SqlPorts, norte: TenantContext
) -> None:
    with pytest.raises(InputError, match="silver_tickets was not there yet at 2020-01-01"):
        told("from silver.tickets", norte, ports, "2020-01-01")
    with pytest.raises(InputError, match=r"served\.kpi_volume_daily has no history"):
        told("from served.kpi_volume_daily", norte, ports, "2026-01-01")
    with pytest.raises(InputError, match="version 1 is of one table"):
        told("from silver.tickets, silver.messages", norte, ports, "1")


def test_another_tenant_reads_nothing(ports: SqlPorts) -> None:
    for name in ("silver.tickets", "bronze.pqrs_events", "gold.kpi_volume_daily"):
        assert told(f"select count(*) from {name}", SUR, ports) == [(0,)]
    assert told("select count(*) from served.kpi_volume_daily", SUR, ports) == [(0,)]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("from silver.ticket", r"no table 'silver\.ticket'; did you mean .*silver\.tickets"),
        ("from served.kpi_volumen", r"did you mean .*kpi_volume_daily"),
        ("from tickets", r"did you mean .*silver\.tickets"),
        ("from served.etl_runs", "no table"),
        ("select textt from silver.messages", 'column "textt" not found.*text'),
        ("selec 1", "syntax error"),
        ("select from", "syntax error"),
        ("", "expected one statement, found 0"),
        ("select 1; select 2", "expected one statement, found 2"),
        ("select cast('x' as integer)", "Could not convert string 'x'"),
    ],
)
def test_a_mistake_is_explained_in_one_line(
    ports: SqlPorts, norte: TenantContext, text: str, near: str
) -> None:
    with pytest.raises(InputError, match=near) as caught:
        told(text, norte, ports)
    assert "\n" not in str(caught.value)


ESCAPES = [
    "select * from read_csv('/etc/passwd')",
    "select * from read_csv_auto('/etc/passwd', header := false)",
    "select * from read_text('/etc/passwd')",
    "select * from read_blob('/etc/passwd')",
    "select * from read_json('/etc/passwd')",
    "select * from parquet_scan('{lake}/norte/silver/tickets/*/*/*.parquet')",
    "select * from delta_scan('{lake}/norte/silver/tickets')",
    "select * from sniff_csv('/etc/passwd')",
    "select * from glob('/etc/*')",
    "select * from '/etc/passwd'",
    "select * from 'file:///etc/passwd'",
    'select * from "{lake}/norte/silver/tickets"',
    "select (select content from read_text('/etc/passwd'))",
    "with x as (from read_text('/etc/passwd')) select * from x",
    "select * from silver.tickets where exists (from read_text('/etc/passwd'))",
    "from query('from read_text(''/etc/passwd'')')",
    "from query_table(['silver_tickets'])",
    "from postgres_query('{url}', 'select * from meta.tenants')",
    "from postgres_scan('{url}', 'gold', 'kpi_volume_daily')",
    "from norte.silver.tickets",
    "from memory.silver.tickets",
    'from "../norte/silver/tickets"',
    'from "norte/silver".tickets',
    "from source_0",
    "from gold.etl_runs",
    "from served.pg_user",
    "from meta.tenants",
    "from pg_catalog.pg_class",
    'with "pg_catalog.pg_class" as (select 1) from pg_catalog.pg_class',
    "from information_schema.tables",
    "from duckdb_settings()",
    "from duckdb_secrets()",
    "from statement",
    "from silver.tickets at (version => 1)",
    "attach '/tmp/x.db'",
    "attach '{url}' as pg (type postgres)",
    "copy (select 1) to '{lake}/escaped.csv'",
    "copy silver.tickets to '{lake}/escaped.parquet'",
    "export database '{lake}/escaped'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "reset lock_configuration",
    "pragma database_list",
    "pragma enable_profiling",
    "call pragma_version()",
    "show tables",
    "show all tables",
    "create table silver.tickets as select 1",
    "create or replace macro f() as 1",
    "create secret s (type s3)",
    "delete from silver.tickets",
    "insert into silver.tickets select * from silver.tickets",
    "update silver.tickets set subject = ''",
    "drop view silver.tickets",
    "truncate silver.tickets",
    "use memory",
    "explain analyze copy (select 1) to '{lake}/escaped.csv'",
    "prepare p as select 1",
    "begin",
    "select 1; copy (select 1) to '{lake}/escaped.csv'",
    "select getenv('PATH')",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_no_statement_leaves_the_tenants_tables(
    ports: SqlPorts, run_ports: RunPorts, text: str, tmp_path: Path
) -> None:
    lake, url = tmp_path / "lake", "postgresql://plata@127.0.0.1/plata"
    lake.mkdir()
    with pytest.raises(PlataError):
        told(text.replace("{lake}", str(lake)).replace("{url}", url), SUR, ports)
    assert list(lake.iterdir()) == []


def test_an_answer_larger_than_a_batch_streams(ports: SqlPorts, norte: TenantContext) -> None:
    with asking("select * from range(100000)", norte, ports) as answer:
        first = answer.rows.read_next_batch()
        assert 0 < len(first) < 100_000


def test_a_postgres_that_is_down_does_not_tell_its_password(
    ports: SqlPorts, norte: TenantContext
) -> None:
    from dataclasses import replace

    from lakehouse.control.postgres import Postgres

    nowhere = Postgres("postgresql://ana:secreto@127.0.0.1:1/plata")
    blind = replace(ports, served=ServedTables(nowhere))
    with pytest.raises(PlataError, match="plata up") as caught:
        told("from served.kpi_volume_daily", norte, blind)
    assert "secreto" not in str(caught.value)
