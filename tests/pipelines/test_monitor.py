"""What a champion answered is compared with what its version was trained on, and kept on record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, EMBEDDINGS, MESSAGES, TICKETS
from features.text import describe
from lakehouse.control.drift import DriftLog
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import InputError
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from models.routing import RoutingPolicy
from models.task import Task
from monitoring.drift import COLUMNS, ColumnDrift, DriftPolicy, DriftVerdict
from monitoring.errors import ReportError
from monitoring.report import DrawnReport, ReportOrder, draw_reports
from pipelines.monitor import (
    Draw,
    Subject,
    Watched,
    Window,
    current_rows,
    watch,
    watch_as_run,
)
from registry.refs import ModelRef

NORTE, SUR = TenantContext.parse("drift-norte"), TenantContext.parse("drift-sur")
MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
DAY = date(2026, 1, 4)
TRAINED, RULES = ModelRef("drift-norte.tipo", "2", "d2"), ModelRef("drift-norte.tipo", "1", "d1")
TIPO = Task(
    "tipo",
    {"queja": "Queja", "reclamo": "Reclamo"},
    "text",
    "drift-norte.tipo",
    "drift-norte.tipo.zero-shot",
    RoutingPolicy(accept_at=0.8),
)
POLICY = DriftPolicy(min_rows=40)
WORDS = "me cobraron la factura del agua y nadie responde en la ventanilla".split()  # noqa: SIM905


class Shelf:
    """The part of a registry that drift needs: a folder a version."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def fetch(self, model: ModelRef) -> Path:
        folder = self.root / model.version
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def texts(count: int, random: np.random.Generator, *, words: int = 12) -> list[str]:
    lengths = random.poisson(words, count) + 1
    return [" ".join(random.choice(WORDS, length)) for length in lengths]


class House:
    """A tenant whose champion has a reference, and Silver to compare with it."""

    def __init__(self, tmp_path: Path, postgres: Postgres) -> None:
        self.store = DeltaTableStore(LakeRoot(str(tmp_path / "lake")))
        self.shelf = Shelf(tmp_path / "models")
        self.log, self.runs = DriftLog(postgres), RunLog(postgres)
        self.reports = tmp_path / "reports"
        self.random = np.random.default_rng(11)
        reference = self.rows(200)
        pq.write_table(reference, self.shelf.fetch(TRAINED) / "reference.parquet")

    def rows(self, count: int, *, meaning: float = 0.0) -> pa.Table:
        described = describe(pa.array(texts(count, self.random)))
        columns = {name: described[name] for name in described.column_names}
        columns["predicted_label"] = self.random.choice(["queja", "reclamo"], count)
        columns["score"] = self.random.beta(7, 3, count)
        columns["embedding"] = pa.array(self.vectors(count, meaning), pa.list_(pa.float32()))
        return pa.table(columns).select(COLUMNS)

    def vectors(self, count: int, meaning: float) -> list[Any]:
        return list(self.random.normal(loc=meaning, size=(count, 12)).astype(np.float32))

    def arrive(
        self,
        run: RunContext,
        count: int,
        *,
        day: date = DAY,
        meaning: float = 0.0,
        model: ModelRef = TRAINED,
        words: int = 12,
    ) -> None:
        ids = [f"{run.run_id}-{n:04}" for n in range(count)]
        said = texts(count, self.random, words=words)
        many = [day] * count
        self.add(TICKETS, run, day=many, ticket_id=ids, event_id=ids, subject=["Queja"] * count)
        citizen = ["citizen"] * count
        self.add(MESSAGES, run, day=many, ticket_id=ids, event_id=ids, role=citizen, text=said)
        self.add(EMBEDDINGS, run, day=many, ticket_id=ids, embedding=self.vectors(count, meaning))
        self.add(
            CLASSIFICATIONS,
            run,
            day=many,
            ticket_id=ids,
            task=["tipo"] * count,
            tier=["champion"] * count,
            model_name=[model.name] * count,
            model_version=[model.version] * count,
            predicted_label=list(self.random.choice(["queja", "reclamo"], count)),
            score=list(self.random.beta(7, 3, count)),
            inference_timestamp=[run.started_at] * count,
        )

    def add(self, contract: Contract, run: RunContext, **columns: list[Any]) -> None:
        count = len(columns["ticket_id"])
        fixed: dict[str, Any] = {"tenant_id": run.tenant.tenant_id, "run_id": run.run_id}
        arrays = [
            pa.array(columns.get(f.name, [fixed.get(f.name, _any(f.type))] * count), f.type)
            for f in contract.schema
        ]
        rows = pa.table(arrays, schema=contract.schema)
        self.store.append(contract.table, contract.enforce(rows), run)

    def watch(
        self,
        run: RunContext,
        *,
        window: Window = Window(),
        model: ModelRef = TRAINED,
        draw: Draw | None = None,
        policy: DriftPolicy = POLICY,
    ) -> Watched:
        (found,) = watch(
            run,
            [Subject(TIPO, model)],
            window,
            store=self.store,
            registry=self.shelf,  # type: ignore[arg-type]
            log=self.log,
            reports=self.reports,
            policy=policy,
            draw=draw or sketch,
        )
        return found


