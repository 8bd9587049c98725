from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from contracts.contract import Contract
from contracts.tables import GOLD, KPI_ACCURACY_DAILY, KPI_SLA_DAILY, STATUS_FLOW, TICKETS_SNAPSHOT
from lakehouse.control.drift import DriftLog, DriftMeasure, DriftRecord
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.manifest import RunManifest
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.gold import Figures
from pipelines.gold_serving import serve_gold
from pipelines.steps import unobserved

AT = datetime(2026, 1, 10, tzinfo=UTC)
MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


@pytest.fixture
def postgres(postgres_url: str) -> Postgres:
    return Postgres(postgres_url)


def of(postgres: Postgres, name: str) -> RunContext:
    tenant = TenantContext.parse(name)
    TenantDirectory(postgres).create(tenant, name=name)
    return RunContext.begin(tenant, kind="run", at=AT)


def rows(contract: Contract, run: RunContext, *given: dict[str, Any]) -> pa.Table:
    fence = {"tenant_id": run.tenant.tenant_id, "run_id": run.run_id}
    return pa.Table.from_pylist([{**fence, **row} for row in given], schema=contract.schema)


def figures(run: RunContext, **given: pa.Table) -> Figures:
    return {contract: given.get(contract.table.entity, contract.empty()) for contract in GOLD}


def asked(postgres: Postgres, run: RunContext, query: str) -> list[tuple[Any, ...]]:
    with postgres.connect(run.tenant) as connection:
        return connection.execute(query.encode()).fetchall()


def one_ticket(name: str, **values: Any) -> dict[str, Any]:
    given = {
        "ticket_id": name,
        "day": MONDAY,
        "pqrs_type": "queja",
        "priority": "alta",
        "source_channel": "email",
        "geo_region": "sin_region",
        "state": "RADICATED",
        "is_open": True,
        "created_at": AT,
        "state_since": AT,
        "reopened": 0,
        "sla_elapsed_days": 0.5,
        "is_overdue": False,
        "overdue_days": 0.0,
    }
    return {**given, **values}


def test_what_is_served_is_what_was_counted_also_nothing_at_all_and_quotes(
    postgres: Postgres,
) -> None:
    run = of(postgres, "servida")
    town = 'San "Juan", \\N\nde Urabá'
    tickets = [
        one_ticket("a", geo_municipio=town, sla_due_at=AT, sla_term_days=10),
        one_ticket("b", geo_municipio="", sla_elapsed_days=1 / 3),
    ]
    snapshot = rows(TICKETS_SNAPSHOT, run, *tickets)
    for _ in range(2):
        served = figures(run, tickets_snapshot=snapshot)
        serve_gold(served, run, postgres=postgres, on_step=unobserved)
    columns = ["ticket_id", "geo_municipio", "sla_due_at", "sla_term_days", "sla_elapsed_days"]
    query = f"SELECT {', '.join(columns)} FROM gold.tickets_snapshot ORDER BY ticket_id"
    found = asked(postgres, run, query)
    assert found == [("a", town, AT, 10, 0.5), ("b", "", None, None, 1 / 3)]


def test_views_show_a_tenant_its_own_rows_only(postgres: Postgres) -> None:
    mine, theirs = of(postgres, "vista-una"), of(postgres, "vista-otra")
    for run, count in ((mine, 3), (theirs, 5)):
        flow = [
            {"day": MONDAY, "status_from": "CLOSED", "status_to": "ARCHIVED", "transitions": count},
            {"day": TUESDAY, "status_from": "CLOSED", "status_to": "REOPENED", "transitions": 1},
        ]
        served = figures(run, status_flow=rows(STATUS_FLOW, run, *flow))
        serve_gold(served, run, postgres=postgres, on_step=unobserved)
    query = "SELECT status_to, transitions, share FROM gold.transition_matrix ORDER BY 1"
    assert asked(postgres, mine, query) == [("ARCHIVED", 3, 0.75), ("REOPENED", 1, 0.25)]


def test_views_add_up_days_and_give_the_newest_estimate(postgres: Postgres) -> None:
    run = of(postgres, "vista-suma")
    sla = [
        {"day": day, "pqrs_type": "queja", "settled": 2, "within": n, "overdue": 2 - n}
        | {"within_share": n / 2}
        for day, n in ((MONDAY, 2), (TUESDAY, 1))
    ]
    estimate = {"task": "tipo", "model": "m/1", "accuracy_low": 0.1, "accuracy_high": 0.9}
    accuracy = [
        {**estimate, "day": day, "audited": n, "agreed": 1, "accuracy": 1 / n}
        for day, n in ((MONDAY, 1), (TUESDAY, 2))
    ]
    served = figures(
        run,
        kpi_sla_daily=rows(KPI_SLA_DAILY, run, *sla),
        kpi_accuracy_daily=rows(KPI_ACCURACY_DAILY, run, *accuracy),
    )
    serve_gold(served, run, postgres=postgres, on_step=unobserved)
    monthly = "SELECT month, settled, within_share FROM gold.sla_monthly"
    assert asked(postgres, run, monthly) == [(date(2026, 1, 1), 4, 0.75)]
    assert asked(postgres, run, "SELECT day, audited FROM gold.kpi_accuracy") == [(TUESDAY, 2)]


def test_the_drift_shown_is_the_last_that_was_measured(postgres: Postgres) -> None:
    run = of(postgres, "vista-deriva")
    for verdict, day in (("stable", 10), ("drift", 11)):
        at = AT.replace(day=day)
        look = RunContext.begin(run.tenant, kind="drift", at=at)
        measures = (DriftMeasure("len", "psi", 0.3, 0.1, True),)
        DriftLog(postgres).record(
            look,
            DriftRecord(look.run_id, "tipo", "m/1", verdict, 100, 50, None, at, measures),
        )
    query = "SELECT task, verdict, features_drifted, worst_over_threshold FROM gold.kpi_drift"
    assert asked(postgres, run, query) == [("tipo", "drift", 1, pytest.approx(3.0))]


def test_cost_is_compute_at_the_tenants_price_and_nothing_where_none_is_set(
    postgres: Postgres,
) -> None:
    run, log = of(postgres, "vista-costo"), RunLog(postgres)
    log.start(run, "run", {})
    manifest = RunManifest(
        run, counts={"silver_tickets": 500}, seconds={"silver": 30.0, "gold": 6.0}
    )
    log.finish(run, RunStatus.COMPLETED, manifest=manifest.as_dict())
    columns = "day, tickets, compute_seconds, seconds_per_thousand, currency, cost_per_thousand"
    query = f"SELECT {columns} FROM gold.kpi_cost_daily"
    directory = TenantDirectory(postgres)
    directory.configure(run.tenant, {"tasks": {}})
    assert asked(postgres, run, query) == [(AT.date(), 500, 36.0, 72.0, "COP", 0.0)]
    directory.configure(run.tenant, {"cost": {"currency": "USD", "per_compute_hour": 5}})
    assert asked(postgres, run, query) == [(AT.date(), 500, 36.0, 72.0, "USD", pytest.approx(0.1))]
