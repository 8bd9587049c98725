"""The log of evaluations on a real Postgres."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from lakehouse.control.evaluations import EvaluationLog, EvaluationRecord
from lakehouse.control.postgres import Postgres
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
RECORD = EvaluationRecord(
    evaluation_id=RunId("evaluate-1"),
    task="tipo",
    answers_id="answers-new",
    champion_answers_id="answers-old",
    bundle_id="bundle-new",
    model="models:/norte.tipo/2",
    champion="models:/norte.tipo/1",
    judged_on="held-out",
    texts=210,
    page="runs/1",
    measured_at=NOON,
    measures={"task": "tipo", "p_better": 0.25},
    report={"sets": [{"texts": 210}]},
)
OLDER = replace(RECORD, evaluation_id=RunId("evaluate-0"), measured_at=NOON - timedelta(days=1))


@pytest.fixture
def log(postgres_url: str) -> EvaluationLog:
    return EvaluationLog(Postgres(postgres_url))


@pytest.fixture
def tenant() -> TenantContext:
    return TenantContext.parse(f"judged-{uuid4().hex[:8]}")


def test_the_newest_comparison_of_the_same_two_counts(
    log: EvaluationLog, tenant: TenantContext
) -> None:
    for record in (RECORD, OLDER):
        log.record(tenant, record)
    log.record(tenant, replace(RECORD, evaluation_id=RunId("x"), champion_answers_id="other"))
    assert log.newest(tenant, "tipo", "answers-new", "answers-old") == RECORD
    assert log.newest(tenant, "prioridad", "answers-new", "answers-old") is None
    assert log.newest(tenant, "tipo", "answers-old", "answers-new") is None


def test_an_evaluation_without_a_champion_is_on_record_and_compares_nothing(
    log: EvaluationLog, tenant: TenantContext
) -> None:
    alone = replace(RECORD, champion_answers_id=None, champion=None, measures=None)
    log.record(tenant, alone)
    assert log.recent(tenant) == [alone]
    assert log.recent(tenant, task="prioridad") == []
    assert log.newest(tenant, "tipo", "answers-new", "answers-old") is None


def test_another_tenants_evaluations_are_not_seen(
    log: EvaluationLog, tenant: TenantContext
) -> None:
    log.record(tenant, RECORD)
    other = TenantContext.parse(f"{tenant.tenant_id}-b")
    assert log.recent(other) == []
    assert log.newest(other, "tipo", "answers-new", "answers-old") is None
