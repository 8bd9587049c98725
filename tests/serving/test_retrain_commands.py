"""`plata retrain` on a real Postgres: what it says before the first, and of what failed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from lakehouse.control.drift import DriftLog
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.gates import read_policy
from models.routing import RoutingPolicy
from models.task import Task
from pipelines import bootstrap
from pipelines.promotion import PromotionPorts
from pipelines.retrain import RETRAIN_KIND, RetrainPorts
from pipelines.retrain_policy import RetrainPolicy
from registry.challenges import ExperimentLog
from registry.memory import MemoryRegistry
from serving.cli.retrain import app

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def run(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    postgres, name = Postgres(postgres_url), f"q{uuid4().hex[:10]}"
    tenant, titles = TenantContext.parse(name), {"agua": "Agua", "luz": "Luz"}
    tenants = TenantDirectory(postgres)
    tenants.create(tenant, name="Prueba")
    task = Task("tema", titles, "text", f"{name}.tema", "p", RoutingPolicy(0.8))
    registry, runs = MemoryRegistry(), RunLog(postgres)
    promotion = PromotionPorts.over(postgres, registry)
    ports = RetrainPorts(
        store=DeltaTableStore(LakeRoot(str(tmp_path))),
        log=runs,
        drift=DriftLog(postgres),
        promotion=promotion,
        evaluation=SimpleNamespace(log=promotion.evaluations),  # type: ignore[arg-type]
        experiments=ExperimentLog(postgres),
        gates=read_policy(),
    )
    platform = SimpleNamespace(
        tenants=tenants,
        tenant=lambda given: TenantContext.parse(given),
        tasks=lambda context: (task,),
        retrain_policy=lambda context: RetrainPolicy(every_days=30),
        retraining=lambda context, gates=None: ports,
    )
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)

    def invoke(*words: str) -> Any:
        result = CliRunner().invoke(app, [*words, "--tenant", name])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return SimpleNamespace(invoke=invoke, tenant=tenant, runs=runs)


def test_before_there_are_tickets_a_plan_says_so_in_one_line(run: Any) -> None:
    with pytest.raises(InputError, match=r"silver.tickets was not there yet") as error:
        run.invoke("--plan")
    assert "\n" not in str(error.value)


def test_before_the_first_retraining_status_leads_to_the_plan(run: Any) -> None:
    assert json.loads(run.invoke("status", "--json")) == []
    assert f"plata retrain --tenant {run.tenant.tenant_id} --plan" in " ".join(
        run.invoke("status").split()
    )


def test_approving_where_nothing_waits_says_what_waits(run: Any) -> None:
    with pytest.raises(InputError, match=r"no proposal of .* is 'tema'; there wait: none"):
        run.invoke("approve", "tema")


def test_a_retraining_that_failed_is_shown_with_its_error(run: Any) -> None:
    plan = {
        "task": "tema",
        "trigger": "labels",
        "reason": "60 new labels (new_labels: 50)",
        "as_of": NOON.isoformat(),
        "versions": {"silver_labels": 3},
        "file": None,
    }
    begun = RunContext.begin(run.tenant, kind=RETRAIN_KIND, at=NOON)
    run.runs.start(begun, RETRAIN_KIND, plan)
    (shown,) = json.loads(run.invoke("status", "--json"))
    assert (shown["retraining"], shown["stage"]) == (begun.run_id, "running")
    run.runs.finish(begun, RunStatus.FAILED, error="nothing fair to judge on")
    (shown,) = json.loads(run.invoke("status", "--json"))
    assert (shown["stage"], shown["error"]) == ("failed", "nothing fair to judge on")
    assert "60 new labels" in " ".join(run.invoke("status").split())
