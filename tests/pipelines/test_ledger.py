"""Whatever happens to the queue and to those who read it, the ledger holds every answer once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from contracts.tables import LABELS
from labeling.guidelines import newest
from labeling.ledger import standing_answers
from labeling.memory import MemoryReviewQueue
from labeling.observed import disputes_of, news
from labeling.queue import CaseId, CaseOrigin, CaseStatus, QueuedCase, QueueSpec, Reason, ReviewCase
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunStatus, TenantBusyError
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import ServiceUnavailableError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.ledger import PULL_KIND, Pulled, fact_rows, pull
from pipelines.standing_labels import label_facts, standing_labels

NORTE = TenantContext.parse("ledger-norte")
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
T1, T2 = (str(UUID(int=number)) for number in (1, 2))
TITLES = {"queja": "Queja", "reclamo": "Reclamo", "peticion": "Petición"}
TIPO = Task("tipo", TITLES, "text", "n.tipo", "n.tipo.zs", RoutingPolicy(accept_at=0.8))
SPEC = QueueSpec("tipo", TITLES, newest("tipo"))


def case(ticket: str, reason: Reason = Reason.DOUBT, task: str = "tipo") -> ReviewCase:
    origin = CaseOrigin("correo", date(2026, 1, 4), reason, "queja", 0.4, "n.tipo", "3")
    return ReviewCase(CaseId(NORTE.tenant_id, task, ticket, "bundle-1"), "Me gritaron.", origin)


class LedgerAndQueue(RuleBasedStateMachine):
    """People, owners and pulls in any order, beside a model of what should stand.

    The model knows of each ticket and reviewer what the queue shows, what was last pulled, and
    whether that was given from the account and to the record that are there now.
    """

    reviewers = st.sampled_from(["ana", "luis"])
    then = st.booleans()
    labels = st.sampled_from(sorted(TITLES))

    def __init__(self) -> None:
        super().__init__()
        self.clock = NOON
        self.queue = MemoryReviewQueue(now=lambda: self.clock)
        self.facts: list[pl.DataFrame] = [pl.DataFrame(pl.from_arrow(LABELS.empty()))]
        self.shown: dict[tuple[str, str], str | None] = {}
        self.pulled: dict[tuple[str, str], str | None] = {}
        self.owned: set[tuple[str, str]] = set()
        self.there = False
        self.put()

    def tick(self) -> datetime:
        self.clock += timedelta(seconds=1)
        return self.clock

    @rule()
    def put(self) -> None:
        self.tick()
        self.queue.open(SPEC, NORTE)
        self.queue.put([case(T1), case(T2)], SPEC, NORTE)
        self.there = True

    @precondition(lambda self: self.there)
    @rule(reviewer=reviewers, label=labels, then=then)
    def submit(self, reviewer: str, label: str, then: bool) -> None:
        self.queue.answer(case(T1).id, reviewer, label, at=self.tick())
        self.shown[T1, reviewer] = label
        self.pull_if(then)

    @precondition(lambda self: self.there)
    @rule(reviewer=reviewers, keeps_label=st.booleans(), then=then)
    def discard(self, reviewer: str, keeps_label: bool, then: bool) -> None:
        label, status = "queja" if keeps_label else None, CaseStatus.DISCARDED
        self.queue.answer(case(T1).id, reviewer, label, at=self.tick(), status=status)
        self.shown[T1, reviewer] = None
        self.pull_if(then)

    @precondition(lambda self: self.there)
    @rule(reviewer=reviewers, then=then)
    def draft(self, reviewer: str, then: bool) -> None:
        status = CaseStatus.DRAFT
        self.queue.answer(case(T1).id, reviewer, "queja", at=self.tick(), status=status)
        self.shown.pop((T1, reviewer), None)
        self.pull_if(then)

    @precondition(lambda self: self.there)
    @rule(reviewer=reviewers, then=then)
    def take_back(self, reviewer: str, then: bool) -> None:
        self.queue.take_back(case(T1).id, reviewer)
        self.shown.pop((T1, reviewer), None)
        self.pull_if(then)

    @rule(reviewer=reviewers, then=then)
    def remove_account(self, reviewer: str, then: bool) -> None:
        self.tick()
        self.queue.remove_account(reviewer)
        self.forget(lambda place: place[1] == reviewer)
        self.pull_if(then)

    @rule(put_again=st.booleans(), then=then)
    def lose_the_queue(self, put_again: bool, then: bool) -> None:
        self.tick()
        self.queue.lose("tipo", NORTE)
        self.there = False
        self.forget(lambda place: True)
        if put_again:
            self.put()
        self.pull_if(then)

    def forget(self, gone: Callable[[tuple[str, str]], bool]) -> None:
        self.shown = {place: label for place, label in self.shown.items() if not gone(place)}
        self.owned = {place for place in self.owned if not gone(place)}

    def pull_if(self, wanted: bool) -> None:
        if wanted:
            self.pull(stale=0)

    @rule(stale=st.integers(0, 2))
    def pull(self, stale: int) -> None:
        """Read the queue; a racing pull may know only what was there some pulls ago."""
        self.tick()
        run = RunContext.begin(NORTE, kind=PULL_KIND, at=self.clock)
        cases = self.queue.cases("tipo", NORTE)
        for back in {0, min(stale, len(self.facts) - 1)}:
            self.learn(cases, pl.concat(self.facts[: len(self.facts) - back]), run)
        self.expect(self.shown)

    @rule()
    def pull_blindly(self) -> None:
        """Read the queue while it tells of no answer, which is a fault of its own."""
        self.tick()
        run = RunContext.begin(NORTE, kind=PULL_KIND, at=self.clock)
        blind = [replace(case, answers=()) for case in self.queue.cases("tipo", NORTE)]
        self.learn(blind, pl.concat(self.facts), run)
        self.expect({})

    def learn(self, cases: list[QueuedCase], known: pl.DataFrame, run: RunContext) -> None:
        seen = news(cases, self.queue.accounts(NORTE), known)
        self.facts.append(pl.DataFrame(pl.from_arrow(fact_rows(seen, known, run))))

    def expect(self, shown: dict[tuple[str, str], str | None]) -> None:
        for place in [(T1, "ana"), (T1, "luis")] if self.there else []:
            if place in shown:
                self.pulled[place] = shown[place]
                self.owned.add(place)
            elif place in self.owned:
                self.pulled[place] = None
        self.compare()

    def compare(self) -> None:
        facts = pl.concat([*self.facts, *self.facts[::2]])
        shuffled = facts[Random(len(facts)).sample(range(len(facts)), len(facts))]
        found = standing_answers(shuffled).select("ticket_id", "reviewer", "label").iter_rows()
        wanted = {place: label for place, label in self.pulled.items() if label is not None}
        assert {(ticket, reviewer): label for ticket, reviewer, label in found} == wanted


LedgerAndQueue.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestLedgerAndQueue = LedgerAndQueue.TestCase


class House:
    """One tenant's queue and labels, with a clock that tells when cases are put."""

    def __init__(self, lake: Path, postgres_url: str) -> None:
        postgres = Postgres(postgres_url)
        TenantDirectory(postgres).create(NORTE, name="Norte")
        with postgres.administer() as connection:
            connection.execute("DELETE FROM meta.etl_runs WHERE tenant_id = %s", [NORTE.tenant_id])
        self.store, self.log = DeltaTableStore(LakeRoot(str(lake))), RunLog(postgres)
        self.queue = MemoryReviewQueue(now=lambda: NOON)
        self.fill()

    def fill(self) -> None:
        self.queue.open(SPEC, NORTE)
        self.queue.put([case(T1), case(T2)], SPEC, NORTE)

    def say(self, ticket: str, label: str | None, minute: int, **how: Any) -> None:
        by, at = how.pop("by", "ana"), NOON + timedelta(minutes=minute)
        self.queue.answer(case(ticket).id, by, label, at=at, **how)

    def pull(self, minute: int, **other: Any) -> Pulled:
        run = RunContext.begin(NORTE, kind=PULL_KIND, at=NOON + timedelta(minutes=minute))
        queue = other.get("queue", self.queue)
        return pull(run, (TIPO,), store=self.store, queue=queue, log=self.log)

    def stands(self) -> dict[str, str]:
        found = standing_labels("tipo", NORTE, self.store).to_pylist()
        return {row["ticket_id"]: row["label"] for row in found}

    def told(self) -> list[str]:
        facts = label_facts(NORTE, self.store).sort("observed_at", "responded_at", "label_id")
        return facts["fact"].to_list()

    def rows(self) -> int:
        found = self.store.scan(LABELS.table, NORTE, columns=["label_id"])
        return 0 if found is None else len(found)


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> House:
    return House(tmp_path / "lake", postgres_url)


