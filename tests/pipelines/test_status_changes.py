from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from contracts.contract import Contract
from contracts.tables import SILVER_QUARANTINE, STATUS_EVENTS
from lakehouse.control.runs import QualityResult
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.quality import publish_layer
from pipelines.status_changes import refine_changes
from pipelines.steps import unobserved

NORTE = TenantContext.parse("norte")
Change = tuple[str, str, str, int]

RADICATED: Change = ("a", "RECEIVED", "RADICATED", 5)
CLASSIFIED: Change = ("a", "RADICATED", "CLASSIFIED", 6)
ASSIGNED: Change = ("a", "CLASSIFIED", "ASSIGNED", 7)
SECRET = "Ana Pérez, celular 315 000 0000"


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return DeltaTableStore(LakeRoot(str(tmp_path / "lake")))


def run_of(day: int) -> RunContext:
    return RunContext.begin(NORTE, kind="run", at=datetime(2026, 1, day, tzinfo=UTC))


def rows(run: RunContext, *changes: Change) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "tenant_id": "norte",
                "run_id": run.run_id,
                "source": "sim",
                "day": datetime(2026, 1, day, tzinfo=UTC).date(),
                "ticket_id": ticket,
                "event_id": f"{ticket}/{before}/{after}/{day}",
                "ts": datetime(2026, 1, day, 12, tzinfo=UTC),
                "status_from": before,
                "status_to": after,
                "actor_role": "agent",
                "reason": SECRET,
            }
            for ticket, before, after, day in changes
        ],
        schema=STATUS_EVENTS.schema,
    )


def refine(store: TableStore, day: int, *changes: Change) -> QualityResult:
    run = run_of(day)
    tables = (STATUS_EVENTS.table, SILVER_QUARANTINE.table)
    heads = {str(table): store.head(table, NORTE) for table in tables}
    versions = {name: None if head is None else head.version for name, head in heads.items()}
    twice = [
        refine_changes(rows(run, *changes), run, versions, store=store, on_step=unobserved)
        for _ in range(2)
    ]
    assert twice[0] == twice[1]
    layer = (STATUS_EVENTS, SILVER_QUARANTINE)
    publish_layer(run, layer, store=store, on_step=unobserved)
    (result,) = twice[0]
    return result


def states(store: TableStore, contract: Contract, column: str = "status_to") -> list[str]:
    found = store.scan(contract.table, NORTE)
    values: list[str] = [] if found is None else found.sort_by("ts")[column].to_pylist()
    return values


def test_what_keeps_the_rules_goes_on_and_what_breaks_one_waits_in_quarantine(
    store: TableStore,
) -> None:
    result = refine(store, 10, RADICATED, ("a", "RADICATED", "CLOSED", 6), CLASSIFIED)
    assert states(store, STATUS_EVENTS) == ["RADICATED", "CLASSIFIED"]
    assert states(store, SILVER_QUARANTINE, "rule") == ["unknown_transition"]
    assert (result.severity, result.passed) == ("warning", False)
    assert result.observed.startswith("1 in quarantine: unknown_transition 1, first_state 0")


def test_quarantine_names_states_and_quotes_no_text(store: TableStore) -> None:
    refine(store, 10, CLASSIFIED)
    (detail,) = states(store, SILVER_QUARANTINE, "detail")
    assert detail == "RADICATED to CLASSIFIED, when the ticket stood at RECEIVED"


def test_a_ticket_is_judged_with_what_earlier_runs_accepted(store: TableStore) -> None:
    refine(store, 10, RADICATED)
    assert refine(store, 11, CLASSIFIED).passed
    assert states(store, STATUS_EVENTS) == ["RADICATED", "CLASSIFIED"]


def test_a_change_in_quarantine_is_accepted_once_what_was_missing_comes(store: TableStore) -> None:
    assert not refine(store, 10, RADICATED, ASSIGNED).passed
    assert refine(store, 11, CLASSIFIED).passed
    assert states(store, STATUS_EVENTS) == ["RADICATED", "CLASSIFIED", "ASSIGNED"]
    assert states(store, SILVER_QUARANTINE) == ["ASSIGNED"]
    found = store.scan(STATUS_EVENTS.table, NORTE)
    assert found is not None
    late = found.filter(pc.equal(found["run_id"], run_of(11).run_id))
    assert set(late["status_to"].to_pylist()) == {"CLASSIFIED", "ASSIGNED"}


def test_what_comes_again_changes_nothing(store: TableStore) -> None:
    wrong = ("a", "CLOSED", "REOPENED", 8)
    refine(store, 10, RADICATED, wrong)
    refine(store, 11, RADICATED, wrong, wrong, CLASSIFIED)
    assert states(store, STATUS_EVENTS) == ["RADICATED", "CLASSIFIED"]
    assert states(store, SILVER_QUARANTINE) == ["REOPENED"]


def test_another_tickets_fault_is_not_mine(store: TableStore) -> None:
    refine(store, 10, ("b", "CLOSED", "ARCHIVED", 4), RADICATED)
    assert states(store, STATUS_EVENTS, "ticket_id") == ["a"]
    assert states(store, SILVER_QUARANTINE, "ticket_id") == ["b"]
