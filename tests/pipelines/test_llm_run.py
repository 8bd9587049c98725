from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from contracts.tables import CLASSIFICATIONS, CLASSIFICATIONS_SIDE
from lakehouse.control.runs import RunStatus
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.errors import ConfigurationError, InputError
from lakehouse.manifest import RunManifest
from models.llm_desk import LlmDesk
from pipelines.answer_batches import answers_to
from pipelines.budget import Budget, BudgetSpentError, Price, charges_of_open
from pipelines.bundles import bundle_of_aliases, check_fit
from pipelines.errors import BundleMismatchError
from pipelines.reenrich import carry_out
from pipelines.reenrich_plan import Request, begin, plan_reenrich
from pipelines.reproduce import reproduce
from pipelines.run import RunPorts, run_tenant
from registry.bundles import BundleRef


@pytest.fixture(scope="session")
def runs(killable: ModuleType) -> Any:
    """The program of runs with an LLM."""
    assert killable
    sys.path.append(str(Path(__file__).parent))
    return import_module("llm_runs")


@pytest.fixture
def endpoint(openai: ModuleType) -> Iterator[Any]:
    with openai.serving() as state:
        yield state


def done(runs: Any, ports: RunPorts) -> RunManifest:
    killable = runs.killable
    manifest = run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    ports.models.llm.__self__.close()  # type: ignore[union-attr]
    assert manifest is not None
    return manifest


def answers_of(runs: Any, ports: RunPorts, manifest: RunManifest) -> list[dict[str, Any]]:
    tenant, run_id = runs.killable.NORTE, manifest.run.run_id
    rows = ports.store.scan(CLASSIFICATIONS.table, tenant, run_id=run_id)
    assert rows is not None
    return [row for row in rows.to_pylist() if row["task"] == "tipo"]


def test_an_llm_is_a_champion_like_any_other(
    runs: Any, endpoint: Any, copied_lake: tuple[str, Path], openai: ModuleType
) -> None:
    url, lake = copied_lake
    ports = runs.llm_ports(url, lake, endpoint.url)
    manifest = done(runs, ports)
    own = [row for row in answers_of(runs, ports, manifest) if row["tier"] == "champion"]
    assert {(r["model_version"], r["prompt_name"], r["prompt_version"]) for r in own} == {
        ("2", "norte.tipo.llm", "1")
    }
    assert all(row["fallback_reason"] is None for row in own)
    said = {json.dumps(openai.answer_of(t, list(runs.TITLES))) for t in set(endpoint.asked)}
    assert len({row["probabilities"] for row in own}) == len(said)
    record = ports.log.recent(runs.killable.NORTE, limit=1)[0]
    checks = ports.log.quality(runs.killable.NORTE, record.run.run_id)
    assert not [c for c in checks if c.check == "every champion answers by itself"]
    assert manifest.pins["tipo.champion.prompt"] == "prompts:/norte.tipo.llm/1"


def test_a_run_says_what_it_spent(runs: Any, endpoint: Any, copied_lake: tuple[str, Path]) -> None:
    ports = runs.llm_ports(*copied_lake, endpoint.url)
    (spent,) = done(runs, ports).as_dict()["spent"]
    prompt, completion = endpoint.tokens
    assert (spent["task"], spent["calls"]) == ("tipo", len(endpoint.charged))
    assert (spent["prompt_tokens"], spent["completion_tokens"]) == (prompt, completion)
    assert spent["cost"] == pytest.approx((prompt + 2 * completion) / 1_000_000)


def test_equal_texts_are_paid_for_once(
    runs: Any, endpoint: Any, copied_lake: tuple[str, Path]
) -> None:
    done(runs, runs.llm_ports(*copied_lake, endpoint.url))
    assert len(endpoint.asked) == len(set(endpoint.asked)) == 4


