"""The least that the domain asks to be checked of each layer, each made to fail once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from contracts.contract import Column, Contract
from contracts.quality import CRITICAL, WARNING, Past, TableAudit
from contracts.tables import (
    CLASSIFICATIONS,
    EMBEDDINGS,
    ENTITIES,
    GOLD,
    KPI_SLA_DAILY,
    LABELS,
    MESSAGES,
    PQRS_EVENTS,
    TICKETS,
)

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def good(contract: Contract, number: int = 0, **values: Any) -> dict[str, Any]:
    """A row that keeps a contract, another one for each number."""
    said = {column.name: column for column in contract.columns}
    row = {field.name: _value(field, said[field.name], number) for field in contract.schema}
    unknown = set(values) - set(row)
    assert not unknown
    return {**row, **values}


def _value(field: pa.Field, column: Column, number: int) -> Any:
    kind = field.type
    if column.allowed:
        return column.allowed[0]
    if column.form == "json":
        return "{}"
    if column.form == "uuid":
        return str(UUID(int=number))
    if pa.types.is_string(kind):
        return f"{number:0{column.min_length or 1}}"
    if pa.types.is_timestamp(kind):
        return AT
    if pa.types.is_date(kind):
        return AT.date() + timedelta(days=number)
    if pa.types.is_boolean(kind):
        return False
    return [1] if pa.types.is_list(kind) else column.minimum or 0


def failed(contract: Contract, *rows: dict[str, Any], past: list[Past] | None = None) -> set[Any]:
    """The checks of a contract that rows break, each with its severity."""
    loose = pa.schema([field.with_nullable(True) for field in contract.schema])
    audit = TableAudit(contract)
    audit.add(pa.Table.from_pylist(list(rows), schema=loose))
    history = {rule.name: past or [] for rule in contract.quality}
    outcomes = audit.outcomes(AT, history)
    return {(o.check, o.severity) for o in outcomes if not o.verdict.passed}


REQUIRED, RANGE = ("required values filled", CRITICAL), ("values in range", CRITICAL)
LENGTH, FORM = ("lengths in range", CRITICAL), ("forms valid", CRITICAL)
ALLOWED = ("values allowed", CRITICAL)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("contract", "broken", "check"),
    [
        (PQRS_EVENTS, {"event_id": None}, REQUIRED),
        (PQRS_EVENTS, {"ticket_id": None}, REQUIRED),
        (PQRS_EVENTS, {"event_id": "x"}, FORM),
        (PQRS_EVENTS, {"event_type": "MESSAGE_ADDED", "text_len": 0}, RANGE),
        (
            PQRS_EVENTS,
            {"event_type": "MESSAGE_ADDED", "text_len": None},
            ("text length > 0", CRITICAL),
        ),
        (PQRS_EVENTS, {"ts": None}, REQUIRED),
        (PQRS_EVENTS, {"ts": LONG_AGO}, RANGE),
        (CLASSIFICATIONS, {"predicted_label": None}, REQUIRED),
        (CLASSIFICATIONS, {"predicted_label": ""}, LENGTH),
        (CLASSIFICATIONS, {"model_version": None}, REQUIRED),
        (CLASSIFICATIONS, {"model_version": ""}, LENGTH),
        (CLASSIFICATIONS, {"prompt_version": None}, REQUIRED),
        (CLASSIFICATIONS, {"score": 1.1}, RANGE),
        (CLASSIFICATIONS, {"score": float("nan")}, RANGE),
        (EMBEDDINGS, {"model_version": None}, REQUIRED),
        (EMBEDDINGS, {"prompt_version": None}, REQUIRED),
        (ENTITIES, {"model_version": None}, REQUIRED),
        (ENTITIES, {"prompt_version": None}, REQUIRED),
        (ENTITIES, {"score": -0.1}, RANGE),
        (ENTITIES, {"value": "Armenia"}, FORM),
        (MESSAGES, {"text": ""}, LENGTH),
        (TICKETS, {"pqrs_type": "tutela"}, ALLOWED),
        (LABELS, {"reason": "curiosidad"}, ALLOWED),
        (LABELS, {"suggested_score": 2.0}, RANGE),
    ],
)
def test_a_row_that_breaks_what_the_domain_asks_fails_its_check(
    contract: Contract, broken: dict[str, Any], check: tuple[str, str]
) -> None:
    assert failed(contract, good(contract)) == set()
    assert failed(contract, good(contract, **broken)) == {check}


@pytest.mark.parametrize("contract", [PQRS_EVENTS, CLASSIFICATIONS, *GOLD], ids=str)
def test_no_key_may_come_twice(contract: Contract) -> None:
    twice = good(contract)
    assert failed(contract, twice, twice) == {(f"{', '.join(contract.key)} unique", CRITICAL)}


COUNTS = [
    (contract, field.name)
    for contract in GOLD
    for field in contract.schema
    if field.type == pa.int64()
]


@pytest.mark.parametrize(("contract", "count"), COUNTS, ids=str)
def test_no_count_of_gold_is_below_zero(contract: Contract, count: str) -> None:
    assert failed(contract, good(contract, **{count: -1})) == {RANGE}


@pytest.mark.parametrize(
    ("contract", "optional"), [(CLASSIFICATIONS, "explanation"), (ENTITIES, "value")]
)
def test_an_optional_output_that_goes_missing_is_a_warning(
    contract: Contract, optional: str
) -> None:
    rows = [good(contract, number, **{optional: None}) for number in range(200)]
    usual = [Past(0.02)] * 5
    (rule,) = [r for r in contract.quality if r.arguments.get("of") == "nulls"]
    assert rule.arguments["column"] == optional
    assert (rule.name, WARNING) in failed(contract, *rows, past=usual)


def test_a_day_unlike_the_weeks_before_is_an_anomaly_of_the_sla_and_a_warning() -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(29)]
    calm = [good(KPI_SLA_DAILY, day=day, within_share=0.92) for day in days]
    assert failed(KPI_SLA_DAILY, *calm) == set()
    odd = [*calm[:-1], {**calm[-1], "within_share": 0.1}]
    ((_, severity),) = failed(KPI_SLA_DAILY, *odd)
    assert severity == WARNING
