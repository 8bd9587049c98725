"""`plata reenrich`, `diff`, `plan` and `apply` over a small real lake, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import typer
from typer.testing import CliRunner

from infra.embedded.endpoints import Endpoints
from labeling.memory import MemoryReviewQueue
from lakehouse.errors import InputError
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.errors import NothingToDoError
from pipelines.ingest import RawStore, ingest
from pipelines.run import run_tenant
from pipelines.source_files import SourceFile
from pipelines.tenant_config import default_config
from registry.bundles import BundleRef
from serving.cli import past

Plata = Callable[..., Any]


@pytest.fixture(scope="module")
def platform(
    killable: ModuleType, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Platform:
    folder = tmp_path_factory.mktemp("past")
    settings = Settings(home=folder / "estado", lake_uri=str(folder / "lake"))
    made = Platform(settings, Endpoints(postgres_url=postgres_url))
    ports = killable.ports_at(postgres_url, folder / "lake")
    made.__dict__.update(run_ports=ports, registry=ports.registry, queue=MemoryReviewQueue())
    return made


@pytest.fixture(scope="module")
def land(
    killable: ModuleType, platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[TenantContext, int], None]:
    folder = tmp_path_factory.mktemp("files")

    def put(tenant: TenantContext, seed: int) -> None:
        path = killable.write_lines(folder / f"{seed}.jsonl", killable.seeded_lines(seed, 20))
        raw, at = RawStore(platform.files, platform.landings), datetime(2026, 1, 20, tzinfo=UTC)
        ingest(SourceFile.find(path), tenant, source="web", mapping=None, raw=raw, at=at)

    return put


@pytest.fixture(scope="module")
def tenant(
    killable: ModuleType, platform: Platform, land: Callable[[TenantContext, int], None]
) -> TenantContext:
    """A tenant with one run, and another bundle than its champion beside."""
    context = TenantContext.parse(f"t{uuid4().hex[:10]}")
    platform.tenants.create(context, name="Pasado")
    platform.tenants.configure(context, default_config())
    killable.promote_aliases(context, platform.tasks(context), platform.run_ports)
    land(context, 31)
    at = datetime(2026, 1, 20, tzinfo=UTC)
    assert run_tenant(context, platform.tasks(context), platform.run_ports, at=at) is not None
    return context


@pytest.fixture(scope="module")
def champion(tenant: TenantContext) -> str:
    return str(BundleRef.champion(tenant))


@pytest.fixture(scope="module")
def other(platform: Platform, tenant: TenantContext, champion: str) -> str:
    bundle = platform.bundles.find(tenant, champion)
    tasks = tuple(
        replace(task, champion=replace(task.champion, version="7")) for task in bundle.tasks
    )
    made = replace(bundle, tasks=tasks)
    platform.bundles.keep(tenant, str(tenant.tenant_id), made, by="tests", note="another")
    return made.bundle_id


@pytest.fixture
def plata(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Plata:
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
    app = typer.Typer()
    past.register(app)

    def call(*words: str, as_json: bool = True) -> Any:
        result = CliRunner().invoke(app, [*words, "--json"] if as_json else [*words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if as_json else result.stdout

    return call


def test_plan_apply_diff_and_publish_are_one_way(
    plata: Plata, tenant: TenantContext, champion: str, other: str, tmp_path: Path
) -> None:
    name = str(tenant.tenant_id)
    planned = plata("plan", "reenrich", "-t", name, "-b", other)
    assert planned["estimate"]["asks"] > 0
    assert planned["estimate"]["known"] == 0
    applied = plata("apply", planned["plan_id"], "-t", name)
    assert (applied["over"], applied["published"]) == (True, False)
    assert applied["done"] == planned["estimate"]["tickets"]
    with pytest.raises(InputError, match="is applied"):
        plata("apply", planned["plan_id"], "-t", name)
    page = tmp_path / "cambios.html"
    words = ("diff", champion, other, "-t", name, "--html", str(page), "--send-to-review", "2")
    report = plata(*words)
    assert report["flips"] > 0
    assert [sent["added"] for sent in report["sent_to_review"]] == [2, 2]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    published = plata("reenrich", "-t", name, "-b", other, "--publish")
    assert (published["over"], published["published"]) == (True, True)
    assert plata("diff", other, other, "-t", name)["flips"] == 0


def test_what_is_drawn_is_in_spanish_and_says_what_to_do_next(
    plata: Plata, tenant: TenantContext, champion: str, other: str
) -> None:
    name = str(tenant.tenant_id)
    drawn = plata("plan", "reenrich", "-t", name, "-b", champion, as_json=False)
    assert "textos por preguntar" in drawn
    assert "plata apply plan-" in drawn
    done = plata("reenrich", "-t", name, "-b", champion, "-k", "tipo", as_json=False)
    assert "aparte, sin tocar Silver" in done
    drawn = plata("diff", champion, other, "-t", name, as_json=False)
    assert "Cifras de Gold que se moverían" in drawn


def test_a_run_is_planned_and_applied_too(
    plata: Plata, tenant: TenantContext, land: Callable[[TenantContext, int], None]
) -> None:
    name = str(tenant.tenant_id)
    with pytest.raises(NothingToDoError, match="nothing waits"):
        plata("plan", "run", "-t", name)
    land(tenant, 32)
    planned = plata("plan", "run", "-t", name)
    assert planned["estimate"]["tickets"] == 20
    stopped = plata("apply", planned["plan_id"], "-t", name, "--budget-seconds", "0.000001")
    assert stopped["over"] is False
    drawn = plata("apply", planned["plan_id"], "-t", name, as_json=False)
    assert "terminó" in drawn


def test_what_means_nothing_is_refused_in_one_line(
    plata: Plata, tenant: TenantContext, champion: str
) -> None:
    name = str(tenant.tenant_id)
    for words, reason in [
        (("reenrich", "-t", name), "give --bundle"),
        (("reenrich", "-t", name, "-b", champion, "--resume"), "give --bundle"),
        (("reenrich", "-t", name, "-b", champion, "--where", "1 ="), "SQL"),
        (("reenrich", "-t", name, "-b", champion, "-k", "tono"), "has no task"),
        (("apply", "plan-1", "-t", name), "has no plan"),
        (("diff", champion, champion, "-t", name, "--html", "no/such/folder.html"), "cannot write"),
    ]:
        with pytest.raises(InputError, match=reason):
            plata(*words)
    with pytest.raises(NothingToDoError, match="no reenrichment"):
        plata("reenrich", "-t", name, "--resume")
