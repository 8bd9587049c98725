"""`plata labels` at the terminal: two people answer, one decides, and all of it can be undone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
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
from labeling.queue import QueuedCase
from lakehouse.control.postgres import Postgres
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.tenant_config import default_config
from serving.cli import labels, review

NORTE = TenantContext.parse("etiquetas-norte")
MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
T1 = str(UUID(int=1))

Plata = Callable[..., Any]
BY_TIPO = ("--task", "tipo")


@pytest.fixture
def platform(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Platform:
    endpoints = Endpoints(postgres_url=postgres_url, mlflow_url="http://mlflow")
    platform = Platform(Settings(home=tmp_path / "estado", lake_uri=str(tmp_path)), endpoints)
    platform.__dict__["queue"] = MemoryReviewQueue(now=lambda: MORNING)
    platform.tenants.create(NORTE, name="Norte")
    platform.tenants.configure(NORTE, default_config())
    with Postgres(postgres_url).administer() as connection:
        connection.execute("DELETE FROM meta.etl_runs WHERE tenant_id = 'etiquetas-norte'")
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
    run = RunContext.begin(NORTE, kind="run", at=MORNING)
    add(platform, TICKETS, run, subject="Factura")
    add(platform, MESSAGES, run, role="citizen", text="Me cobraron dos veces.")
    add(platform, EMBEDDINGS, run, embedding=[0.5, 0.5])
    answer = {"task": "tipo", "tier": "champion", "decision": "audit", "score": 0.9, "drawn": True}
    add(platform, CLASSIFICATIONS, run, predicted_label="queja", bundle_id="bundle-1", **answer)
    return platform


def add(platform: Platform, contract: Contract, run: RunContext, **values: Any) -> None:
    own = {"tenant_id": run.tenant.tenant_id, "run_id": run.run_id, "day": date(2026, 1, 4)}
    row = {**own, "ticket_id": T1, **values}
    given = {f.name: row.get(f.name, _any(f)) for f in contract.schema}
    table = pa.Table.from_pylist([given], schema=contract.schema)
    platform.store.append(contract.table, table, run)


def _any(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_string(field.type):
        return "x"
    return MORNING if pa.types.is_timestamp(field.type) else 1


@pytest.fixture
def plata(platform: Platform) -> Plata:
    def call(*words: str) -> Any:
        app = {"review": review.app, "labels": labels.app}[words[0]]
        answer = CliRunner().invoke(app, [*words[1:], "--tenant", "etiquetas-norte"])
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return json.loads(answer.stdout) if "--json" in words else answer.stdout

    return call


def say(platform: Platform, label: str, minute: int, by: str, task: str = "tipo") -> None:
    queue: Any = platform.queue
    cases: list[QueuedCase] = queue.cases(task, NORTE)
    queue.answer(cases[0].id, by, label, at=MORNING + timedelta(minutes=minute))


@pytest.fixture
def disputed(platform: Platform, plata: Plata) -> Platform:
    plata("review", "push")
    say(platform, "queja", 1, "ana")
    say(platform, "reclamo", 2, "luis")
    plata("review", "pull")
    return platform


def stands(plata: Plata) -> list[str]:
    return [row["label"] for row in plata("labels", "list", *BY_TIPO, "--json")["shown"]]


def test_a_dispute_has_no_label_until_it_is_settled_and_none_once_reopened(
    plata: Plata, disputed: Platform
) -> None:
    (found,) = plata("labels", "disputes", "--json")["disputes"]
    assert (found["ticket_id"], found["label"]) == (T1, None)
    assert stands(plata) == []
    why = ("--reason", "escriba a ana@correo.co")
    plata("labels", "settle", T1, *BY_TIPO, "--label", "reclamo", *why)
    assert stands(plata) == ["reclamo"]
    assert plata("labels", "disputes", "--json")["disputes"] == []
    told = plata("labels", "history", T1, "--json")["facts"][-1]
    assert (told["fact"], told["reason"]) == ("adjudicated", "audit")
    assert "ana@correo.co" not in told["comment"]
    plata("labels", "reopen", T1, *BY_TIPO, "--reason", "guía nueva")
    assert stands(plata) == []


def test_a_dispute_is_settled_by_an_answer_in_its_own_queue(
    plata: Plata, disputed: Platform
) -> None:
    (pushed,) = plata("labels", "disputes", *BY_TIPO, "--push", "--json")["pushed"]
    assert (pushed["added"], pushed["page"]) == (1, "memory://etiquetas-norte/disputas-tipo")
    queue: Any = disputed.queue
    (shown,) = [case for case in queue.shown.values() if case.id.task == "disputas-tipo"]
    assert shown.explanation == "Queja (1), Reclamo (1)"
    say(disputed, "queja", 9, "eva", task="disputas-tipo")
    plata("review", "pull")
    assert stands(plata) == ["queja"]
    assert plata("labels", "history", T1, "--json")["facts"][-1]["reason"] == "audit"
    queue.take_back(shown.id, "eva")
    plata("review", "pull")
    assert stands(plata) == []
    again = plata("labels", "disputes", *BY_TIPO, "--push", "--json")
    assert (again["pushed"][0]["added"], len(again["disputes"])) == (0, 1)


def test_answers_taken_out_of_the_count_are_restored_and_a_pull_leaves_them_out(
    plata: Plata, disputed: Platform
) -> None:
    luis = (*BY_TIPO, "--reviewer", "luis", "--reason", "sin formación")
    assert plata("labels", "revoke", *luis, "--json")["facts"] == 1
    assert stands(plata) == ["queja"]
    plata("review", "pull")
    assert stands(plata) == ["queja"]
    with pytest.raises(InputError, match="no such answer of reviewer 'luis'"):
        plata("labels", "revoke", *luis)
    plata("labels", "restore", *luis)
    assert stands(plata) == []


def test_agreement_is_told_by_pair_and_by_label(plata: Plata, disputed: Platform) -> None:
    found = plata("labels", "agreement", *BY_TIPO, "--json")["tipo"]
    assert (found["tickets"], found["shared"], found["pairs"][0]["kappa"]) == (1, 1, 0.0)
    assert "ana · luis" in plata("labels", "agreement")


def test_a_moment_before_the_answers_knows_none_of_them(plata: Plata, platform: Platform) -> None:
    plata("review", "push")
    say(platform, "queja", 1, "ana")
    plata("review", "pull")
    assert stands(plata) == ["queja"]
    before = plata("labels", "list", "--as-of", "2026-01-31", "--json")
    assert before["labels"] == 0


def test_a_label_the_task_does_not_have_is_refused(plata: Plata, platform: Platform) -> None:
    with pytest.raises(InputError, match="'felicitacion' is no label of task 'tipo'"):
        plata("labels", "settle", T1, *BY_TIPO, "--label", "felicitacion", "--reason", "x")


def test_a_ticket_only_the_machine_answered_can_be_settled(
    plata: Plata, platform: Platform
) -> None:
    plata("labels", "settle", T1, *BY_TIPO, "--label", "reclamo", "--reason", "visto en la llamada")
    assert stands(plata) == ["reclamo"]
    assert "decidió" in plata("labels", "history", T1)


def test_a_label_the_model_was_sure_against_is_listed_for_a_second_look(
    plata: Plata, platform: Platform
) -> None:
    for number in range(2, 8):
        said = {"queja": 0.9, "reclamo": 0.1} if number < 7 else {"queja": 0.95, "reclamo": 0.05}
        run = RunContext.begin(NORTE, kind="run", at=MORNING + timedelta(minutes=number))
        model = {"model_name": "m", "model_version": "1", "probabilities": json.dumps(said)}
        answer = {"task": "tipo", "tier": "champion", "decision": "audit", "score": 0.9}
        ticket = str(UUID(int=number))
        given = {"ticket_id": ticket, "predicted_label": "queja", "drawn": True, **answer, **model}
        add(platform, CLASSIFICATIONS, run, **given)
        label = "queja" if number < 7 else "reclamo"
        plata("labels", "settle", ticket, *BY_TIPO, "--label", label, "--reason", "visto")
    (found,) = plata("labels", "doubts", *BY_TIPO, "--json")
    assert (found["labels"], found["compared"], found["doubted"]) == (6, 6, 1)
    assert found["found"][0]["ticket_id"] == str(UUID(int=7))
    assert (found["found"][0]["label"], found["found"][0]["instead"]) == ("reclamo", "queja")