def sketch(orders: Sequence[ReportOrder]) -> list[DrawnReport]:
    """Draw as Evidently would, at once and without looking."""
    for order in orders:
        order.folder.mkdir(parents=True, exist_ok=True)
        (order.folder / "report.html").write_text("<p>informe</p>", encoding="utf-8")
    number = ColumnDrift("score", "evidently_ks", 0.04, 0.001, False)
    return [
        DrawnReport(order.folder / "report.html", order.folder / "report.json", (number,))
        for order in orders
    ]


def _any(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return "x"
    if pa.types.is_boolean(kind):
        return None
    return MORNING if pa.types.is_timestamp(kind) else 1


def begin(minutes: int = 0, *, tenant: TenantContext = NORTE) -> RunContext:
    return RunContext.begin(tenant, kind="run", at=MORNING + timedelta(minutes=minutes))


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> House:
    postgres = Postgres(postgres_url)
    for tenant in (NORTE, SUR):
        TenantDirectory(postgres).create(tenant, name=tenant.tenant_id)
    with postgres.administer() as connection:
        for table in ("drift", "drift_reports", "etl_runs"):
            connection.execute(f"DELETE FROM meta.{table} WHERE tenant_id LIKE 'drift-%'".encode())
    return House(tmp_path, postgres)


def test_tickets_like_those_of_training_are_stable(house: House) -> None:
    house.arrive(begin(), 120)
    found = house.watch(begin())
    assert found.report.verdict is DriftVerdict.STABLE
    assert (found.report.reference_rows, found.report.current_rows) == (200, 120)


def test_tickets_about_something_else_are_drift(house: House) -> None:
    house.arrive(begin(), 120, meaning=0.8)
    found = house.watch(begin())
    assert found.report.verdict is DriftVerdict.DRIFT
    assert [c.feature for c in found.report.columns if c.drifted] == ["embedding"]


def test_the_numbers_and_the_page_are_on_record(house: House) -> None:
    run = begin()
    house.arrive(run, 120)
    found = house.watch(run)
    (record,) = house.log.recent(NORTE)
    assert (record.run_id, record.task, record.model) == (run.run_id, "tipo", TRAINED.uri)
    assert (record.verdict, record.measured_at) == ("stable", run.started_at)
    assert record.report_path == str(found.html)
    page = house.reports / "drift-norte" / run.run_id / "tipo" / "report.html"
    assert found.html == page
    assert page.is_file()
    methods = {(m.feature, m.method) for m in record.measures}
    assert methods >= {("embedding", "domain_auc"), ("score", "psi")}
    assert ("score", "evidently_ks") in methods


def test_watching_twice_replaces_what_the_run_recorded(house: House) -> None:
    run = begin()
    house.arrive(run, 120)
    house.watch(run)
    before = house.log.recent(NORTE)
    house.watch(run)
    assert house.log.recent(NORTE) == before


def test_another_tenant_reads_none_of_it(house: House) -> None:
    house.arrive(begin(), 120)
    house.watch(begin())
    assert house.log.recent(SUR) == []


def test_few_tickets_get_no_verdict_and_no_page(house: House) -> None:
    house.arrive(begin(), 10)
    found = house.watch(begin())
    assert found.report.verdict is DriftVerdict.INSUFFICIENT_DATA
    assert found.html is None
    (record,) = house.log.recent(NORTE)
    assert (record.report_path, record.measures, record.current_rows) == (None, (), 10)


def test_a_tenant_without_answers_has_insufficient_data(house: House) -> None:
    found = house.watch(begin())
    assert found.report.verdict is DriftVerdict.INSUFFICIENT_DATA
    assert found.report.current_rows == 0


def test_the_rules_baseline_has_no_reference_and_that_is_said(house: House) -> None:
    house.arrive(begin(), 60, model=RULES)
    found = house.watch(begin(), model=RULES)
    assert found.report.verdict is DriftVerdict.NO_REFERENCE
    assert found.report.current_rows == 60


def test_answers_of_another_version_are_not_this_models(house: House) -> None:
    house.arrive(begin(), 60, model=RULES)
    assert house.watch(begin()).report.current_rows == 0


def test_a_window_looks_at_one_run_or_at_some_days(house: House) -> None:
    first, second = begin(), begin(5)
    house.arrive(first, 50, day=date(2026, 1, 3))
    house.arrive(second, 60, day=DAY)

    def rows(window: Window) -> int:
        return len(current_rows(Subject(TIPO, TRAINED), window, NORTE, house.store))

    assert rows(Window()) == 110
    assert rows(Window(run_id=RunId(first.run_id))) == 50
    assert rows(Window(since=DAY)) == 60
    assert rows(Window(until=date(2026, 1, 3))) == 50
    assert rows(Window(since=date(2026, 1, 5))) == 0


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InputError, match="2026-01-05, after its end on 2026-01-04"):
        Window(since=date(2026, 1, 5), until=DAY)