def test_what_a_reviewer_changes_their_mind_about_is_one_fact_more_each_time(house: House) -> None:
    house.say(T1, "queja", 1)
    assert house.pull(2).facts == {"submitted": 1}
    house.say(T1, "reclamo", 3)
    assert house.pull(4).added == {"tipo": 1}
    house.say(T1, None, 5, status=CaseStatus.DISCARDED)
    assert house.pull(6).facts == {"discarded": 1}
    assert house.stands() == {}
    house.say(T1, "peticion", 7)
    house.pull(8)
    house.queue.take_back(case(T1).id, "ana")
    house.pull(9)
    assert house.told() == ["submitted", "submitted", "discarded", "submitted", "withdrawn"]
    assert house.stands() == {}
    assert house.pull(10).run_id is None


def test_a_draft_over_a_submitted_answer_takes_it_back(house: House) -> None:
    house.say(T1, "queja", 1)
    house.pull(2)
    house.say(T1, "queja", 3, status=CaseStatus.DRAFT)
    assert house.pull(4).facts == {"withdrawn": 1}
    assert house.stands() == {}


def test_a_deleted_queue_withdraws_nothing_and_is_said(house: House) -> None:
    house.say(T1, "queja", 1)
    house.say(T2, "reclamo", 1, by="luis")
    house.pull(2)
    house.queue.lose("tipo", NORTE)
    assert house.pull(3) == Pulled(None, {"tipo": 0}, {}, {"tipo": 2})
    assert house.stands() == {T1: "queja", T2: "reclamo"}


