"""What a review queue promises, over the one in memory, the one in Postgres and a real Argilla."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

import httpx
import pytest

from labeling.errors import NotLetInError, QueueMismatchError
from labeling.guidelines import newest
from labeling.memory import MemoryReviewQueue
from labeling.postgres_queue import PostgresQueue
from labeling.queue import (
    CaseId,
    CaseOrigin,
    CaseStatus,
    QueueSpec,
    Reason,
    ReviewCase,
    Reviewer,
    ReviewQueue,
    tally,
    verdicts,
)
from lakehouse.control.postgres import Postgres
from lakehouse.control.tenants import TenantDirectory
from lakehouse.errors import InputError, ServiceUnavailableError, TenantMismatchError
from lakehouse.tenancy import TenantContext, TenantId

TITLES = {"queja": "Queja", "reclamo": "Reclamo"}
SPEC = QueueSpec("tipo", TITLES, newest("tipo"), dimensions=4)
ANA = Reviewer("revisor-ana", "una-clave-larga")
LUIS = Reviewer("revisor-luis", "otra-clave-larga")


class People(Protocol):
    """Reviewers at work: how they answer depends on where the queue is.

    Raises `NotLetInError` for one who was not let in.
    """

    def answer(
        self, case: CaseId, reviewer: Reviewer, label: str | None, status: CaseStatus
    ) -> None: ...


@dataclass
class Bench:
    queue: ReviewQueue
    people: People
    norte: TenantContext
    sur: TenantContext

    def case(
        self, ticket: str, *, tenant: TenantContext | None = None, wanted: int = 1
    ) -> ReviewCase:
        owner = self.norte if tenant is None else tenant
        origin = CaseOrigin(
            "correo", date(2026, 1, 5), Reason.DOUBT, "queja", 0.41, f"{owner.tenant_id}.tipo", "3"
        )
        return ReviewCase(
            CaseId(owner.tenant_id, "tipo", ticket, "bundle-0a1b"),
            "La señora de la ventanilla me gritó.",
            origin,
            explanation="gritó, *ventanilla* <b>",
            channel="email",
            link="http://127.0.0.1:5000/#/models/x/versions/3",
            vector=(0.1, 0.2, 0.3, 0.4),
            wanted=wanted,
        )

    def fill(self, *tickets: str, wanted: int = 1) -> list[CaseId]:
        self.queue.open(SPEC, self.norte)
        self.queue.enrol(ANA, self.norte)
        self.queue.enrol(LUIS, self.norte)
        cases = [self.case(ticket, wanted=wanted) for ticket in tickets]
        assert self.queue.put(cases, SPEC, self.norte) == len(tickets)
        return [case.id for case in cases]


class PlayedPeople:
    def __init__(self, queue: MemoryReviewQueue) -> None:
        self._queue, self._minute = queue, 0

    def answer(
        self, case: CaseId, reviewer: Reviewer, label: str | None, status: CaseStatus
    ) -> None:
        if reviewer.username not in self._queue.reviewers.get(TenantId(case.tenant_id), {}):
            raise NotLetInError
        self._minute += 1
        at = datetime(2026, 1, 6, 9, self._minute, tzinfo=UTC)
        self._queue.answer(case, reviewer.username, label, at=at, status=status)


class PeopleAtTheTerminal:
    """Reviewers whose answers go where `plata review next` writes them."""

    def __init__(self, queue: PostgresQueue) -> None:
        self._queue = queue

    def answer(
        self, case: CaseId, reviewer: Reviewer, label: str | None, status: CaseStatus
    ) -> None:
        tenant = TenantContext.parse(case.tenant_id)
        self._queue.answer(case, reviewer.username, tenant, status=status, label=label)


class BrowserPeople:
    """Reviewers who log in with their password and answer as Argilla's own page does."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url, self._owner = url, httpx.Client(headers={"X-Argilla-Api-Key": api_key})

    def answer(
        self, case: CaseId, reviewer: Reviewer, label: str | None, status: CaseStatus
    ) -> None:
        values = {} if label is None else {"label": {"value": label}}
        item = {"record_id": self._record(case), "status": status.value, "values": values}
        with httpx.Client(base_url=f"{self._url}/api/v1", headers=self._login(reviewer)) as page:
            done = page.post("/me/responses/bulk", json={"items": [item]}).raise_for_status()
        if done.json()["items"][0].get("error") is not None:
            raise NotLetInError

    def close(self) -> None:
        self._owner.close()

    def _login(self, reviewer: Reviewer) -> dict[str, str]:
        form = {"username": reviewer.username, "password": reviewer.password}
        answer = httpx.post(f"{self._url}/api/v1/token", data=form).raise_for_status()
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def _record(self, case: CaseId) -> str:
        workspaces = self._get("/me/workspaces")
        workspace = next(w["id"] for w in workspaces if w["name"] == case.tenant_id)
        datasets = self._get("/me/datasets", workspace_id=workspace)
        return next(
            str(record["id"])
            for dataset in datasets
            for record in self._get(f"/datasets/{dataset['id']}/records", limit=1000)
            if record["external_id"] == str(case)
        )

    def _get(self, path: str, **params: Any) -> list[dict[str, Any]]:
        answer = self._owner.get(f"{self._url}/api/v1{path}", params=params).raise_for_status()
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@pytest.fixture(params=["memory", "postgres", pytest.param("argilla", marks=pytest.mark.service)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    mark = uuid.uuid4().hex[:8]
    tenants = [TenantContext.parse(f"{name}-{mark}") for name in ("norte", "sur")]
    if request.param == "memory":
        memory = MemoryReviewQueue()
        yield Bench(memory, PlayedPeople(memory), *tenants)
        return
    if request.param == "postgres":
        postgres = Postgres(request.getfixturevalue("postgres_url"))
        for tenant in tenants:
            TenantDirectory(postgres).create(tenant, name=tenant.tenant_id)
        kept = PostgresQueue(postgres)
        yield Bench(kept, PeopleAtTheTerminal(kept), *tenants)
        return
    from labeling.argilla_queue import ArgillaQueue

    services = request.getfixturevalue("plata_services")
    url, key = services.argilla_url, services.argilla_api_key
    queue, people = ArgillaQueue(url, key), BrowserPeople(url, key)
    yield Bench(queue, people, *tenants)
    queue.close()
    people.close()


def test_a_case_comes_back_as_it_was_put(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    (found,) = bench.queue.cases("tipo", bench.norte)
    assert found.id == case_id
    assert found.origin == bench.case("t1").origin
    assert found.guideline_version == "tipo.v1"
    assert found.status is CaseStatus.PENDING


def test_putting_a_case_twice_adds_nothing_and_keeps_its_answer(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    bench.people.answer(case_id, ANA, "reclamo", CaseStatus.SUBMITTED)
    before = bench.queue.cases("tipo", bench.norte)
    again = [bench.case("t1"), bench.case("t1")]
    assert bench.queue.put(again, SPEC, bench.norte) == 0
    assert bench.queue.cases("tipo", bench.norte) == before


def test_opening_twice_gives_the_same_queue(bench: Bench) -> None:
    assert bench.queue.open(SPEC, bench.norte) == bench.queue.open(SPEC, bench.norte)


def test_cases_come_in_the_order_of_their_names(bench: Bench) -> None:
    bench.fill("t3", "t1", "t2")
    found = bench.queue.cases("tipo", bench.norte)
    assert [case.id.ticket_id for case in found] == ["t1", "t2", "t3"]


def test_more_cases_than_a_request_carries_all_arrive_once(bench: Bench) -> None:
    bench.fill(*(f"t{n:03}" for n in range(120)))
    assert len(bench.queue.cases("tipo", bench.norte)) == 120


def test_a_submitted_answer_is_a_verdict(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    bench.people.answer(case_id, ANA, "reclamo", CaseStatus.SUBMITTED)
    (verdict,) = verdicts(bench.queue.cases("tipo", bench.norte))
    assert (verdict.label, verdict.reviewer) == ("reclamo", "revisor-ana")
    assert verdict.case.origin.suggestion == "queja"
    assert verdict.at.tzinfo is not None


def test_two_reviewers_give_two_verdicts(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    bench.people.answer(case_id, ANA, "reclamo", CaseStatus.SUBMITTED)
    bench.people.answer(case_id, LUIS, "queja", CaseStatus.SUBMITTED)
    found = verdicts(bench.queue.cases("tipo", bench.norte))
    assert {(v.reviewer, v.label) for v in found} == {
        ("revisor-ana", "reclamo"),
        ("revisor-luis", "queja"),
    }
    assert len({v.label_id for v in found}) == 2


@pytest.mark.parametrize("status", [CaseStatus.DRAFT, CaseStatus.DISCARDED])
def test_a_draft_or_a_discard_is_no_verdict(bench: Bench, status: CaseStatus) -> None:
    (case_id,) = bench.fill("t1")
    bench.people.answer(case_id, ANA, "reclamo", status)
    cases = bench.queue.cases("tipo", bench.norte)
    assert verdicts(cases) == []
    assert cases[0].status is status


def test_an_answer_that_is_changed_is_another_label(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    bench.people.answer(case_id, ANA, "reclamo", CaseStatus.SUBMITTED)
    (first,) = verdicts(bench.queue.cases("tipo", bench.norte))
    bench.people.answer(case_id, ANA, "queja", CaseStatus.SUBMITTED)
    (second,) = verdicts(bench.queue.cases("tipo", bench.norte))
    assert second.label == "queja"
    assert second.label_id != first.label_id


def test_reading_twice_names_a_label_the_same(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    bench.people.answer(case_id, ANA, "reclamo", CaseStatus.SUBMITTED)
    one, other = (verdicts(bench.queue.cases("tipo", bench.norte)) for _ in range(2))
    assert [v.label_id for v in one] == [v.label_id for v in other]


def test_a_tenant_sees_its_own_queue_only(bench: Bench) -> None:
    bench.fill("t1")
    bench.queue.open(SPEC, bench.sur)
    assert bench.queue.cases("tipo", bench.sur) == []


def test_an_account_is_older_than_its_answers(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    bench.people.answer(case_id, ANA, "reclamo", CaseStatus.SUBMITTED)
    (verdict,) = verdicts(bench.queue.cases("tipo", bench.norte))
    since = bench.queue.accounts(bench.norte)
    assert since[ANA.username] <= verdict.at
    assert "nadie" not in since


def test_a_case_of_another_tenant_is_refused(bench: Bench) -> None:
    bench.queue.open(SPEC, bench.norte)
    foreign = bench.case("t1", tenant=bench.sur)
    with pytest.raises(TenantMismatchError, match=bench.sur.tenant_id):
        bench.queue.put([foreign], SPEC, bench.norte)
    assert bench.queue.cases("tipo", bench.norte) == []


def test_a_queue_that_was_never_opened_has_no_cases(bench: Bench) -> None:
    assert bench.queue.cases("tipo", bench.norte) == []


def test_a_queue_open_for_other_labels_is_refused(bench: Bench) -> None:
    bench.queue.open(SPEC, bench.norte)
    wider = replace(SPEC, titles={**TITLES, "peticion": "Petición"})
    with pytest.raises(QueueMismatchError, match=r"queja, reclamo; the task now has .*peticion"):
        bench.queue.open(wider, bench.norte)


def test_cases_are_counted_by_reason_and_status(bench: Bench) -> None:
    first, *_ = bench.fill("t1", "t2", "t3")
    bench.people.answer(first, ANA, "reclamo", CaseStatus.SUBMITTED)
    counts = tally(bench.queue.cases("tipo", bench.norte))
    assert counts[Reason.DOUBT][CaseStatus.PENDING] == 2
    assert counts[Reason.DOUBT][CaseStatus.SUBMITTED] == 1
    assert set(counts[Reason.AUDIT].values()) == {0}


def test_enrolling_again_sets_the_password(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    other = replace(ANA, password="clave-nueva-de-ana")
    bench.queue.enrol(other, bench.norte)
    bench.people.answer(case_id, other, "queja", CaseStatus.SUBMITTED)
    assert len(verdicts(bench.queue.cases("tipo", bench.norte))) == 1


def test_a_short_password_is_refused() -> None:
    with pytest.raises(InputError, match="shorter than 8"):
        Reviewer("revisor-ana", "corta")


def test_a_case_knows_since_when_it_waits(bench: Bench) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    bench.fill("t1")
    (found,) = bench.queue.cases("tipo", bench.norte)
    assert found.put_at is not None
    assert before < found.put_at < datetime.now(UTC) + timedelta(minutes=1)


def test_a_case_nobody_answered_can_be_taken_out_and_put_again(bench: Bench) -> None:
    first, second = bench.fill("t1", "t2")
    assert bench.queue.withdraw([first], "tipo", bench.norte) == 1
    assert [case.id for case in bench.queue.cases("tipo", bench.norte)] == [second]
    assert bench.queue.withdraw([first], "tipo", bench.norte) == 0
    assert bench.queue.put([bench.case("t1")], SPEC, bench.norte) == 1


@pytest.mark.parametrize(
    "status", [CaseStatus.DRAFT, CaseStatus.DISCARDED, CaseStatus.SUBMITTED], ids=str
)
def test_a_case_with_any_answer_is_never_taken_out(bench: Bench, status: CaseStatus) -> None:
    (case_id,) = bench.fill("t1")
    bench.people.answer(case_id, ANA, "reclamo", status)
    before = bench.queue.cases("tipo", bench.norte)
    assert bench.queue.withdraw([case_id], "tipo", bench.norte) == 0
    assert bench.queue.cases("tipo", bench.norte) == before


def test_taking_out_a_case_of_another_tenant_is_refused(bench: Bench) -> None:
    (case_id,) = bench.fill("t1")
    with pytest.raises(TenantMismatchError, match=bench.norte.tenant_id):
        bench.queue.withdraw([case_id], "tipo", bench.sur)
    assert len(bench.queue.cases("tipo", bench.norte)) == 1


def test_nothing_is_taken_out_of_a_queue_that_was_never_opened(bench: Bench) -> None:
    assert bench.queue.withdraw([bench.case("t1").id], "tipo", bench.norte) == 0


def test_a_case_for_two_people_wants_a_second_answer(bench: Bench) -> None:
    (alone,) = bench.fill("t1")
    (shared,) = bench.fill("t2", wanted=2)
    bench.people.answer(alone, ANA, "reclamo", CaseStatus.SUBMITTED)
    bench.people.answer(shared, ANA, "reclamo", CaseStatus.SUBMITTED)
    first, second = bench.queue.cases("tipo", bench.norte)
    assert (first.wanted, first.missing) == (1, 0)
    assert (second.wanted, second.missing) == (2, 1)
    bench.people.answer(shared, LUIS, "queja", CaseStatus.SUBMITTED)
    assert [case.missing for case in bench.queue.cases("tipo", bench.norte)] == [0, 0]


def test_a_case_stays_where_it_is_when_more_people_are_to_answer_it(bench: Bench) -> None:
    bench.fill("t1")
    assert bench.queue.put([bench.case("t1", wanted=2)], SPEC, bench.norte) == 0
    assert [case.wanted for case in bench.queue.cases("tipo", bench.norte)] == [1]


def test_a_reviewer_who_is_dismissed_answers_no_more_and_what_they_said_stays(
    bench: Bench,
) -> None:
    first, second = bench.fill("t1", "t2")
    bench.people.answer(first, ANA, "reclamo", CaseStatus.SUBMITTED)
    bench.queue.dismiss(ANA.username, bench.norte)
    with pytest.raises(NotLetInError):
        bench.people.answer(second, ANA, "queja", CaseStatus.SUBMITTED)
    bench.people.answer(second, LUIS, "queja", CaseStatus.SUBMITTED)
    said = {(v.reviewer, v.label) for v in verdicts(bench.queue.cases("tipo", bench.norte))}
    assert said == {(ANA.username, "reclamo"), (LUIS.username, "queja")}


def test_dismissing_one_who_was_never_let_in_changes_nothing(bench: Bench) -> None:
    bench.queue.dismiss("nadie-aqui", bench.norte)
    bench.fill("t1")
    bench.queue.dismiss("nadie-aqui", bench.norte)
    assert len(bench.queue.cases("tipo", bench.norte)) == 1


def test_a_reviewer_of_one_tenant_is_not_let_into_anothers_queue(bench: Bench) -> None:
    bench.queue.open(SPEC, bench.sur)
    foreign = bench.case("t1", tenant=bench.sur)
    bench.queue.put([foreign], SPEC, bench.sur)
    bench.queue.enrol(ANA, bench.norte)
    with pytest.raises(NotLetInError):
        bench.people.answer(foreign.id, ANA, "queja", CaseStatus.SUBMITTED)


@pytest.mark.service
def test_a_server_that_is_down_is_said_to_be_down_and_may_come_back() -> None:
    from labeling.argilla_queue import ArgillaQueue

    queue = ArgillaQueue("http://127.0.0.1:9", "key")
    with pytest.raises(ServiceUnavailableError, match=r"Argilla does not answer at http://127\.0"):
        queue.cases("tipo", TenantContext.parse("norte"))
