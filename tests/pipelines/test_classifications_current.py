"""People's word beats the machine's where it stands, and the machine's holds where it does not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, LABELS
from features.index import Neighbour
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.control.served import ServedTables
from lakehouse.data.as_of import AsOf
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.data.storage import LakeRoot
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from pipelines.classifications_current import SCHEMA, classifications_current
from pipelines.search import labels_now
from pipelines.sql import SqlPorts, asking

NORTE = TenantContext.parse("actual-norte")
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
T1, T2 = (str(UUID(int=number)) for number in (1, 2))


class Lake:
    """One tenant's answers and labels, an hour apart each."""

    def __init__(self, folder: Path) -> None:
        self.store = DeltaTableStore(LakeRoot(str(folder)))
        self.hours = 0

    def add(self, contract: Contract, **values: Any) -> None:
        self.hours += 1
        at = NOON + timedelta(hours=self.hours)
        run = RunContext.begin(NORTE, kind="run", at=at)
        own = {"tenant_id": NORTE.tenant_id, "run_id": run.run_id, "task": "tipo"}
        row = {**own, "day": date(2026, 1, 4), **values}
        known = {f.name: row.get(f.name, _any(f, at)) for f in contract.schema}
        self.store.append(
            contract.table, pa.Table.from_pylist([known], schema=contract.schema), run
        )

    def answer(self, ticket: str, label: str, **values: Any) -> None:
        given = {"ticket_id": ticket, "predicted_label": label, "tier": "champion", **values}
        self.add(CLASSIFICATIONS, **given)

    def label(self, ticket: str, label: str, fact: str, **values: Any) -> None:
        given = {"ticket_id": ticket, "label": label, "fact": fact, "reviewer": "ana"}
        self.add(LABELS, label_id=f"l{self.hours}", responded_at=NOON, **given, **values)

    def now(self) -> list[tuple[Any, ...]]:
        rows = classifications_current(NORTE, self.store)
        names = ("ticket_id", "label", "source", "machine_label")
        return list(zip(*(rows[name].to_pylist() for name in names), strict=True))


def _any(field: pa.Field, at: datetime) -> Any:
    if pa.types.is_timestamp(field.type):
        return at
    if field.nullable:
        return None
    return "x" if pa.types.is_string(field.type) else 1


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_a_tenant_without_answers_has_none(lake: Lake) -> None:
    assert classifications_current(NORTE, lake.store) == SCHEMA.empty_table()


def test_a_persons_label_counts_until_it_is_taken_back(lake: Lake) -> None:
    lake.answer(T1, "queja", model_version="7")
    assert lake.now() == [(T1, "queja", "machine", "queja")]
    lake.label(T1, "reclamo", "submitted")
    assert lake.now() == [(T1, "reclamo", "human", "queja")]
    row = classifications_current(NORTE, lake.store).to_pylist()[0]
    assert (row["label_id"], row["reviewers"], row["rule"]) == ("l1", 1, "mayoria-1")
    assert row["model_version"] == "7"
    lake.label(T1, "reclamo", "withdrawn")
    assert lake.now() == [(T1, "queja", "machine", "queja")]


def test_of_the_champions_answers_the_newest_counts_and_others_tiers_never(lake: Lake) -> None:
    lake.answer(T1, "queja")
    lake.answer(T1, "peticion")
    lake.answer(T1, "reclamo", tier="comparison")
    assert lake.now() == [(T1, "peticion", "machine", "peticion")]


def test_a_ticket_no_model_answered_has_a_persons_label(lake: Lake) -> None:
    lake.label(T2, "reclamo", "submitted")
    assert lake.now() == [(T2, "reclamo", "human", None)]


def test_a_search_shows_what_each_ticket_counts_as(lake: Lake) -> None:
    lake.answer(T1, "queja")
    lake.answer(T2, "queja")
    lake.label(T1, "reclamo", "submitted")
    found = [Neighbour(one, 0.9, "queja", date(2026, 1, 4), RunId("run-1")) for one in (T1, T2)]
    told = labels_now(found, "tipo", NORTE, lake.store)
    assert told == {T1: ("reclamo", "human"), T2: ("queja", "machine")}


def test_sql_reads_it_now_and_as_it_was(lake: Lake, postgres_url: str) -> None:
    lake.answer(T1, "queja")
    lake.label(T1, "reclamo", "submitted")
    postgres = Postgres(postgres_url)
    ports = SqlPorts(DuckDbEngine(), lake.store, ServedTables(postgres), RunLog(postgres))
    question = "SELECT label, source FROM silver.classifications_current"

    def ask(as_of: AsOf | None) -> list[dict[str, Any]]:
        with asking(question, NORTE, ports, as_of=as_of) as answer:
            rows: list[dict[str, Any]] = answer.rows.read_all().to_pylist()
            return rows

    assert ask(None) == [{"label": "reclamo", "source": "human"}]
    assert ask(AsOf.parse("2099-01-01")) == ask(None)
    assert ask(AsOf.parse("2026-01-01")) == []