def test_where_the_endpoint_is_down_the_baseline_answers_and_the_run_is_degraded(
    runs: Any, endpoint: Any, copied_lake: tuple[str, Path], openai: ModuleType
) -> None:
    endpoint.plan = lambda text, nth: openai.Fault.BROKEN
    ports = runs.llm_ports(*copied_lake, endpoint.url)
    manifest = done(runs, ports)
    rows = answers_of(runs, ports, manifest)
    own = [row for row in rows if row["tier"] == "champion"]
    assert {(r["model_version"], r["prompt_name"], r["decision"]) for r in own} == {
        ("1", "none", "review")
    }
    assert {row["fallback_reason"] for row in own} <= {"server_error", "endpoint_down"}
    assert all(r["explanation"].startswith("El modelo principal no respondió.") for r in own)
    assert len({(r["ticket_id"], r["model_name"], r["model_version"]) for r in rows}) == len(rows)
    record = ports.log.recent(runs.killable.NORTE, limit=1)[0]
    assert record.status is RunStatus.DEGRADED
    checks = ports.log.quality(runs.killable.NORTE, record.run.run_id)
    (warning,) = [c for c in checks if c.check == "every champion answers by itself"]
    assert (warning.severity, warning.passed) == ("warning", False)
    assert "tipo" in warning.observed
    assert f"of {len(own)}" in warning.observed
    assert manifest.spent == ()


def test_one_text_without_an_answer_leaves_the_others_alone(
    runs: Any, endpoint: Any, copied_lake: tuple[str, Path], openai: ModuleType
) -> None:
    endpoint.plan = lambda text, nth: openai.Fault["REFUSAL" if text == "Otra cosa" else "NONE"]
    ports = runs.llm_ports(*copied_lake, endpoint.url)
    rows = answers_of(runs, ports, done(runs, ports))
    own = [row for row in rows if row["tier"] == "champion"]
    fallen = [row for row in own if row["fallback_reason"] is not None]
    assert [(r["fallback_reason"], r["decision"]) for r in fallen] == [("refusal", "review")]
    beside = [row for row in rows if row["tier"] == "comparison" and row["prompt_name"] == "none"]
    assert len(beside) == len(own) - 1


