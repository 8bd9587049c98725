"""What only a real Argilla can show: how a case looks there, and how its own troubles are met."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import argilla as rg
import httpx
import polars as pl
import pytest

from contracts.tables import LABELS
from labeling import argilla_queue
from labeling.argilla_queue import ArgillaQueue
from labeling.errors import ForeignCaseError, QueueRefusedError
from labeling.guidelines import Guideline, newest
from labeling.ledger import Fact, standing
from labeling.observed import news, out_of_sight
from labeling.queue import CaseId, CaseOrigin, QueueSpec, Reason, ReviewCase, Reviewer
from lakehouse.errors import ConfigurationError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.ledger import fact_rows

pytestmark = pytest.mark.service

TITLES = {"peticion": "Petición", "queja": "Queja"}
SPEC = QueueSpec("tipo", TITLES, newest("tipo"), dimensions=3)


@pytest.fixture
def norte() -> TenantContext:
    return TenantContext.parse(f"vista-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def api(plata_services: Any) -> Iterator[httpx.Client]:
    headers = {"X-Argilla-Api-Key": plata_services.argilla_api_key}
    with httpx.Client(base_url=f"{plata_services.argilla_url}/api/v1", headers=headers) as client:
        yield client


@pytest.fixture
def queue(plata_services: Any) -> Iterator[ArgillaQueue]:
    queue = ArgillaQueue(plata_services.argilla_url, plata_services.argilla_api_key)
    yield queue
    queue.close()


def case(tenant: TenantContext, ticket: str = "t1", **changes: Any) -> ReviewCase:
    origin = CaseOrigin(
        "correo", date(2026, 1, 5), Reason.AUDIT, "queja", 0.93, f"{tenant.tenant_id}.tipo", "3"
    )
    made = ReviewCase(
        CaseId(tenant.tenant_id, "tipo", ticket, "bundle-1"),
        "La fila duró tres horas.",
        origin,
        explanation="fila, <b>horas</b>",
        link="http://127.0.0.1:5000/#/models/x/versions/3",
        vector=(1.0, 0.0, 0.0),
    )
    return replace(made, **changes)


def dataset(api: httpx.Client, page: str) -> str:
    (identifier,) = {part for part in page.split("/") if part.count("-") == 4}
    api.get(f"/datasets/{identifier}").raise_for_status()
    return identifier


def record(api: httpx.Client, identifier: str) -> dict[str, Any]:
    params = {"include": ["suggestions", "vectors"]}
    answer = api.get(f"/datasets/{identifier}/records", params=params).raise_for_status()
    (found,) = answer.json()["items"]
    shown: dict[str, Any] = found
    return shown


def test_a_reviewer_reads_spanish_titles_guideline_and_reason(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    identifier = dataset(api, queue.open(SPEC, norte))
    made = case(norte, run_id="run-20260105T080000-1a2b", masking="v1: correo, teléfono")
    queue.put([made], SPEC, norte)
    assert api.get(f"/datasets/{identifier}").json()["guidelines"] == SPEC.guideline.text
    questions = api.get(f"/datasets/{identifier}/questions").json()["items"]
    options = {o["value"]: o["text"] for o in questions[0]["settings"]["options"]}
    assert options == TITLES
    fields = record(api, identifier)["fields"]
    assert fields["text"] == "La fila duró tres horas."
    assert fields["why"].startswith("**Auditoría.**")
    assert "Sugiere **Queja** con una confianza de 93 %" in fields["why"]
    assert r"\<b\>horas" in fields["why"]
    assert "(http://127.0.0.1:5000/#/models/x/versions/3)" in fields["why"]
    assert "Datos personales cubiertos (reglas v1: correo, teléfono)" in fields["why"]
    assert fields["why"].endswith(
        "Procedencia: correo · 2026-01-05 · corrida run-20260105T080000-1a2b · "
        f"`plata lineage raw t1 --tenant {norte.tenant_id}`"
    )


def test_a_case_carries_suggestion_metadata_and_vector(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    identifier = dataset(api, queue.open(SPEC, norte))
    queue.put([case(norte)], SPEC, norte)
    found = record(api, identifier)
    (suggestion,) = found["suggestions"]
    assert (suggestion["value"], suggestion["score"]) == ("queja", 0.93)
    assert suggestion["agent"] == f"{norte.tenant_id}.tipo/3"
    assert found["metadata"]["reason"] == "auditoría"
    assert found["metadata"]["region"] == "sin dato"
    assert found["vectors"] == {"meaning": [1.0, 0.0, 0.0]}


def test_similar_cases_are_found_by_their_vectors(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    identifier = dataset(api, queue.open(SPEC, norte))
    near, far = (0.9, 0.1, 0.0), (0.0, 0.0, 1.0)
    queue.put(
        [case(norte), case(norte, "far", id=_id(norte, "far"), vector=far)],
        SPEC,
        norte,
    )
    queue.put([case(norte, id=_id(norte, "near"), vector=near)], SPEC, norte)
    query = {"vector": {"name": "meaning", "value": [1.0, 0.0, 0.0]}}
    answer = api.post(f"/datasets/{identifier}/records/search", json={"query": query})
    items = answer.raise_for_status().json()["items"]
    tickets = [item["record"]["external_id"].split("/")[2] for item in items]
    assert tickets[:2] == ["t1", "near"]


def _id(tenant: TenantContext, ticket: str) -> CaseId:
    return CaseId(tenant.tenant_id, "tipo", ticket, "bundle-1")


def test_a_vector_of_another_space_is_left_out(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    identifier = dataset(api, queue.open(SPEC, norte))
    assert queue.put([case(norte, vector=(1.0, 2.0))], SPEC, norte) == 1
    assert record(api, identifier).get("vectors") in ({}, None)


def test_a_new_guideline_replaces_the_old_one(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    identifier = dataset(api, queue.open(SPEC, norte))
    newer = replace(SPEC, guideline=Guideline("tipo.v2", "# Guía nueva"))
    assert dataset(api, queue.open(newer, norte)) == identifier
    assert api.get(f"/datasets/{identifier}").json()["guidelines"] == "# Guía nueva"
    queue.put([case(norte)], newer, norte)
    assert queue.cases("tipo", norte)[0].guideline_version == "tipo.v2"


def test_a_queue_whose_making_was_cut_short_is_made_again(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    workspace = api.post("/workspaces", json={"name": norte.tenant_id}).raise_for_status().json()
    half = {"name": "tipo", "workspace_id": workspace["id"]}
    draft = api.post("/datasets", json=half).raise_for_status().json()
    assert draft["status"] == "draft"
    assert dataset(api, queue.open(SPEC, norte)) != draft["id"]
    assert queue.put([case(norte)], SPEC, norte) == 1


def test_a_dataset_that_was_deleted_is_made_anew(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    first = dataset(api, queue.open(SPEC, norte))
    queue.put([case(norte)], SPEC, norte)
    api.delete(f"/datasets/{first}").raise_for_status()
    assert queue.cases("tipo", norte) == []
    assert dataset(api, queue.open(SPEC, norte)) != first
    assert queue.put([case(norte)], SPEC, norte) == 1


def test_a_full_dataset_is_followed_by_the_next_and_all_are_read(
    plata_services: Any, api: httpx.Client, norte: TenantContext
) -> None:
    small = ArgillaQueue(plata_services.argilla_url, plata_services.argilla_api_key, dataset_size=2)
    first = dataset(api, small.open(SPEC, norte))
    tickets = [case(norte, id=_id(norte, f"t{n}")) for n in range(5)]
    assert small.put(tickets[:3], SPEC, norte) == 3
    assert small.put(tickets, SPEC, norte) == 2
    assert dataset(api, small.open(SPEC, norte)) != first
    assert held(api, norte) == {"tipo": (2, 1), "tipo.2": (2, 1), "tipo.3": (1, 1)}
    assert [found.id for found in small.cases("tipo", norte)] == [made.id for made in tickets]
    assert small.withdraw([tickets[0].id, tickets[4].id], "tipo", norte) == 2
    assert small.put([case(norte, id=_id(norte, "t9"))], SPEC, norte) == 1
    assert held(api, norte) == {"tipo": (1, 1), "tipo.2": (2, 1), "tipo.3": (1, 1)}
    small.close()


def test_cases_are_taken_out_of_every_page(
    queue: ArgillaQueue, norte: TenantContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argilla_queue, "_PAGE", 2)
    monkeypatch.setattr(argilla_queue, "_DELETED_AT_ONCE", 1)
    queue.open(SPEC, norte)
    tickets = [_id(norte, f"t{n}") for n in range(7)]
    queue.put([case(norte, id=ticket) for ticket in tickets], SPEC, norte)
    going = {tickets[n] for n in (0, 1, 2, 5)}
    gone = sum(queue.withdraw(going, "tipo", norte) for _ in range(3))
    left = {found.id for found in queue.cases("tipo", norte)}
    assert (gone, left) == (4, set(tickets) - going)


def test_cases_for_two_people_have_a_dataset_that_asks_two(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    identifier = dataset(api, queue.open(SPEC, norte))
    both = [case(norte), case(norte, id=_id(norte, "t2"), wanted=2)]
    assert queue.put(both, SPEC, norte) == 2
    assert dataset(api, queue.open(SPEC, norte)) == identifier
    assert held(api, norte) == {"tipo": (1, 1), "tipo (2 personas)": (1, 2)}


def test_a_case_for_two_people_waits_for_the_second_and_then_for_nobody(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    queue.open(SPEC, norte)
    queue.put([case(norte, wanted=2)], SPEC, norte)
    pages = []
    for name in ("ana", "luis", "eva"):
        reviewer = Reviewer(f"{name}-{norte.tenant_id}", "una-clave-larga")
        queue.enrol(reviewer, norte)
        pages.append(ReviewerPage(str(api.base_url), reviewer))
    for page, left in zip(pages, ([1, 1, 1], [0, 1, 1], [0, 0, 0]), strict=True):
        assert [len(p.pending()) for p in pages] == left
        if any(left):
            page.submit("queja")


class ReviewerPage:
    """What a reviewer's browser asks, logged in with their password."""

    def __init__(self, url: str, reviewer: Reviewer) -> None:
        self._api = httpx.Client(base_url=url)
        form = {"username": reviewer.username, "password": reviewer.password}
        token = self._api.post("/token", data=form).raise_for_status().json()["access_token"]
        self._api.headers["Authorization"] = f"Bearer {token}"

    def pending(self) -> list[str]:
        """List the records that the page shows under pending, of all datasets."""
        found = []
        for known in self._api.get("/me/datasets").json()["items"]:
            scopes = [{"entity": entity, "property": "status"} for entity in ("response", "record")]
            wanted = [{"type": "terms", "scope": scope, "values": ["pending"]} for scope in scopes]
            place = f"/me/datasets/{known['id']}/records/search"
            answer = self._api.post(place, json={"filters": {"and": wanted}}).raise_for_status()
            found += [item["record"]["id"] for item in answer.json()["items"]]
        return found

    def submit(self, label: str) -> None:
        """Answer the first pending record."""
        said = {"status": "submitted", "values": {"label": {"value": label}}}
        place = f"/records/{self.pending()[0]}/responses"
        self._api.post(place, json=said).raise_for_status()