def test_a_case_put_again_after_its_queue_was_deleted_withdraws_nothing(house: House) -> None:
    house.say(T1, "queja", 1)
    house.pull(2)
    house.queue.lose("tipo", NORTE)
    house.queue._now = lambda: NOON + timedelta(minutes=5)
    house.fill()
    assert house.pull(6).run_id is None
    assert house.stands() == {T1: "queja"}


def test_an_account_that_goes_leaves_its_labels_and_is_told_once(house: House) -> None:
    house.say(T1, "queja", 1)
    house.pull(2)
    house.queue.remove_account("ana")
    assert house.pull(3).facts == {"reviewer_removed": 1}
    assert house.pull(4).run_id is None
    assert house.stands() == {T1: "queja"}


def test_an_account_made_anew_withdraws_nothing_of_the_one_before(house: House) -> None:
    house.say(T1, "queja", 1)
    house.pull(2)
    house.queue.remove_account("ana")
    house.say(T1, "reclamo", 3, status=CaseStatus.DRAFT)
    assert house.pull(4).facts == {"reviewer_removed": 1}
    assert house.stands() == {T1: "queja"}


class Troubled:
    """A queue in which something happens at a chosen moment of a pull."""

    def __init__(self, inner: MemoryReviewQueue, at: str, happen: Callable[[], None]) -> None:
        self._inner, self._at, self._happen = inner, at, happen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def cases(self, task: str, tenant: TenantContext) -> list[QueuedCase]:
        if self._at == task:
            self._happen()
        return self._inner.cases(task, tenant)

    def accounts(self, tenant: TenantContext) -> Any:
        if self._at == "accounts":
            self._happen()
        return self._inner.accounts(tenant)


MOMENTS = ["tipo", disputes_of("tipo"), "accounts"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_queue_that_goes_down_in_a_pull_loses_nothing(house: House, moment: str) -> None:
    def fail() -> None:
        raise ServiceUnavailableError.of("Argilla", "http://x", "ConnectError")

    house.say(T1, "queja", 1)
    with pytest.raises(ServiceUnavailableError):
        house.pull(2, queue=Troubled(house.queue, moment, fail))
    assert house.rows() == 0
    assert house.pull(3).added == {"tipo": 1}
    assert house.rows() == 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_answer_edited_in_a_pull_is_there_after_the_next(house: House, moment: str) -> None:
    house.say(T1, "queja", 1)
    house.pull(2, queue=Troubled(house.queue, moment, lambda: house.say(T1, "reclamo", 2)))
    house.pull(3)
    assert house.stands() == {T1: "reclamo"}
    assert house.pull(4).run_id is None
    assert house.rows() == len(set(label_facts(NORTE, house.store)["label_id"]))


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_account_that_goes_in_a_pull_takes_no_pulled_label(house: House, moment: str) -> None:
    house.say(T1, "queja", 1)
    house.pull(2)
    troubled = Troubled(house.queue, moment, lambda: house.queue.remove_account("ana"))
    house.pull(3, queue=troubled)
    house.pull(4)
    assert house.stands() == {T1: "queja"}
    assert house.told() == ["submitted", "reviewer_removed"]


def test_two_pulls_at_once_write_each_answer_once(house: House) -> None:
    for ticket in (T1, T2):
        house.say(ticket, "queja", 1)
    busy = []

    def one(minute: int) -> None:
        try:
            house.pull(minute)
        except TenantBusyError as error:
            busy.append(error)

    threads = [threading.Thread(target=one, args=(minute,)) for minute in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.pull(5)
    assert (house.rows(), house.stands()) == (2, {T1: "queja", T2: "queja"})


def test_a_pull_killed_at_any_place_loses_no_answer_and_doubles_none(
    house: House, tmp_path: Path, postgres_url: str
) -> None:
    program = Path(__file__).parent / "killed_pulls.py"
    words = [sys.executable, str(program), postgres_url, str(tmp_path / "lake"), NORTE.tenant_id]
    environment = {**os.environ, "PYTHONPATH": str(program.parents[2])}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    answers = told["deaths"] + 1
    assert told["deaths"] >= 8
    assert told == {**told, "ended": 0, "rows": answers, "stand": answers}
    ended = {record.status for record in house.log.recent(NORTE)}
    assert ended == {RunStatus.COMPLETED, RunStatus.FAILED}
