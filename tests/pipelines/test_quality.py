"""Write, audit, publish: a layer that fails a critical check is not there at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from contracts.contract import Column, Contract, QualityRule
from contracts.tables import (
    BRONZE,
    CLASSIFICATIONS,
    GOLD,
    KPI_VOLUME_DAILY,
    PQRS_EVENTS,
    QUARANTINE,
    SILVER,
    TICKETS,
)
from lakehouse.control.runs import QualityResult, RunStatus
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap, run
from pipelines.enrich import ModelSteps
from pipelines.errors import RunFailedError
from pipelines.gold import count_gold
from pipelines.quality import audit_rows
from pipelines.run import RunPorts, run_tenant
from pipelines.steps import own_rows, publish, stage, unobserved

LAYERS: Mapping[str, tuple[Contract, ...]] = {"bronze": BRONZE, "silver": SILVER, "gold": GOLD}
ABOVE = {"bronze": ("bronze", "silver", "gold"), "silver": ("silver", "gold"), "gold": ("gold",)}


def heads(ports: RunPorts, tenant: TenantContext, layer: str) -> dict[str, int | None]:
    found = {c: ports.store.head(c.table, tenant) for c in LAYERS[layer]}
    return {str(c): None if head is None else head.version for c, head in found.items()}


def served(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        query = "SELECT * FROM gold.kpi_volume_daily ORDER BY day, pqrs_type, source_channel"
        return connection.execute(query).fetchall()


def stricter(contract: Contract, column: str, **rules: Any) -> Contract:
    """The contract as it would be with another rule for one of its columns."""
    columns = tuple(Column(column, **rules) if c.name == column else c for c in contract.columns)
    return replace(contract, columns=columns)


def break_layer(layer: str, ports: RunPorts, patch: pytest.MonkeyPatch) -> RunPorts:
    """Make the run's rows of a layer break their contract."""
    if layer == "bronze":
        events = stricter(PQRS_EVENTS, "source_channel", allowed=("chat",))
        patch.setattr(run, "BRONZE", (events, QUARANTINE))
        return ports
    if layer == "gold":
        patch.setattr(run, "count_gold", _below_zero)
        return ports

    def boastful(folder: str, labels: list[str], template: str | None = None) -> Any:
        classify = ports.models.classify(folder, labels, template)

        def classify_too_sure(rows: pa.Table) -> pa.Table:
            answers = classify(rows)
            score = pa.array([1.5] * len(answers), pa.float64())
            return answers.set_column(answers.column_names.index("score"), "score", score)

        return classify_too_sure

    return replace(ports, models=ModelSteps(embed=ports.models.embed, classify=boastful))


def _below_zero(*arguments: Any) -> Mapping[Contract, pa.Table]:
    figures = dict(count_gold(*arguments))
    rows = figures[KPI_VOLUME_DAILY]
    place = rows.column_names.index("tickets")
    negative = rows.set_column(place, rows.schema.field(place), pc.negate(rows["tickets"]))
    return {**figures, KPI_VOLUME_DAILY: negative}


BROKEN = {
    "bronze": "pqrs_events: values allowed",
    "silver": "classifications: values in range",
    "gold": "kpi_volume_daily: values in range",
}


