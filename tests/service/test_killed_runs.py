"""Runs that are really killed, with Dask and Prefect at work, leave what an unkilled one leaves."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from contracts.tables import BRONZE, GOLD, KPI_VOLUME_DAILY, PQRS_EVENTS, SILVER, TICKETS
from infra.embedded.layout import Layout
from infra.embedded.state import Phase, UnitState, read_state
from lakehouse.tenancy import TenantContext
from pipelines.demo_corpus import ALCALDIA, Part, as_events

pytestmark = [pytest.mark.service, pytest.mark.timeout(1800)]

SLICE = 40
NEEDS_LABELS = {"kpi_accuracy_daily"}
"""What Gold counts only once people have answered."""
BY_RUN = frozenset({"run_id", "bundle_id", "inference_timestamp", "raw_file"})
"""Columns that name the run, the landing or the moment, and so differ between any two runs."""


def slice_of_corpus() -> str:
    """Every event of some tickets, and the lines that break the contract."""
    kept: list[str] = []
    tickets: set[str] = set()
    for line in as_events(ALCALDIA, Part.WEEK).splitlines():
        try:
            ticket = json.loads(line).get("ticket_id")
        except ValueError:
            ticket = None
        if len(tickets) < SLICE and ticket is not None:
            tickets.add(ticket)
        if ticket is None or ticket in tickets:
            kept.append(line)
    return "\n".join(kept) + "\n"


@pytest.fixture(scope="module")
def new_tenant(
    embedding: str, plata: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], TenantContext]:
    """Make a tenant with the slice landed in Raw, ready to run."""
    file = tmp_path_factory.mktemp("canal") / "semana.jsonl"
    file.write_text(slice_of_corpus(), encoding="utf-8")

    def make(name: str) -> TenantContext:
        plata.json("tenants", "create", name)
        (landed,) = plata.json("ingest", str(file), "--tenant", name, "--source", "ventanilla")
        assert landed["new"]
        return TenantContext.parse(name)

    return make


def left_by(tenant: TenantContext, plata: Any) -> dict[str, list[str]]:
    """Everything a run leaves behind, without what names the tenant, the run and the moment."""
    found = {}
    for contract in (*BRONZE, *SILVER, *GOLD):
        rows = plata.store.scan(contract.table, tenant)
        table = [] if rows is None else rows.to_pylist()
        found[str(contract.table)] = [
            {name: value for name, value in row.items() if name not in BY_RUN} for row in table
        ]
    for contract in GOLD:
        name = f"gold.{contract.table.entity}"
        found[name] = [row for (row,) in plata.rows(_AS_JSON.format(name), tenant.tenant_id)]
    found["vectors"] = plata.rows(_VECTORS, tenant.tenant_id)
    return {
        name: sorted(str(row).replace(tenant.tenant_id, "TENANT") for row in rows)
        for name, rows in found.items()
    }


_AS_JSON = "SELECT to_jsonb(t) - 'run_id' FROM {} t WHERE tenant_id = %s"
_VECTORS = (
    "SELECT space_id, ticket_id, embedding::text, label, day FROM vectors.embeddings "
    "WHERE tenant_id = %s"
)


def runs_of(tenant: TenantContext, plata: Any) -> list[tuple[str, str]]:
    query = "SELECT run_id, status FROM meta.etl_runs WHERE tenant_id = %s ORDER BY started_at"
    found: list[tuple[str, str]] = plata.rows(query, tenant.tenant_id)
    return found


def wait_for(condition: Callable[[], Any], process: Any = None) -> Any:
    """Poll until there is something; a process that ends before is a failure."""
    deadline = time.monotonic() + 300
    while not (found := condition()):
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def whole(new_tenant: Callable[[str], TenantContext], plata: Any) -> dict[str, list[str]]:
    """What a run leaves that nobody disturbed."""
    tenant = new_tenant("entera")
    done = plata("run", "--tenant", tenant.tenant_id)
    assert (done.returncode, "prefect" in done.stderr.lower()) == (0, False), done.stderr
    assert "INFO" not in done.stderr
    assert [status for _, status in runs_of(tenant, plata)] == ["DEGRADED"]
    left = left_by(tenant, plata)
    assert len(left["silver_tickets"]) == len(left["vectors"]) == SLICE
    assert len(left["bronze_quarantine"]) == 2
    empty = {contract.table.entity for contract in GOLD if not left[str(contract.table)]}
    assert empty == NEEDS_LABELS
    return left


def test_a_run_killed_at_three_moments_and_resumed_leaves_the_same_tables(
    whole: dict[str, list[str]], new_tenant: Callable[[str], TenantContext], plata: Any
) -> None:
    tenant = new_tenant("matada")
    for contract in (PQRS_EVENTS, TICKETS, KPI_VOLUME_DAILY):
        process = plata.start("run", "--tenant", tenant.tenant_id)
        wait_for(partial(plata.store.head, contract.table, tenant), process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        ((run_id, status),) = runs_of(tenant, plata)
        assert status == "RUNNING"
    done = plata("run", "--tenant", tenant.tenant_id)
    assert done.returncode == 0, done.stderr
    assert runs_of(tenant, plata) == [(run_id, "DEGRADED")]
    assert left_by(tenant, plata) == whole


def worker_at_work(dask: Client) -> str | None:
    """Name a worker that has a task in hand."""
    workers = dask.scheduler_info(n_workers=-1)["workers"]
    busy = [address for address, keys in dask.processing().items() if keys]
    return next((str(workers[a]["name"]) for a in busy if a in workers), None)


def unit(home: Path, name: str) -> UnitState:
    state = read_state(Layout.of(home))
    assert state is not None
    return state.units[name]


def test_a_run_outlives_a_dask_worker_killed_at_work(
    whole: dict[str, list[str]],
    new_tenant: Callable[[str], TenantContext],
    plata: Any,
    plata_services: Any,
) -> None:
    tenant = new_tenant("sin-obrero")
    process = plata.start("run", "--tenant", tenant.tenant_id)
    with Client(plata_services.dask_address, set_as_default=False) as dask:
        name = wait_for(lambda: worker_at_work(dask), process)
    before = unit(plata.home, name)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    stderr = process.communicate()[1]
    assert process.returncode == 0, stderr
    assert left_by(tenant, plata) == whole
    wait_for(lambda: unit(plata.home, name).phase is Phase.READY)
    assert unit(plata.home, name).restarts == before.restarts + 1
