"""Doubtful and drawn tickets go to people once; what people say becomes labels once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from contracts.contract import Contract
from contracts.pqrs import TicketState
from contracts.tables import (
    CLASSIFICATIONS,
    EMBEDDINGS,
    LABELS,
    MESSAGES,
    MOMENT,
    STATUS_EVENTS,
    TICKETS,
)
from labeling.accounts import ReviewerAccounts
from labeling.ledger import Fact
from labeling.masking import Masking, Pii
from labeling.memory import MemoryReviewQueue
from labeling.observed import Seen, news
from labeling.policy import ReviewPolicy
from labeling.queue import (
    CaseId,
    CaseOrigin,
    CaseStatus,
    QueuedCase,
    Reason,
)
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import ServiceUnavailableError, TenantMismatchError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.errors import RunFailedError
from pipelines.ledger import PULL_KIND, Pulled, fact_rows, pull
from pipelines.review import (
    DEFAULT_POLICY,
    Pushed,
    mlflow_page,
    push,
    push_all,
    select_cases,
    status,
)
from pipelines.standing_labels import label_facts

NORTE, SUR = TenantContext.parse("review-norte"), TenantContext.parse("review-sur")
MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
DAY = date(2026, 1, 4)
T1, T2, T3, T4, T9 = (str(UUID(int=number)) for number in (1, 2, 3, 4, 9))
TIPO = Task(
    "tipo",
    {"queja": "Queja", "reclamo": "Reclamo"},
    "text",
    "review-norte.tipo",
    "review-norte.tipo.zero-shot",
    RoutingPolicy(accept_at=0.8),
)
PRIORIDAD = replace(TIPO, name="prioridad", titles={"alta": "Alta", "baja": "Baja"})


def answers(*rows: tuple[str, str, float]) -> pa.Table:
    tickets, decisions, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "ticket_id": pa.array(tickets, pa.string()),
            "decision": pa.array(decisions, pa.string()),
            "score": pa.array(scores, pa.float64()),
            "model_version": pa.array(["2"] * len(tickets), pa.string()),
            "inference_timestamp": pa.array([MORNING] * len(tickets), MOMENT),
            "drawn": pa.nulls(len(tickets), pa.bool_()),
        }
    )


def chosen(rows: pa.Table, *, labelled: frozenset[str] = frozenset(), limit: int = 9) -> list[str]:
    found: list[str] = select_cases(rows, labelled=labelled, limit=limit)["ticket_id"].to_pylist()
    return found


MIXED = answers(
    ("sure", "accept", 0.99),
    ("unsure", "review", 0.40),
    ("drawn", "audit", 0.95),
    ("lost", "review", 0.20),
    ("beside", "none", 0.10),
)


def test_doubts_of_the_model_in_use_come_before_those_of_an_older_one() -> None:
    older = answers(("old-doubt", "review", 0.1), ("old-drawn", "audit", 0.9))
    older = older.set_column(3, "model_version", pa.array(["1", "1"]))
    earlier = pa.array([MORNING - timedelta(days=1)] * 2, MOMENT)
    older = older.set_column(4, "inference_timestamp", earlier)
    newer = answers(("new-doubt", "review", 0.6))
    assert chosen(pa.concat_tables([older, newer])) == ["new-doubt", "old-drawn", "old-doubt"]


def test_the_drawn_come_first_then_the_least_certain() -> None:
    assert chosen(MIXED) == ["drawn", "lost", "unsure"]


def test_a_doubt_that_the_audit_drew_comes_with_the_drawn() -> None:
    marks = pa.array([False, True, True, False, None])
    rows = MIXED.set_column(MIXED.schema.get_field_index("drawn"), "drawn", marks)
    assert chosen(rows) == ["drawn", "unsure", "lost"]


def test_of_the_drawn_that_do_not_all_fit_the_score_chooses_none() -> None:
    rows = answers(("b", "audit", 0.81), ("c", "audit", 0.99), ("a", "audit", 0.95))
    assert chosen(rows, limit=2) == ["a", "b"]
    turned = answers(("b", "audit", 0.99), ("c", "audit", 0.81), ("a", "audit", 0.90))
    assert chosen(turned, limit=2) == ["a", "b"]


def test_a_full_queue_keeps_the_audit_and_the_worst_doubts() -> None:
    assert chosen(MIXED, limit=2) == ["drawn", "lost"]


def test_a_ticket_with_a_label_is_not_asked_about_again() -> None:
    assert chosen(MIXED, labelled=frozenset({"lost"})) == ["drawn", "unsure"]


def test_equal_scores_are_chosen_by_ticket() -> None:
    rows = answers(("b", "review", 0.3), ("c", "review", 0.3), ("a", "review", 0.3))
    assert chosen(rows, limit=2) == ["a", "b"]


def test_an_answer_without_a_usable_score_is_the_first_doubt() -> None:
    rows = answers(("a", "review", 0.1), ("b", "review", float("nan")))
    assert chosen(rows) == ["b", "a"]


def test_nothing_answered_gives_nothing_to_choose() -> None:
    assert chosen(answers()) == []


def test_a_doubt_whose_ticket_was_closed_since_is_not_asked_but_a_draw_is() -> None:
    closed = dict.fromkeys(["unsure", "drawn"], MORNING + timedelta(hours=1))
    assert select_cases(MIXED, labelled=frozenset(), closed=closed, limit=9)[
        "ticket_id"
    ].to_pylist() == ["drawn", "lost"]


def test_a_ticket_that_was_closed_before_it_was_answered_still_teaches() -> None:
    closed = {"unsure": MORNING - timedelta(days=30)}
    found = select_cases(MIXED, labelled=frozenset(), closed=closed, limit=9)
    assert found["ticket_id"].to_pylist() == ["drawn", "lost", "unsure"]


class House:
    """One tenant's Silver and its queue."""

    def __init__(self, lake: Path, log: RunLog) -> None:
        self.store = DeltaTableStore(LakeRoot(str(lake)))
        self.clock = MORNING + timedelta(minutes=30)
        self.queue = MemoryReviewQueue(lambda: self.clock)
        self.log = log

    def run(self, minutes: int = 0, *, tenant: TenantContext = NORTE) -> RunContext:
        return RunContext.begin(tenant, kind="run", at=MORNING + timedelta(minutes=minutes))

    def add(self, contract: Contract, run: RunContext, **columns: list[Any]) -> None:
        count = len(next(iter(columns.values())))
        common = {"tenant_id": run.tenant.tenant_id, "run_id": run.run_id, "source": "correo"}
        given = {**{k: [v] * count for k, v in common.items()}, "day": [DAY] * count, **columns}
        rows = [
            dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)
        ]
        known = [{f.name: row.get(f.name, _any(f.type)) for f in contract.schema} for row in rows]
        table = pa.Table.from_pylist(known, schema=contract.schema)
        self.store.append(contract.table, contract.enforce(table), run)

    def arrive(self, *tickets: str, run: RunContext, text: str = "Me gritaron, soy {}.") -> None:
        ids, count = list(tickets), len(tickets)
        self.add(
            TICKETS, run, ticket_id=ids, subject=["Mal trato"] * count, geo_region=["Huila"] * count
        )
        texts = [text.format(ticket) for ticket in tickets]
        self.add(MESSAGES, run, ticket_id=ids, event_id=ids, role=["citizen"] * count, text=texts)
        vectors = [[0.1, 0.2, 0.3]] * count
        self.add(EMBEDDINGS, run, ticket_id=ids, space_id=["e5"] * count, embedding=vectors)

    def answered(self, run: RunContext, *rows: tuple[str, str, float], task: str = "tipo") -> None:
        tickets, decisions, scores = (list(column) for column in zip(*rows, strict=True))
        count = len(rows)
        self.add(
            CLASSIFICATIONS,
            run,
            ticket_id=tickets,
            task=[task] * count,
            decision=decisions,
            score=scores,
            predicted_label=["queja"] * count,
            tier=["champion"] * count,
            model_name=["review-norte.tipo"] * count,
            model_version=["3"] * count,
            bundle_id=[f"bundle-{run.run_id[-8:]}"] * count,
            inference_timestamp=[run.started_at] * count,
        )

    def move(self, ticket: str, minutes: int, *states: TicketState) -> None:
        at = [MORNING + timedelta(minutes=minutes, seconds=n) for n, _ in enumerate(states[1:])]
        self.add(
            STATUS_EVENTS,
            self.run(minutes),
            ticket_id=[ticket] * len(at),
            event_id=[f"{ticket[-1]}-{moment.isoformat()}" for moment in at],
            ts=at,
            status_from=[state.value for state in states[:-1]],
            status_to=[state.value for state in states[1:]],
        )

    def push(self, *, limit: int = 10, task: Task = TIPO) -> int:
        return self.pushed(limit=limit, task=task).added

    def pushed(
        self, *, limit: int = 10, task: Task = TIPO, policy: ReviewPolicy = DEFAULT_POLICY
    ) -> Pushed:
        page, store, queue = mlflow_page("http://mlflow"), self.store, self.queue
        return push(NORTE, task, store=store, queue=queue, page=page, policy=policy, limit=limit)

    def waiting(self, task: str = "tipo") -> list[QueuedCase]:
        return self.queue.cases(task, NORTE)

    def say(self, ticket: str, label: str, minute: int, *, by: str = "ana") -> None:
        case = next(case.id for case in self.waiting() if case.id.ticket_id == ticket)
        self.queue.answer(case, by, label, at=MORNING + timedelta(hours=1, minutes=minute))

    def pull(self, minutes: int, *tasks: Task) -> Pulled:
        run = RunContext.begin(NORTE, kind=PULL_KIND, at=MORNING + timedelta(minutes=minutes))
        return pull(run, tasks or (TIPO,), store=self.store, queue=self.queue, log=self.log)

    def labels(self) -> list[dict[str, Any]]:
        rows = self.store.scan(LABELS.table, NORTE)
        found: list[dict[str, Any]] = [] if rows is None else rows.to_pylist()
        return sorted(found, key=lambda row: row["responded_at"])


