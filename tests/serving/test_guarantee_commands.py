"""`plata guarantee` at the terminal, over real tables: proven, shown in words, taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, LABELS
from infra.embedded.endpoints import Endpoints
from lakehouse.control.postgres import Postgres
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.tenant_config import default_config
from registry.bundles import Bundle, TaskPins
from registry.refs import CHAMPION, ModelRef, PromptRef
from serving.cli import guarantee

ESTE = TenantContext.parse("terminal-este")
MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
LABELS_OF = ("peticion", "queja", "reclamo", "sugerencia")

Plata = Callable[..., Any]


def bundle() -> Bundle:
    model, prompt = ModelRef("terminal-este.tipo", "1", "d1"), PromptRef("zs", "1", "p1")
    pins = TaskPins("tipo", LABELS_OF, "text", model, model, prompt, 0.8, 0.5)
    return Bundle(ModelRef("e5", "1", "e1"), prompt, (pins,), seed=1)


@pytest.fixture
def platform(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Platform:
    endpoints = Endpoints(postgres_url=postgres_url)
    platform = Platform(Settings(home=tmp_path / "estado", lake_uri=str(tmp_path)), endpoints)
    platform.tenants.create(ESTE, name="Este")
    values = default_config()
    asked = {"alpha": 0.1, "delta": 0.1, "groups": [list(LABELS_OF)]}
    values["tasks"]["tipo"]["routing"]["guarantee"] = asked
    platform.tenants.configure(ESTE, values)
    platform.bundles.keep(ESTE, "terminal-este", bundle(), by="ana")
    moved = ("terminal-este", CHAMPION, bundle().bundle_id)
    platform.bundles.move(ESTE, *moved, by="ana", reason="the first")
    with Postgres(postgres_url).administer() as connection:
        for table in ("guarantee_withdrawals", "guarantees"):
            named = f"meta.{table}"
            connection.execute(f"ALTER TABLE {named} DISABLE TRIGGER append_only".encode())
            gone = f"DELETE FROM {named} WHERE tenant_id = 'terminal-este'"
            connection.execute(gone.encode())
            connection.execute(f"ALTER TABLE {named} ENABLE TRIGGER append_only".encode())
    monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
    return platform


@pytest.fixture
def plata(platform: Platform) -> Plata:
    def call(*words: str) -> Any:
        answer = CliRunner().invoke(guarantee.app, [*words, "--tenant", "terminal-este"])
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return json.loads(answer.stdout) if "--json" in words else answer.stdout

    return call


@pytest.fixture
def checked(platform: Platform) -> Platform:
    """Two thousand answers, every second drawn, and looked at but for the last ten."""
    run, count = RunContext.begin(ESTE, kind="run", at=MORNING), 2000
    rng = np.random.default_rng(1)
    scores = rng.uniform(size=count)
    wrong = rng.uniform(size=count) < 0.4 * (1 - scores)
    rows = [
        {
            "ticket_id": str(UUID(int=n)),
            "task": "tipo",
            "tier": "champion",
            "decision": "review",
            "predicted_label": LABELS_OF[n % 4],
            "score": float(scores[n]),
            "drawn": n % 2 == 0,
            "bundle_id": bundle().bundle_id,
            "inference_timestamp": MORNING,
        }
        for n in range(count)
    ]
    _add(platform, CLASSIFICATIONS, run, rows)
    said = [
        {
            "label_id": f"l{n}",
            "ticket_id": str(UUID(int=n)),
            "task": "tipo",
            "label": LABELS_OF[(n + int(wrong[n])) % 4],
            "reviewer": "ana",
            "reason": "audit",
            "responded_at": MORNING,
        }
        for n in range(0, count - 20, 2)
    ]
    _add(platform, LABELS, RunContext.begin(ESTE, kind="review-pull", at=MORNING), said)
    return platform


def _add(
    platform: Platform, contract: Contract, run: RunContext, rows: list[dict[str, Any]]
) -> None:
    own = {"tenant_id": ESTE.tenant_id, "run_id": run.run_id, "day": date(2026, 1, 4)}
    given = [{f.name: {**own, **row}.get(f.name, _any(f)) for f in contract.schema} for row in rows]
    platform.store.append(contract.table, pa.Table.from_pylist(given, contract.schema), run)


def _any(field: pa.Field) -> Any:
    if field.nullable:
        return None
    return "x" if pa.types.is_string(field.type) else 1


def test_what_is_proven_is_issued_shown_and_taken_back(plata: Plata, checked: Platform) -> None:
    before = plata("show")
    assert "NO hay garantía vigente: nunca se ha emitido una" in before
    assert "Mientras tanto nada se acepta" in before
    (made,) = plata("issue", "--json")
    assert (made["promises"][0]["drawn"], made["promises"][0]["missing"]) == (1000, 10)
    assert 0.2 < made["coverage"] < 0.7
    words = " ".join(plata("show").split())
    assert made["guarantee_id"] in words
    assert "está mal a lo sumo el 10 %; eso se cumple con una confianza del 90 %" in words
    assert "Faltan respuestas de 10 radicados sorteados" in words
    (shown,) = plata("show", "--json")
    assert shown["valid"]
    reached = [one["coverage"] for one in shown["outlook"]]
    assert reached == sorted(reached)
    assert [one["labels"] for one in shown["outlook"]] == [990, 1980, 3960, 7920]
    gone = plata("withdraw", "--task", "tipo", "--reason", "cambió la ley", "--json")
    assert gone["guarantee_id"] == made["guarantee_id"]
    assert "fue retirada por una persona (cambió la ley)" in " ".join(plata("show").split())
    assert "cambió la" in plata("history")
    (kept,) = plata("history", "--json")
    assert kept["withdrawal"]["lapse"] == "withdrawn"


def test_before_anything_was_drawn_it_says_so(plata: Plata, platform: Platform) -> None:
    assert "Todavía no se ha sorteado ningún radicado" in plata("show")
    (shown,) = plata("show", "--json")
    assert (shown["valid"], shown["now"], shown["outlook"]) == (False, None, [])
    with pytest.raises(InputError, match="no ticket of 'terminal-este' was drawn"):
        plata("issue")


def test_a_task_without_terms_says_what_to_write(plata: Plata, platform: Platform) -> None:
    with pytest.raises(InputError, match="asks for no guarantee; write"):
        plata("issue", "--task", "prioridad")
    with pytest.raises(InputError, match="has no guarantee to withdraw"):
        plata("withdraw", "--task", "tipo", "--reason", "x")


def test_what_is_written_is_never_changed(platform: Platform) -> None:
    with (
        pytest.raises(psycopg.errors.RaiseException, match="never changed or deleted"),
        Postgres(platform.endpoints.postgres_url).administer() as connection,
    ):
        connection.execute("DELETE FROM meta.guarantees")