def test_evidently_is_handed_a_sample(house: House) -> None:
    house.arrive(begin(), 120)
    handed: list[int] = []

    def counting(orders: Sequence[ReportOrder]) -> list[DrawnReport]:
        handed.extend(len(rows) for order in orders for rows in (order.reference, order.current))
        return sketch(orders)

    house.watch(begin(), draw=counting, policy=DriftPolicy(min_rows=40, report_rows=60))
    assert handed == [60, 60]


def test_no_text_leaves_for_the_report(house: House) -> None:
    house.arrive(begin(), 60)
    rows = current_rows(Subject(TIPO, TRAINED), Window(), NORTE, house.store)
    assert rows.column_names == list(COLUMNS)


def test_a_run_of_its_own_is_logged_with_the_versions_it_looked_at(house: House) -> None:
    house.arrive(begin(), 60)
    run = RunContext.begin(NORTE, kind="drift", at=MORNING)
    _as_run(house, run, sketch)
    (record,) = house.runs.recent(NORTE)
    assert (record.kind, record.status) == ("drift", RunStatus.COMPLETED)
    assert record.manifest is not None
    assert record.manifest["pins"] == {"tipo.champion": TRAINED.uri}
    assert record.manifest["counts"] == {"compared.tipo": 60}


def test_a_report_that_cannot_be_drawn_fails_the_run_and_records_nothing(house: House) -> None:
    def broken(orders: Sequence[ReportOrder]) -> list[DrawnReport]:
        raise ReportError("Evidently could not draw its report: MemoryError")

    house.arrive(begin(), 60)
    run = RunContext.begin(NORTE, kind="drift", at=MORNING)
    with pytest.raises(ReportError):
        _as_run(house, run, broken)
    (record,) = house.runs.recent(NORTE)
    assert (record.status, house.log.recent(NORTE)) == (RunStatus.FAILED, [])
    assert record.error is not None
    assert "MemoryError" in record.error


def _as_run(house: House, run: RunContext, draw: Draw) -> None:
    watch_as_run(
        run,
        [Subject(TIPO, TRAINED)],
        Window(),
        store=house.store,
        registry=house.shelf,  # type: ignore[arg-type]
        log=house.log,
        runs=house.runs,
        reports=house.reports,
        policy=POLICY,
        draw=draw,
    )


def test_evidently_draws_what_silver_holds(house: House) -> None:
    house.arrive(begin(), 60)
    found = house.watch(begin(), draw=draw_reports)
    assert {column.feature for column in found.evidently} == set(COLUMNS)
    assert found.html is not None
    assert found.html.stat().st_size > 100_000
