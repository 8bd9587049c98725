"""The main job: `plata demo` takes the bundled tenants from Raw to Gold, and once is enough."""

from __future__ import annotations

from datetime import date
from typing import Any

import httpx
import pyarrow.compute as pc
import pytest

from contracts.tables import CLASSIFICATIONS, MESSAGES, TICKETS
from lakehouse.tenancy import TenantContext

pytestmark = [pytest.mark.service, pytest.mark.timeout(1800)]

TENANTS = ("alcaldia-norte", "servicios-andinos")
STEPS = {"bronze", "silver", "embeddings", "entities", "classifications", "index", "gold"}


@pytest.fixture(params=TENANTS)
def tenant(request: pytest.FixtureRequest) -> TenantContext:
    return TenantContext.parse(request.param)


def of(printed: dict[str, Any], tenant: TenantContext) -> dict[str, Any]:
    (found,) = [t for t in printed["tenants"] if t["tenant_id"] == tenant.tenant_id]
    overview: dict[str, Any] = found
    return overview


def test_every_line_of_raw_is_in_bronze_or_in_quarantine(demo: Any, tenant: TenantContext) -> None:
    rows = of(demo.printed[0], tenant)["rows"]
    assert rows["raw_events"] == rows["bronze_pqrs_events"] + rows["bronze_quarantine"] > 400


def test_every_ticket_with_a_text_has_a_vector_in_lake_and_index(
    demo: Any, plata: Any, tenant: TenantContext
) -> None:
    tickets = plata.store.scan(TICKETS.table, tenant, columns=["ticket_id"])["ticket_id"]
    texts = plata.store.scan(MESSAGES.table, tenant, columns=["ticket_id"])["ticket_id"]
    rows = of(demo.printed[0], tenant)["rows"]
    with_text = set(tickets.to_pylist()) & set(texts.to_pylist())
    assert rows["silver_embeddings"] == rows["vectors"] == len(with_text) > 100


def test_every_answer_names_exact_versions_of_model_prompt_and_bundle(
    demo: Any, plata: Any, tenant: TenantContext
) -> None:
    rows = plata.store.scan(CLASSIFICATIONS.table, tenant)
    assert len(rows) == of(demo.printed[0], tenant)["rows"]["silver_classifications"]
    for column in ("model_name", "model_version", "prompt_name", "prompt_version", "bundle_id"):
        assert set(rows[column].to_pylist()).isdisjoint({None, "", "champion"}), column
    zero_shot = rows.filter(pc.not_equal(rows["prompt_name"], "none"))
    assert set(zero_shot["prompt_version"].to_pylist()) == {"1"}
    champions = rows.filter(pc.equal(rows["tier"], "champion"))
    assert set(champions["model_version"].to_pylist()) == {"1", "2"}
    assert set(champions["decision"].to_pylist()) >= {"accept", "review"}


def test_gold_counts_every_ticket_once(demo: Any, plata: Any, tenant: TenantContext) -> None:
    query = "SELECT sum(tickets) FROM gold.kpi_volume_daily WHERE tenant_id = %s"
    ((counted,),) = plata.rows(query, tenant.tenant_id)
    assert counted == of(demo.printed[0], tenant)["rows"]["silver_tickets"]


def test_each_tenant_ends_with_champions_a_queue_a_verdict_and_a_reviewer(
    demo: Any, tenant: TenantContext
) -> None:
    overview = of(demo.printed[0], tenant)
    for answers in overview["automation"]:
        assert answers["model"] == f"{tenant.tenant_id}.{answers['task']}/2"
        assert 0 <= answers["accepted"] <= answers["classified"]
    assert set(overview["pending"]) == set(overview["drift"]) == {"tipo", "prioridad"}
    assert all(0 < sum(q.values()) <= 40 for q in overview["pending"].values())
    assert overview["reviewer"]["username"] == f"revisor-{tenant.tenant_id}"


def test_the_demo_twice_changes_no_count_no_model_and_no_queue(
    demo: Any, tenant: TenantContext
) -> None:
    first, again = (of(printed, tenant) for printed in demo.printed)
    assert again == first
    assert demo.models[1] == demo.models[0]


def test_prefects_log_lines_stay_in_its_own_pages(demo: Any) -> None:
    assert "Gold" in demo.shown
    assert "INFO" not in demo.shown
    assert "low run" not in demo.shown


def test_prefect_shows_each_run_with_its_tags_and_its_six_steps(
    demo: Any, plata: Any, plata_services: Any, tenant: TenantContext
) -> None:
    query = "SELECT run_id FROM meta.etl_runs WHERE tenant_id = %s AND kind = 'run'"
    runs = [run_id for (run_id,) in plata.rows(query, tenant.tenant_id)]
    assert len(runs) == 2
    with httpx.Client(base_url=plata_services.prefect_api_url, timeout=30) as prefect:
        for run_id in runs:
            wanted = {"tags": {"all_": [f"tenant:{tenant.tenant_id}", f"run:{run_id}"]}}
            (flow,) = prefect.post("/flow_runs/filter", json={"flow_runs": wanted}).json()
            assert flow["state_type"] == "COMPLETED"
            of_flow = {"flow_run_id": {"any_": [flow["id"]]}}
            tasks = prefect.post("/task_runs/filter", json={"task_runs": of_flow}).json()
            assert {(t["name"], t["state_type"]) for t in tasks} == {
                (step, "COMPLETED") for step in STEPS
            }
            logs = {"logs": {"flow_run_id": {"any_": [flow["id"]]}}}
            assert prefect.post("/logs/filter", json=logs).json()


def test_search_finds_similar_requests_of_that_tenant_only(demo: Any, plata: Any) -> None:
    mine = TenantContext.parse("servicios-andinos")
    found = plata.json("search", "no hay agua en el barrio", "--tenant", mine.tenant_id)
    own = plata.store.scan(TICKETS.table, mine, columns=["ticket_id"])["ticket_id"].to_pylist()
    assert len(found) == 10
    assert {row["ticket_id"] for row in found} <= set(own)
    similarities = [row["similarity"] for row in found]
    assert similarities == sorted(similarities, reverse=True)
    assert all(0.8 < similarity <= 1 for similarity in similarities)
    labels = {"peticion", "queja", "reclamo", "sugerencia"}
    for row in found:
        assert row["label"] in labels
        assert date(2026, 1, 5) <= date.fromisoformat(row["day"]) <= date(2026, 2, 9)