@pytest.mark.parametrize("layer", ["bronze", "silver", "gold"])
def test_a_critical_failure_publishes_nothing_of_its_layer_and_the_next_run_takes_the_same_input(
    layer: str,
    killable: ModuleType,
    server: str,
    prepared: Path,
    whole: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, lake = killable.copied(server, prepared, f"audit-{layer}")
    ports, norte = killable.ports_at(url, lake), killable.NORTE
    before = {name: heads(ports, norte, name) for name in LAYERS}
    figures, waiting = served(url), ports.landings.waiting(norte)
    with monkeypatch.context() as patch:
        broken = break_layer(layer, ports, patch)
        with pytest.raises(RunFailedError, match=BROKEN[layer]):
            run_tenant(norte, killable.tasks(), broken, at=killable.SECOND)

    for name in ABOVE[layer]:
        assert heads(ports, norte, name) == before[name]
    assert served(url) == figures
    failed = ports.log.recent(norte, limit=1)[0]
    assert failed.status is RunStatus.FAILED
    assert BROKEN[layer] in str(failed.error)
    results = ports.log.quality(norte, failed.run.run_id)
    assert {
        f"{r.table}: {r.check}" for r in results if r.severity == "critical" and not r.passed
    } >= {BROKEN[layer]}
    assert all(not ports.store.staged(c.table, failed.run) for c in (*BRONZE, *SILVER, *GOLD))
    assert ports.landings.waiting(norte) == (waiting if layer == "bronze" else [])

    mended = run_tenant(norte, killable.tasks(), ports, at=killable.THIRD)
    assert mended is not None
    for contract in (*BRONZE, *SILVER, KPI_VOLUME_DAILY):
        keys = [name for name in contract.key if name != "run_id"]
        rows = ports.store.scan(contract.table, norte)
        wanted = whole.found[str(contract.table)]
        if contract in GOLD:
            rows = (
                None if rows is None else rows.filter(pc.equal(rows["run_id"], mended.run.run_id))
            )
            wanted = [row for row in wanted if "run-20260111" in row]
        once = [] if rows is None else rows.group_by(keys).aggregate([]).to_pylist()
        assert len(once) == len(wanted), contract
    assert run_tenant(norte, killable.tasks(), ports, at=killable.THIRD + timedelta(1)) is None


def test_a_warning_degrades_the_run_and_is_shown_with_it(
    killable: ModuleType, server: str, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, lake = killable.copied(server, prepared, "warned")
    ports = killable.ports_at(url, lake)
    manifest = run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    assert manifest is not None

    class Opened:
        runs = ports.log

        def tenant(self, name: str) -> TenantContext:
            return TenantContext.parse(name)

    from serving.cli import runs

    monkeypatch.setattr(bootstrap, "open_platform", Opened)
    asked = ["show", manifest.run.run_id, "--tenant", "norte"]
    shown = json.loads(CliRunner().invoke(runs.app, [*asked, "--json"]).stdout)
    assert shown["status"] == "DEGRADED"
    first = shown["quality"][0]
    assert (first["severity"], first["passed"]) == ("warning", False)
    drawn = " ".join(CliRunner().invoke(runs.app, asked).stdout.split())
    assert "warning: bronze_quarantine: no line in quarantine: found 2 rows" in drawn


def test_what_is_usual_is_learned_from_the_tenants_own_finished_runs(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    url, _ = killable.copied(server, prepared, "learned")
    log = killable.ports_at(url, prepared / "lake").log
    norte = killable.NORTE
    asked = QualityRule("usual number of tickets", "usual", "warning", arguments={"of": "rows"})
    schema = pa.schema([("ticket_id", pa.string())])
    contract = replace(TICKETS, schema=schema, quality=(asked,), columns=(), key=())

    def run_of(number: int) -> RunContext:
        at = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(days=number)
        return RunContext.begin(norte, kind="run", at=at)

    def judged(number: int, rows: int) -> QualityResult:
        context = run_of(number)
        table = pa.table({"ticket_id": [f"t{n}" for n in range(rows)]})
        (result,) = audit_rows(context, {contract: table}, log=log)
        log.start(context, "run", {})
        log.record_quality(context, [result])
        return result

    for number in range(5):
        assert judged(number, 100 + number).passed
        log.finish(run_of(number), RunStatus.COMPLETED)
    for number in range(5, 11):
        judged(number, 9_000)
        log.finish(run_of(number), RunStatus.FAILED, error="no ejemplo")
    small = judged(11, 3)
    assert not small.passed
    assert small.measured == 3
    assert judged(12, 104).passed


def test_a_new_optional_column_is_added_to_the_table_and_old_rows_read_as_null(
    tmp_path: Path,
) -> None:
    store = DeltaTableStore(LakeRoot(str(tmp_path)))
    tenant = TenantContext.parse("norte")
    wider = replace(TICKETS, schema=TICKETS.schema.append(pa.field("language", pa.string())))

    def written(contract: Contract, number: int, **more: Any) -> None:
        context = RunContext(RunId(f"run-{number}"), tenant, datetime(2026, 1, number, tzinfo=UTC))
        fence = {"tenant_id": "norte", "run_id": context.run_id, "source": "sim"}
        at = context.started_at
        own = {"ticket_id": f"t{number}", "event_id": "e", "day": at.date(), "created_at": at}
        row = {**fence, **own, "external_id": "1", "source_channel": "chat", **more}
        rows = pa.Table.from_pylist([row], schema=contract.schema)
        stage(store, contract, rows, context, part="all", on_step=unobserved)
        assert own_rows(store, contract, context, columns=["ticket_id"]).num_rows == 1
        publish(store, contract, context, on_step=unobserved)

    written(TICKETS, 1)
    written(wider, 2, language="es")
    written(TICKETS, 3)
    rows = store.scan(TICKETS.table, tenant, columns=["ticket_id", "language"])
    assert rows is not None
    found = {row["ticket_id"]: row["language"] for row in rows.to_pylist()}
    assert found == {"t1": None, "t2": "es", "t3": None}


def test_answers_are_judged_before_they_are_seen(killable: ModuleType) -> None:
    """The score of an answer is declared: no code of the run knows its range."""
    (score,) = [column for column in CLASSIFICATIONS.columns if column.name == "score"]
    assert (score.minimum, score.maximum) == (0, 1)