def test_a_run_killed_while_it_asks_is_charged_once_a_text(
    runs: Any, endpoint: Any, copied_lake: tuple[str, Path], openai: ModuleType
) -> None:
    url, lake = copied_lake
    victim: list[subprocess.Popen[bytes]] = []

    def kill_at_third(text: str, nth: int) -> Any:
        if len(endpoint.asked) == 3:
            os.kill(victim[0].pid, signal.SIGKILL)
            return openai.Fault.CUT
        return openai.Fault.NONE

    endpoint.plan = kill_at_third
    program = Path(__file__).with_name("llm_runs.py")
    arguments = [sys.executable, str(program), url, str(lake), endpoint.url]
    root = str(Path(__file__).parents[2])
    victim.append(subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": root}))
    assert victim[0].wait(timeout=120) == -signal.SIGKILL
    assert len(endpoint.charged) == 2
    endpoint.plan = lambda text, nth: openai.Fault.NONE
    ports = runs.llm_ports(url, lake, endpoint.url)
    manifest = done(runs, ports)
    assert len(endpoint.charged) == len({charged.text for charged in endpoint.charged}) == 4
    (spent,) = manifest.spent
    assert (spent.prompt_tokens, spent.completion_tokens) == endpoint.tokens


def test_a_budget_ends_a_run_after_the_batch_of_texts_that_spends_it_and_it_goes_on_from_there(
    runs: Any,
    endpoint: Any,
    copied_lake: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.enrich._CONVERSED_ROWS", 1)
    ports, norte = runs.llm_ports(*copied_lake, endpoint.url), runs.killable.NORTE

    def attempt(currency: str = "USD") -> RunManifest | None:
        charges = charges_of_open("run", norte, ports.postgres, Price(currency=currency))
        budget = Budget(cost=1e-9, charges=charges)
        return run_tenant(
            norte,
            runs.killable.tasks(),
            ports,
            at=runs.killable.SECOND,
            on_step=budget.between_parts(),
        )

    asked = []
    for _ in range(4):
        with pytest.raises(BudgetSpentError, match="say the same again to go on"):
            attempt()
        asked.append(len(endpoint.charged))
        assert ports.log.unfinished(norte, "run") is not None
    assert asked == [1, 2, 3, 4]
    with pytest.raises(InputError, match="is charged in USD by prueba-1, and the budget is in COP"):
        attempt("COP")
    manifest = attempt()
    assert manifest is not None
    assert len(endpoint.charged) == len({one.text for one in endpoint.charged}) == 4
    assert manifest.spent[0].calls == 4
    ports.models.llm.__self__.close()


def test_a_run_is_reproduced_without_asking_again(
    runs: Any, endpoint: Any, copied_lake: tuple[str, Path]
) -> None:
    ports = runs.llm_ports(*copied_lake, endpoint.url)
    manifest = done(runs, ports)
    asked = len(endpoint.asked)
    record = ports.log.find(runs.killable.NORTE, manifest.run.run_id)
    assert record is not None
    with runs.killable.scratch() as scratch:
        found = reproduce(record, ports, scratch, at=runs.killable.THIRD, code_version="unknown")
    assert found.differing == []
    assert len(endpoint.asked) == asked


def test_an_endpoint_nobody_named_leaves_the_run_open_with_what_to_set(
    runs: Any, endpoint: Any, copied_lake: tuple[str, Path]
) -> None:
    ports = runs.llm_ports(*copied_lake, endpoint.url)
    nowhere = replace(ports.models, llm=LlmDesk({}, None).open)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no LLM endpoint is called 'local'"):
        done(runs, replace(ports, models=nowhere))
    assert ports.log.unfinished(runs.killable.NORTE, "run") is not None
    assert done(runs, ports).counts["silver_classifications"] > 0


def test_an_llm_is_no_baseline(runs: Any, tmp_path: Path) -> None:
    class Everywhere(runs.LlmRegistry):
        def resolve_model(self, name: str, alias: str = "champion") -> Any:
            return super().resolve_model(name, "champion")

    tasks, registry = runs.killable.tasks(), Everywhere(tmp_path)
    bundle = bundle_of_aliases(tasks, registry)
    with pytest.raises(BundleMismatchError, match="a baseline answers where an endpoint does not"):
        check_fit(bundle, tasks, registry)


@pytest.fixture
def copied_lake(
    killable: ModuleType, server: str, prepared: Path, request: pytest.FixtureRequest
) -> tuple[str, Path]:
    """A copy of the prepared lake and database for one test."""
    name = f"llm-{abs(hash(request.node.name)) % 10**8}"
    made: tuple[str, Path] = killable.copied(server, prepared, name)
    return made


def test_a_reenrichment_asks_the_llm_what_the_ledger_does_not_know_and_falls_back_as_a_run_does(
    runs: Any, endpoint: Any, copied_lake: tuple[str, Path], openai: ModuleType
) -> None:
    ports, tenant = runs.llm_ports(*copied_lake, endpoint.url), runs.killable.NORTE
    bundle = ports.promotion.bundles.find(tenant, BundleRef.champion(tenant))
    endpoint.plan = lambda text, nth: openai.Fault.BROKEN
    request = Request("now", bundle, tasks=("tipo",))

    def again(hour: int) -> list[dict[str, Any]]:
        at = runs.killable.SECOND + timedelta(hours=hour)
        work = begin(plan_reenrich(request, tenant, ports), tenant, ports, at=at)
        assert carry_out(work, ports, DuckDbEngine()).over
        run_id = work.run.run_id
        rows = ports.store.scan(CLASSIFICATIONS_SIDE.table, tenant, run_id=run_id)
        return [] if rows is None else list(rows.to_pylist())

    (row,) = again(1)
    assert row["fallback_reason"]
    assert (row["decision"], row["model_version"], row["prompt_name"]) == ("review", "1", "none")
    assert row["explanation"].startswith("El modelo principal no respondió.")
    plan = plan_reenrich(request, tenant, ports)
    known = answers_to(plan, tenant, ports, DuckDbEngine())
    assert known is not None
    assert known["predicted_label"].to_list() == [row["predicted_label"]]
    assert again(2) == []
    ports.models.llm.__self__.close()