def _any(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return "x"
    if pa.types.is_timestamp(kind):
        return MORNING
    return None if pa.types.is_boolean(kind) else 1


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> House:
    postgres = Postgres(postgres_url)
    for tenant in (NORTE, SUR):
        TenantDirectory(postgres).create(tenant, name=tenant.tenant_id)
    with postgres.administer() as connection:
        connection.execute("DELETE FROM meta.etl_runs WHERE tenant_id = %s", [NORTE.tenant_id])
    return House(tmp_path / "lake", RunLog(postgres))


@pytest.fixture
def filled(house: House) -> House:
    run = house.run()
    house.arrive(T1, T2, T3, T4, run=run)
    house.answered(
        run,
        (T1, "accept", 0.9),
        (T2, "review", 0.4),
        (T3, "audit", 0.9),
        (T4, "review", 0.6),
    )
    return house


def test_doubt_and_audit_reach_the_queue_with_their_reason(filled: House) -> None:
    assert filled.push() == 3
    found = {case.id.ticket_id: case.origin.reason for case in filled.waiting()}
    assert found == {T2: Reason.DOUBT, T3: Reason.AUDIT, T4: Reason.DOUBT}


def test_a_reviewer_sees_words_vector_and_a_way_back_but_no_number(house: House) -> None:
    run = house.run()
    house.arrive(T1, run=run, text="Llámenme al 315 037 6681.")
    house.answered(run, (T1, "review", 0.4))
    house.push()
    (case,) = house.queue.shown.values()
    assert case.text == "Mal trato\n\nLlámenme al [teléfono]."
    assert case.vector == pytest.approx((0.1, 0.2, 0.3))
    assert (case.region, case.origin.suggestion, case.origin.score) == ("Huila", "queja", 0.4)
    assert case.link == "http://mlflow/#/models/review-norte.tipo/versions/3"
    assert case.run_id == run.run_id


def test_pushing_twice_changes_nothing(filled: House) -> None:
    filled.push()
    filled.say(T2, "reclamo", 1)
    before = filled.waiting()
    assert filled.push() == 0
    assert filled.waiting() == before


def test_a_full_queue_takes_no_more_until_labels_come_back(filled: House) -> None:
    assert filled.push(limit=2) == 2
    assert filled.push(limit=2) == 0
    filled.say(T3, "queja", 1)
    filled.pull(10)
    assert filled.push(limit=2) == 1
    assert {case.id.ticket_id for case in filled.waiting()} == {T2, T3, T4}


def test_a_ticket_answered_again_by_a_newer_bundle_is_not_asked_twice(filled: House) -> None:
    filled.push()
    filled.answered(filled.run(5), (T2, "review", 0.3), (T4, "accept", 0.9))
    assert filled.push() == 0


def test_only_the_newest_answer_of_a_ticket_counts(filled: House) -> None:
    filled.answered(filled.run(5), (T2, "accept", 0.95), (T1, "review", 0.1))
    filled.push()
    assert {case.id.ticket_id for case in filled.waiting()} == {T1, T3, T4}


def test_a_ticket_without_a_text_waits_for_it(filled: House) -> None:
    filled.answered(filled.run(5), (T9, "review", 0.2))
    assert filled.push() == 3


def test_a_tenant_with_nothing_answered_gets_an_empty_queue(house: House) -> None:
    assert house.push() == 0
    assert house.waiting() == []


TO_CLOSED = (
    TicketState.RECEIVED,
    TicketState.RADICATED,
    TicketState.CLASSIFIED,
    TicketState.ASSIGNED,
    TicketState.IN_PROGRESS,
    TicketState.RESPONDED,
    TicketState.CLOSED,
)


def test_a_doubt_leaves_when_its_ticket_is_closed_and_is_asked_again_when_it_reopens(
    filled: House,
) -> None:
    filled.push()
    filled.move(T2, 60, *TO_CLOSED)
    done = filled.pushed()
    assert (done.withdrawn, done.added, done.chosen) == (1, 0, 2)
    assert {case.id.ticket_id for case in filled.waiting()} == {T3, T4}
    assert filled.pushed().withdrawn == 0
    filled.move(T2, 90, TicketState.CLOSED, TicketState.REOPENED)
    assert filled.push() == 1


def test_a_drawn_case_stays_when_its_ticket_is_closed(filled: House) -> None:
    filled.push()
    filled.move(T3, 60, *TO_CLOSED)
    assert filled.pushed().withdrawn == 0
    assert T3 in {case.id.ticket_id for case in filled.waiting()}


def test_a_case_that_somebody_answered_stays_when_its_ticket_is_closed(filled: House) -> None:
    filled.push()
    filled.say(T2, "reclamo", 1)
    filled.move(T2, 60, *TO_CLOSED)
    assert filled.pushed().withdrawn == 0
    assert filled.pull(10).added == {"tipo": 1}


def test_a_case_leaves_when_its_ticket_has_a_label_from_elsewhere(filled: House) -> None:
    filled.push()
    aside = MemoryReviewQueue()
    filled.queue, queue = aside, filled.queue
    filled.push()
    filled.say(T2, "reclamo", 1)
    filled.pull(10)
    filled.queue = queue
    assert filled.pushed().withdrawn == 1
    assert {case.id.ticket_id for case in filled.waiting()} == {T3, T4}


def test_a_share_of_the_cases_is_put_for_two_people(filled: House) -> None:
    filled.pushed(policy=ReviewPolicy(overlap_share=1.0))
    assert [case.wanted for case in filled.waiting()] == [2, 2, 2]


def test_a_tenant_decides_what_is_covered(house: House) -> None:
    run = house.run()
    house.arrive(T1, run=run, text="Soy ana@example.org, 315 037 6681.")
    house.answered(run, (T1, "review", 0.4))
    house.pushed(policy=ReviewPolicy(masking=Masking(frozenset({Pii.CORREO}))))
    (case,) = house.queue.shown.values()
    assert case.text == "Mal trato\n\nSoy [correo], 315 037 6681."
    assert case.masking == "v1: correo"


def test_what_was_submitted_becomes_a_label(filled: House) -> None:
    filled.push()
    filled.say(T2, "reclamo", 1)
    pulled = filled.pull(10)
    assert pulled.added == {"tipo": 1}
    (row,) = filled.labels()
    expected = {
        "tenant_id": "review-norte",
        "run_id": pulled.run_id,
        "source": "correo",
        "day": DAY,
        "ticket_id": T2,
        "task": "tipo",
        "label": "reclamo",
        "reviewer": "ana",
        "reason": "doubt",
        "suggested_label": "queja",
        "suggested_score": 0.4,
        "model_name": "review-norte.tipo",
        "model_version": "3",
        "guideline_version": "tipo.v1",
        "responded_at": MORNING + timedelta(hours=1, minutes=1),
    }
    assert {name: row[name] for name in expected} == expected


def test_pulling_twice_changes_nothing_and_leaves_no_empty_run(filled: House) -> None:
    filled.push()
    filled.say(T2, "reclamo", 1)
    filled.pull(10)
    before = filled.labels()
    assert filled.pull(11) == Pulled(None, {"tipo": 0})
    assert filled.labels() == before
    assert len(filled.log.recent(NORTE)) == 1


def test_a_changed_answer_is_one_more_label(filled: House) -> None:
    filled.push()
    filled.say(T2, "reclamo", 1)
    filled.pull(10)
    filled.say(T2, "queja", 2)
    assert filled.pull(11).added == {"tipo": 1}
    assert [row["label"] for row in filled.labels()] == ["reclamo", "queja"]


@pytest.mark.parametrize("how", [CaseStatus.DRAFT, CaseStatus.DISCARDED])
def test_drafts_and_discards_stay_out_of_the_labels(filled: House, how: CaseStatus) -> None:
    filled.push()
    filled.queue.answer(filled.waiting()[0].id, "ana", "queja", at=MORNING, status=how)
    assert filled.pull(10).added == {"tipo": 0}


def test_labels_of_all_tasks_come_in_one_write(filled: House) -> None:
    filled.answered(filled.run(5), (T1, "review", 0.2), task="prioridad")
    filled.push()
    filled.push(task=PRIORIDAD)
    filled.say(T2, "reclamo", 1)
    (other,) = filled.waiting("prioridad")
    filled.queue.answer(other.id, "ana", "alta", at=MORNING)
    assert filled.pull(10, TIPO, PRIORIDAD).added == {"tipo": 1, "prioridad": 1}
    head = filled.store.head(LABELS.table, NORTE)
    assert head is not None
    assert head.version == 1


def test_an_answer_that_is_no_label_of_its_task_fails_the_pull_and_none_is_written(
    filled: House,
) -> None:
    filled.push()
    filled.say(T2, "reclamo", 1)
    filled.say(T3, "felicitación", 2)
    with pytest.raises(RunFailedError, match=r"labels are of their task \(found 1 labels: tipo"):
        filled.pull(10)
    assert filled.labels() == []
    (record,) = filled.log.recent(NORTE)
    assert (record.status, "felicitación" in str(record.error)) == (RunStatus.FAILED, False)
    filled.say(T3, "queja", 3)
    assert filled.pull(11).added == {"tipo": 2}


def test_a_label_row_that_breaks_its_contract_is_recorded_and_never_written(filled: House) -> None:
    filled.answered(filled.run(5), (T1, "review", 1.5))
    filled.push()
    filled.say(T1, "queja", 1)
    with pytest.raises(RunFailedError, match=r"labels: values in range \(found 1 values: sugg"):
        filled.pull(10)
    assert filled.labels() == []
    results = filled.log.quality(NORTE, filled.log.recent(NORTE)[0].run.run_id)
    failed = [(result.table, result.check) for result in results if not result.passed]
    assert failed == [("labels", "values in range")]


class FailingQueue(MemoryReviewQueue):
    def cases(self, task: str, tenant: TenantContext) -> list[QueuedCase]:
        if task == "prioridad":
            raise ServiceUnavailableError.of("Argilla", "http://x", "ConnectError")
        return super().cases(task, tenant)


def test_a_queue_that_goes_down_half_way_leaves_nothing_half_written(filled: House) -> None:
    filled.queue = FailingQueue()
    filled.push()
    filled.say(T2, "reclamo", 1)
    with pytest.raises(ServiceUnavailableError):
        filled.pull(10, TIPO, PRIORIDAD)
    assert filled.labels() == []
    assert filled.log.recent(NORTE) == []


@pytest.fixture
def killed(filled: House) -> Callable[[bool], House]:
    def leave(written: bool) -> House:
        filled.push()
        filled.say(T2, "reclamo", 1)
        run = RunContext.begin(NORTE, kind=PULL_KIND, at=MORNING)
        filled.log.start(run, PULL_KIND, {})
        if written:
            known = label_facts(NORTE, filled.store)
            seen = news(filled.waiting(), filled.queue.accounts(NORTE), known)
            filled.store.append(LABELS.table, fact_rows(seen, known, run), run)
        return filled

    return leave


@pytest.mark.parametrize("written", [True, False])
def test_a_pull_after_one_that_was_killed_gives_the_same_labels(
    killed: Callable[[bool], House], written: bool
) -> None:
    house = killed(written)
    house.pull(10)
    assert [row["label"] for row in house.labels()] == ["reclamo"]
    ended = {record.status for record in house.log.recent(NORTE)}
    assert ended == {RunStatus.COMPLETED} if written else {RunStatus.COMPLETED, RunStatus.FAILED}


def test_an_answer_about_another_tenants_case_is_never_written(house: House) -> None:
    origin = CaseOrigin("correo", DAY, Reason.DOUBT, "queja", 0.4, "m", "1")
    case = QueuedCase(CaseId("review-sur", "tipo", T1, "b"), origin, "tipo.v1")
    seen, known = (
        Seen(case, Fact.SUBMITTED, "queja", "ana", MORNING),
        label_facts(NORTE, house.store),
    )
    with pytest.raises(TenantMismatchError, match="review-sur"):
        fact_rows([seen], known, house.run())


def test_the_state_counts_what_waits_and_what_came_back(filled: House) -> None:
    filled.push()
    filled.say(T3, "queja", 1)
    filled.pull(10)
    (state,) = status(NORTE, [TIPO], store=filled.store, queue=filled.queue)
    assert state.cases[Reason.AUDIT][CaseStatus.SUBMITTED] == 1
    assert state.cases[Reason.DOUBT][CaseStatus.PENDING] == 2
    assert state.labels == 1


def test_the_tenants_reviewer_is_let_in_with_the_password_on_file(
    filled: House, tmp_path: Path
) -> None:
    accounts = ReviewerAccounts(tmp_path / "reviewers.json")
    store, queue, log = filled.store, filled.queue, filled.log
    done = push_all(NORTE, [TIPO, PRIORIDAD], store=store, queue=queue, log=log, accounts=accounts)
    assert [(pushed.task, pushed.added) for pushed in done] == [("tipo", 3), ("prioridad", 0)]
    made = accounts.of(NORTE)
    assert queue.reviewers == {"review-norte": {"revisor-review-norte": made.password}}
