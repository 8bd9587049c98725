"""`plata review` and `plata drift` at the terminal, over real tables and a queue in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, EMBEDDINGS, MESSAGES, TICKETS
from infra.embedded.endpoints import Endpoints
from labeling.memory import MemoryReviewQueue
from lakehouse.control.postgres import Postgres
from lakehouse.errors import InputError, PlataError
from lakehouse.run import RunContext
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.tenant_config import default_config
from registry.refs import ModelRef
from serving.cli import drift, review

NORTE = TenantContext.parse("terminal-norte")
MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
DAY = date(2026, 1, 4)

Plata = Callable[..., Any]


class Shelf:
    """A registry that knows one version of each model, and keeps no reference for it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def resolve_model(self, name: str, alias: str = "champion") -> ModelRef:
        return ModelRef(name, "1", "d1")

    def fetch(self, model: ModelRef) -> Path:
        return self._root


@pytest.fixture
def platform(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Platform:
    endpoints = Endpoints(
        postgres_url=postgres_url, mlflow_url="http://mlflow", argilla_url="http://argilla"
    )
    platform = Platform(Settings(home=tmp_path / "estado", lake_uri=str(tmp_path)), endpoints)
    platform.__dict__["queue"] = MemoryReviewQueue()
    platform.__dict__["registry"] = Shelf(tmp_path)
    platform.tenants.create(NORTE, name="Norte")
    platform.tenants.configure(NORTE, default_config())
    with Postgres(postgres_url).administer() as connection:
        for table in ("drift", "drift_reports", "etl_runs"):
            of_norte = f"DELETE FROM meta.{table} WHERE tenant_id = 'terminal-norte'"
            connection.execute(of_norte.encode())
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
    return platform


@pytest.fixture
def plata(platform: Platform) -> Plata:
    def call(*words: str) -> Any:
        app = {"review": review.app, "drift": drift.app}[words[0]]
        answer = CliRunner().invoke(app, [*words[1:], "--tenant", "terminal-norte"])
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return json.loads(answer.stdout) if "--json" in words else answer.stdout

    return call


@pytest.fixture
def doubtful(platform: Platform) -> Platform:
    run = RunContext.begin(NORTE, kind="run", at=MORNING)
    _add(platform, TICKETS, run, subject="Factura")
    _add(platform, MESSAGES, run, role="citizen", text="Me cobraron dos veces.")
    _add(platform, EMBEDDINGS, run, embedding=[0.5, 0.5])
    answer = {"task": "tipo", "tier": "champion", "decision": "review", "score": 0.4}
    chances = json.dumps({"peticion": 0.3, "queja": 0.4, "reclamo": 0.2, "sugerencia": 0.1})
    model = {"model_name": "terminal-norte.tipo", "model_version": "1", "probabilities": chances}
    _add(platform, CLASSIFICATIONS, run, predicted_label="queja", **answer, **model)
    return platform


def _add(platform: Platform, contract: Contract, run: RunContext, **values: Any) -> None:
    own = {"tenant_id": run.tenant.tenant_id, "run_id": run.run_id, "day": DAY}
    row = {**own, "ticket_id": str(UUID(int=1)), **values}
    given = {f.name: row.get(f.name, _any(f.type)) for f in contract.schema}
    table = pa.Table.from_pylist([given], schema=contract.schema)
    platform.store.append(contract.table, table, run)


def _any(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return "x"
    if pa.types.is_boolean(kind):
        return None
    return MORNING if pa.types.is_timestamp(kind) else 1


def test_a_push_says_what_went_where(plata: Plata, doubtful: Platform) -> None:
    done = plata("review", "push", "--json")
    assert done["reviewer"] == "revisor-terminal-norte"
    assert done["tasks"][0] == {
        "task": "tipo",
        "chosen": 1,
        "added": 1,
        "withdrawn": 0,
        "page": "memory://terminal-norte/tipo",
    }
    assert plata("review", "push", "--task", "tipo", "--json")["tasks"][0]["added"] == 0


def test_a_push_says_where_fewer_people_have_accounts_than_are_to_answer(
    plata: Plata, doubtful: Platform
) -> None:
    doubtful.tenants.configure(NORTE, {**default_config(), "review": {"overlap_share": 0.5}})
    assert plata("review", "push", "--json")["missing_reviewers"] == 1
    assert "plata review account add" in " ".join(plata("review", "push").split())
    plata("review", "account", "add", "ana")
    plata("review", "account", "add", "luis")
    assert plata("review", "push", "--json")["missing_reviewers"] == 0


def test_the_plan_of_the_week_says_why_and_a_push_follows_it(
    plata: Plata, doubtful: Platform
) -> None:
    with pytest.raises(InputError, match="has no label budget"):
        plata("review", "plan")
    doubtful.tenants.configure(NORTE, {**default_config(), "review": {"weekly_labels": 10}})
    plan = plata("review", "plan", "--json")
    (case,) = plan["cases"]
    assert (case["reason"], case["because"]) == ("active", "entre Queja (0.40) y Petición (0.30)")
    assert {one["reason"]: one["labels"] for one in plan["allotments"]} == {
        "audit": 0,
        "disagreement": 0,
        "active": 1,
        "doubt": 0,
    }
    assert plata("review", "push", "--json")["tasks"][0]["added"] == 1
    shown = " ".join(plata("review", "plan").split())
    assert "10, de ellas 1 ya pedidas, quedan 9" in shown
    assert "Ningún retador corre en sombra" in shown
    assert plata("review", "status", "--task", "tipo", "--json")[0]["cases"]["active"]["pending"]


def test_a_pull_counts_the_new_labels(plata: Plata, doubtful: Platform) -> None:
    plata("review", "push")
    queue: Any = doubtful.queue
    (case,) = queue.cases("tipo", NORTE)
    queue.answer(case.id, "ana", "reclamo", at=MORNING)
    done = plata("review", "pull", "--json")
    assert done["added"] == {"tipo": 1, "prioridad": 0}
    assert done["run_id"].startswith("review-pull-")
    assert "nada nuevo" in plata("review", "pull")


def test_the_state_of_the_queue_speaks_spanish_to_people(plata: Plata, doubtful: Platform) -> None:
    plata("review", "push")
    shown = plata("review", "status")
    assert "duda" in shown
    assert "cola de revisión" in shown
    (state,) = plata("review", "status", "--task", "tipo", "--json")
    assert state["cases"]["doubt"]["pending"] == 1
    assert state["load"]["doubt"]["waiting"] == 1


def test_the_state_of_the_queue_is_a_page_too(
    plata: Plata, doubtful: Platform, tmp_path: Path
) -> None:
    plata("review", "push")
    queue: Any = doubtful.queue
    (case,) = queue.cases("tipo", NORTE)
    queue.answer(case.id, "ana", "queja", at=datetime.now(UTC))
    file = tmp_path / "revisión.html"
    assert str(file.name) in "".join(plata("review", "status", "--html", str(file)).split())
    written = file.read_text("utf-8")
    assert "<h2>Tarea «tipo»</h2>" in written
    assert '<th scope="row">ana</th>' in written
    with pytest.raises(InputError, match="cannot write"):
        plata("review", "status", "--html", str(tmp_path))


def test_the_account_of_the_reviewer_is_shown(plata: Plata) -> None:
    shown = plata("review", "account", "list", "--json")
    assert shown["page"] == "http://argilla"
    (account,) = shown["accounts"]
    assert account["username"] == "revisor-terminal-norte"
    assert account["password"] in plata("review", "account", "list")


def test_a_person_is_let_in_and_out_again(plata: Plata, platform: Platform) -> None:
    (ana,) = plata("review", "account", "add", "ana", "--json")["accounts"]
    queue: Any = platform.queue
    assert queue.reviewers["terminal-norte"] == {ana["username"]: ana["password"]}
    assert "ana-terminal-norte" in plata("review", "account", "list")
    removed = plata("review", "account", "remove", "ana", "--json")
    assert removed == {"removed": "ana-terminal-norte"}
    assert queue.reviewers["terminal-norte"] == {}


def test_a_task_the_tenant_has_not_is_refused_with_those_it_has(plata: Plata) -> None:
    with pytest.raises(InputError, match=r"no task 'tema'; .* has: tipo, prioridad"):
        plata("review", "status", "--task", "tema")


def test_a_champion_without_a_reference_is_told_in_words(plata: Plata, doubtful: Platform) -> None:
    assert "sin referencia" in plata("drift", "report", "--task", "tipo", "--since", "2026-01-01")
    (record,) = plata("drift", "show", "--json", "--last", "1")
    assert (record["verdict"], record["current_rows"]) == ("no_reference", 1)


def test_nothing_on_record_says_how_to_make_a_report(plata: Plata) -> None:
    assert "plata drift report -t terminal-norte" in plata("drift", "show")


def test_a_window_that_ends_before_it_begins_is_refused(plata: Plata) -> None:
    with pytest.raises(PlataError, match="after its end"):
        plata("drift", "report", "--since", "2026-02-01", "--until", "2026-01-01")
