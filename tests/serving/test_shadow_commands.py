"""`plata shadow` on a real Postgres: what is started is shown, and ended by who says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from models.routing import RoutingPolicy
from models.task import Task
from pipelines import bootstrap
from pipelines.promotion import PromotionPorts
from pipelines.shadow_report import Paired, Share, SideReport, TaskReport
from registry.bundle_log import BundleLog
from registry.bundles import Bundle, TaskPins
from registry.memory import MemoryRegistry
from registry.refs import ModelRef, PromptRef
from serving.cli.shadow import app
from serving.cli.shadow_view import agreement_said


def bundle(accept_at: float) -> Bundle:
    model, prompt = ModelRef("e", "1", "d"), PromptRef("p", "1", "d")
    pins = TaskPins("tema", ("agua", "luz"), "text", model, model, prompt, accept_at, 0.1, prompt)
    return Bundle(model, prompt, (pins,), seed=7)


@pytest.fixture
def run(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    postgres, name = Postgres(postgres_url), f"w{uuid4().hex[:10]}"
    tenant, titles = TenantContext.parse(name), {"agua": "Agua", "luz": "Luz"}
    TenantDirectory(postgres).create(tenant, name="Prueba")
    task = Task("tema", titles, "text", "m", "p", RoutingPolicy(0.8))
    log = BundleLog(postgres)
    for accept_at in (0.8, 0.7):
        log.keep(tenant, name, bundle(accept_at), by="ana")
    log.move(tenant, name, "champion", bundle(0.8).bundle_id, by="ana", reason="the first")
    registry = MemoryRegistry()
    platform = SimpleNamespace(
        postgres=postgres,
        bundles=log,
        runs=RunLog(postgres),
        store=DeltaTableStore(LakeRoot(str(tmp_path))),
        registry=registry,
        promotion=PromotionPorts.over(postgres, registry),
        tenant=lambda given: TenantContext.parse(given),
        tasks=lambda context: (task,),
    )
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)

    def invoke(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, "-t", name])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def test_an_experiment_is_started_shown_reported_and_stopped(run: Any) -> None:
    challenger = bundle(0.7).bundle_id
    started = json.loads(
        run("start", challenger, "--mode", "ab", "--share", "0.2", "--reason", "try", "--json")
    )
    assert (started["bundle_id"], started["mode"], started["share"]) == (challenger, "ab", 0.2)
    (shown,) = json.loads(run("status", "--json"))
    assert shown == started
    assert challenger in run("status")
    assert "no run planned with it has ended yet" in " ".join(run("report").split())
    found = json.loads(run("report", "--json"))
    assert (found["runs"], found["tasks"][0]["challenger"]["answers"]) == ([], 0)
    stopped = json.loads(run("stop", "--reason", "enough", "--json"))
    assert (stopped["stop_reason"], stopped["stopped_at"] is None) == ("enough", False)
    with pytest.raises(InputError, match="has no experiment that runs"):
        run("stop")


def test_what_is_no_mode_or_no_share_is_refused(run: Any) -> None:
    challenger = bundle(0.7).bundle_id
    with pytest.raises(InputError, match="expected shadow or ab"):
        run("start", challenger, "--mode", "canary")
    with pytest.raises(InputError, match="no share in a shadow"):
        run("start", challenger, "--share", "0.5")


def test_a_chance_is_told_only_where_people_judged() -> None:
    side = SideReport("bundle-1", 4, {"agua": 4}, Share.counted(0, 0), 0.0, 0)
    agreed = Share.counted(3, 4)
    unjudged = TaskReport("tema", side, side, agreed, Paired(0, 0, 0, 1.0), None)

    assert agreement_said(unjudged).endswith("(3 of 4); no person has judged one of them yet")
    judged = replace(unjudged, paired=Paired(2, 1, 0, 1.0))
    assert "of 2 audited tickets 1 only the challenger has right" in agreement_said(judged)
