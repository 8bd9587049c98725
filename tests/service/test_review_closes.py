"""Review closes: what a reviewer clicks in Argilla becomes a label in Silver, and counts in Gold.

The reviewer's own account is used, over the requests that Argilla's page sends.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from contracts.tables import LABELS
from lakehouse.tenancy import TenantContext

pytestmark = [pytest.mark.service, pytest.mark.timeout(1800)]

TENANT = TenantContext.parse("alcaldia-norte")
OF_TENANT = ("--tenant", TENANT.tenant_id)
LABELLED = "SELECT coalesce(sum(labelled), 0) FROM gold.kpi_mlops_daily WHERE tenant_id = %s"


@pytest.fixture(scope="module")
def reviewer(demo: Any, plata: Any) -> Any:
    """Argilla, logged in to as the tenant's reviewer."""
    shown = plata.json("review", "account", "list", *OF_TENANT)
    (account,), page = shown["accounts"], f"{shown['page']}/api/v1"
    login = {name: account[name] for name in ("username", "password")}
    token = httpx.post(f"{page}/token", data=login, timeout=30).raise_for_status().json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    with httpx.Client(base_url=page, headers=headers, timeout=30) as client:
        yield client


def ask(client: httpx.Client, method: str, path: str, **request: Any) -> Any:
    return client.request(method, path, **request).raise_for_status().json()


def waiting(client: httpx.Client, dataset: str) -> list[dict[str, Any]]:
    scope = {"entity": "response", "property": "status"}
    pending = {"type": "terms", "scope": scope, "values": ["pending"]}
    found = ask(
        client,
        "POST",
        f"/me/datasets/{dataset}/records/search",
        json={"filters": {"and": [pending]}},
    )
    return [item["record"] for item in found["items"]]


def test_a_reviewers_answer_becomes_one_label_that_gold_counts(
    reviewer: httpx.Client, plata: Any
) -> None:
    datasets = ask(reviewer, "GET", "/me/datasets")["items"]
    assert {d["name"] for d in datasets} == {"tipo", "prioridad"}
    (dataset,) = [d["id"] for d in datasets if d["name"] == "tipo"]
    before = waiting(reviewer, dataset)
    case = before[0]
    answer = {"status": "submitted", "values": {"label": {"value": "sugerencia"}}}
    ask(reviewer, "POST", f"/records/{case['id']}/responses", json=answer)
    assert case["id"] not in {record["id"] for record in waiting(reviewer, dataset)}
    assert plata.rows(LABELLED, TENANT.tenant_id) == [(0,)]

    pulled = plata.json("review", "pull", *OF_TENANT)
    assert pulled["added"] == {"tipo": 1, "prioridad": 0}
    (label,) = plata.store.scan(LABELS.table, TENANT).to_pylist()
    ticket, version = case["external_id"].split("/")[2], case["metadata"]["model"]
    assert (label["ticket_id"], label["task"], label["label"]) == (ticket, "tipo", "sugerencia")
    assert label["run_id"] == pulled["run_id"]
    assert label["reviewer"] == f"revisor-{TENANT.tenant_id}"
    assert f"{label['model_name']}/{label['model_version']}" == version
    assert label["suggested_label"] == case["metadata"]["suggestion"]

    again = plata.json("review", "pull", *OF_TENANT)
    assert (again["run_id"], again["added"]) == (None, {"tipo": 0, "prioridad": 0})
    assert plata.store.scan(LABELS.table, TENANT).num_rows == 1

    plata.json("gold", *OF_TENANT)
    assert plata.rows(LABELLED, TENANT.tenant_id) == [(1,)]


def test_an_answer_at_the_terminal_counts_in_gold_without_argilla(demo: Any, plata: Any) -> None:
    here = {"PLATA_REVIEW": "postgres", "PLATA_ARGILLA_URL": "http://127.0.0.1:9"}
    here["PLATA_ARGILLA_API_KEY"] = "none: nobody is asked"

    def at_terminal(*words: str) -> Any:
        done = plata(*words, *OF_TENANT, "--json", env=here)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    ((before,),) = plata.rows(LABELLED, TENANT.tenant_id)
    pushed = at_terminal("review", "push", "--task", "tipo")["tasks"][0]
    assert pushed["added"] == pushed["chosen"] > 1
    assert pushed["page"] == f"plata review next --tenant {TENANT.tenant_id} --task tipo"
    first = at_terminal("review", "cases", "--task", "tipo")[0]
    assert at_terminal("review", "label", first["case"], "queja")["label"] == "queja"
    assert at_terminal("review", "pull")["added"] == {"tipo": 1, "prioridad": 0}
    assert at_terminal("review", "pull")["run_id"] is None
    plata.json("gold", *OF_TENANT)
    assert plata.rows(LABELLED, TENANT.tenant_id) == [(before + 1,)]