def held(api: httpx.Client, tenant: TenantContext) -> dict[str, tuple[int, int]]:
    """Count records by dataset, with the answers each wants."""
    workspaces = api.get("/me/workspaces").raise_for_status().json()["items"]
    workspace = next(w["id"] for w in workspaces if w["name"] == tenant.tenant_id)
    listed = api.get("/me/datasets", params={"workspace_id": workspace}).raise_for_status()
    return {
        found["name"]: (
            api.get(f"/datasets/{found['id']}/records").json()["total"],
            found["distribution"]["min_submitted"],
        )
        for found in listed.json()["items"]
    }


def test_an_account_that_may_do_more_than_annotate_is_left_alone(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    name = f"jefa-{norte.tenant_id}"
    known = {"username": name, "first_name": "Jefa", "role": "admin", "password": "su-clave-propia"}
    made = api.post("/users", json=known).raise_for_status().json()
    with pytest.raises(QueueRefusedError, match=r"of role admin.*choose another name"):
        queue.enrol(Reviewer(name, "una-clave-larga"), norte)
    assert made["role"] == "admin"


def test_a_record_somebody_else_put_there_is_named(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    identifier = dataset(api, queue.open(SPEC, norte))
    foreign = {"external_id": "mine", "fields": {"text": "hola", "why": "no sé"}}
    api.put(f"/datasets/{identifier}/records/bulk", json={"items": [foreign]}).raise_for_status()
    with pytest.raises(ForeignCaseError, match="record 'mine' is not one of Plata's"):
        queue.cases("tipo", norte)


def test_an_answer_argilla_does_not_know_is_refused_without_quoting_the_text(
    queue: ArgillaQueue, norte: TenantContext
) -> None:
    queue.open(SPEC, norte)
    made = case(norte)
    unknown = replace(made, origin=replace(made.origin, suggestion="tutela"))
    with pytest.raises(QueueRefusedError, match="HTTP 422") as refused:
        queue.put([unknown], SPEC, norte)
    assert "fila" not in str(refused.value)
    assert queue.cases("tipo", norte) == []


def test_a_wrong_key_is_said_to_be_wrong(plata_services: Any, norte: TenantContext) -> None:
    queue = ArgillaQueue(plata_services.argilla_url, "not.a.key")
    with pytest.raises(ConfigurationError, match="PLATA_ARGILLA_API_KEY"):
        queue.cases("tipo", norte)


def test_the_official_client_reads_what_we_put(
    queue: ArgillaQueue, plata_services: Any, norte: TenantContext
) -> None:
    queue.open(SPEC, norte)
    queue.put([case(norte)], SPEC, norte)
    client = rg.Argilla(plata_services.argilla_url, plata_services.argilla_api_key)
    found = client.datasets("tipo", workspace=norte.tenant_id)
    assert found is not None
    assert [r.id for r in found.records] == [str(_id(norte, "t1"))]


def test_the_ledger_tells_what_was_taken_back_from_what_was_deleted(
    queue: ArgillaQueue, api: httpx.Client, norte: TenantContext
) -> None:
    reviewer = Reviewer(f"revisor-{norte.tenant_id}", "una-clave-larga")
    identifier = dataset(api, queue.open(SPEC, norte))
    queue.put([case(norte)], SPEC, norte)
    queue.enrol(reviewer, norte)
    facts = [pl.DataFrame(pl.from_arrow(LABELS.empty()))]

    def pull() -> list[Fact]:
        run = RunContext.begin(norte, kind="review-pull", at=datetime.now(UTC))
        known, shown = pl.concat(facts), queue.cases("tipo", norte)
        seen = news(shown, queue.accounts(norte), known)
        facts.append(pl.DataFrame(pl.from_arrow(fact_rows(seen, known, run))))
        return [one.fact for one in seen]

    def stands() -> list[str]:
        return standing(pl.concat(facts))["label"].to_list()

    form = {"username": reviewer.username, "password": reviewer.password}
    token = api.post("/token", data=form).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=api.base_url, headers=headers) as page:
        where = f"/records/{record(api, identifier)['id']}/responses"
        answer = {"status": "submitted", "values": {"label": {"value": "queja"}}}
        given = page.post(where, json=answer).raise_for_status().json()
        assert (pull(), pull(), stands()) == ([Fact.SUBMITTED], [], ["queja"])
        edited = {"status": "submitted", "values": {"label": {"value": "peticion"}}}
        page.put(f"/responses/{given['id']}", json=edited).raise_for_status()
        assert (pull(), stands()) == ([Fact.SUBMITTED], ["peticion"])
        page.delete(f"/responses/{given['id']}").raise_for_status()
        assert (pull(), pull(), stands()) == ([Fact.WITHDRAWN], [], [])
        page.post(where, json=answer).raise_for_status()
        assert (pull(), stands()) == ([Fact.SUBMITTED], ["queja"])
        user = page.get("/me").raise_for_status().json()["id"]

    api.delete(f"/users/{user}").raise_for_status()
    assert (pull(), pull(), stands()) == ([Fact.REVIEWER_REMOVED], [], ["queja"])
    api.delete(f"/datasets/{identifier}").raise_for_status()
    assert (pull(), stands()) == ([], ["queja"])
    assert out_of_sight(queue.cases("tipo", norte), pl.concat(facts)) == {"tipo": 1}
