"""What gates are told of a bundle: from the evaluations on record and from the bundles alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from lakehouse.control.evaluations import EvaluationLog, EvaluationRecord
from lakehouse.control.postgres import Postgres
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from models.gates import Measures, TaskMeasures
from pipelines.measured import measures_of
from registry.bundles import Bundle, TaskPins
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage, ModelRef, PromptRef

FOUND = TaskMeasures(
    task="tipo",
    challenger="models:/norte.tipo/2",
    champion="models:/norte.tipo/1",
    texts=210,
    macro_f1=0.9,
    champion_macro_f1=0.3,
    lift_low=0.5,
    lift_high=0.7,
    p_better=0.0001,
    ece=0.05,
    seconds=20.0,
    champion_seconds=1.0,
)


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def log(postgres_url: str) -> EvaluationLog:
    return EvaluationLog(Postgres(postgres_url))


@pytest.fixture
def tenant() -> TenantContext:
    return TenantContext.parse(f"gated-{uuid4().hex[:8]}")


def model(registry: MemoryRegistry, folder: Path, content: str) -> ModelRef:
    folder.mkdir(exist_ok=True)
    (folder / "plata.json").write_text(content, encoding="utf-8")
    return registry.register_model(ModelPackage("norte.tipo", folder, family="linear", card=""))


@pytest.fixture
def champion(registry: MemoryRegistry, tmp_path: Path) -> Bundle:
    ref = model(registry, tmp_path / "m", '{"family": "rules"}')
    pins = TaskPins(
        task="tipo",
        labels=("peticion", "queja"),
        text_field="text",
        champion=ref,
        baseline=ref,
        zero_shot=PromptRef("norte.tipo.zero-shot", "1", "d"),
        accept_at=0.8,
        audit_share=0.05,
    )
    return Bundle(ModelRef("e5", "1", "a"), PromptRef("e5-query", "1", "b"), (pins,), 1)


def answered_by(bundle: Bundle, ref: ModelRef) -> Bundle:
    return replace(bundle, tasks=tuple(replace(pins, champion=ref) for pins in bundle.tasks))


def measured(
    tenant: TenantContext,
    challenger: Bundle,
    champion: Bundle,
    log: EvaluationLog,
    registry: MemoryRegistry,
) -> Measures:
    return measures_of(
        tenant, challenger, champion, log=log, registry=registry, asked_by="ana", approved_by=None
    )


def test_the_newest_comparison_with_this_champion_is_what_gates_read(
    tenant: TenantContext,
    champion: Bundle,
    log: EvaluationLog,
    registry: MemoryRegistry,
    tmp_path: Path,
) -> None:
    ref = model(registry, tmp_path / "m", '{"family": "linear", "embedding": {}}')
    challenger = answered_by(champion, ref)
    assert measured(tenant, challenger, champion, log, registry).unmeasured == ("tipo",)
    log.record(
        tenant,
        EvaluationRecord(
            evaluation_id=RunId("evaluate-1"),
            task="tipo",
            answers_id=challenger.answers_id("tipo"),
            champion_answers_id=champion.answers_id("tipo"),
            bundle_id=challenger.bundle_id,
            model=ref.uri,
            champion="models:/norte.tipo/1",
            judged_on="held-out",
            texts=210,
            page="runs/1",
            measured_at=datetime(2026, 1, 2, tzinfo=UTC),
            measures=FOUND.as_dict(),
            report={},
        ),
    )
    found = measured(tenant, challenger, champion, log, registry)
    assert found == Measures(tasks=(FOUND,), asked_by="ana")
    assert measured(tenant, champion, challenger, log, registry).unmeasured == ("tipo",)


def test_a_bundle_that_only_routes_otherwise_needs_no_evaluation(
    tenant: TenantContext, champion: Bundle, log: EvaluationLog, registry: MemoryRegistry
) -> None:
    (pins,) = champion.tasks
    routed = replace(champion, tasks=(replace(pins, accept_at=0.9),))
    assert measured(tenant, routed, champion, log, registry) == Measures(asked_by="ana")


def test_what_others_would_notice_is_told(
    tenant: TenantContext,
    champion: Bundle,
    log: EvaluationLog,
    registry: MemoryRegistry,
    tmp_path: Path,
) -> None:
    ref = model(registry, tmp_path / "m", '{"inputs": ["text", "image"]}')
    (pins,) = answered_by(champion, ref).tasks
    other = replace(champion, tasks=(replace(pins, labels=("peticion",)), replace(pins, task="x")))
    assert measured(tenant, other, champion, log, registry).contract_changes == (
        "task 'x' comes",
        "tipo: label 'queja' goes",
        "tipo: reads 'image', which the rows of a run do not have",
    )
