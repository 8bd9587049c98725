from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.contract import Contract, QualityRule
from contracts.errors import ContractFileError
from contracts.odcs import read_contract
from contracts.quality import (
    CRITICAL,
    Moment,
    Outcome,
    Past,
    TableAudit,
    Verdict,
    measure_of,
)
from contracts.tables import BRONZE, GOLD, KPI_VOLUME_DAILY, PQRS_EVENTS, QUARANTINE, SILVER

AT = datetime(2026, 1, 10, 12, tzinfo=UTC)


def volumes(*rows: tuple[date, str, int | None]) -> pa.Table:
    loose = pa.schema([field.with_nullable(True) for field in KPI_VOLUME_DAILY.schema])
    fence = {"tenant_id": "norte", "run_id": "run-1", "source_channel": "email"}
    made = [{**fence, "day": day, "pqrs_type": kind, "tickets": n} for day, kind, n in rows]
    return pa.Table.from_pylist(made, schema=loose)


def rule(check: str, **arguments: Any) -> QualityRule:
    return QualityRule("it", check, "warning", arguments=arguments)


def judged(
    asked: QualityRule, *parts: pa.Table, past: Sequence[Past] = (), at: datetime = AT
) -> Verdict:
    """Judge parts by one declared rule alone."""
    contract = replace(KPI_VOLUME_DAILY, quality=(asked,), columns=(), key=())
    contract = replace(
        contract, schema=pa.schema([field.with_nullable(True) for field in contract.schema])
    )
    audit = TableAudit(contract)
    for part in parts:
        audit.add(part)
    (outcome,) = audit.outcomes(at, {"it": past})
    return outcome.verdict


def by_check(outcomes: list[Outcome]) -> dict[str, tuple[str, bool, str]]:
    return {o.check: (o.severity, o.verdict.passed, o.verdict.observed) for o in outcomes}


MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


def test_what_a_contract_says_of_columns_and_key_is_critical_over_all_parts() -> None:
    audit = TableAudit(KPI_VOLUME_DAILY)
    audit.add(volumes((MONDAY, "queja", 3), (MONDAY, "reclamo", -1)))
    audit.add(volumes((MONDAY, "queja", 4), (TUESDAY, "", None)))
    assert by_check(audit.outcomes(AT, {})) == {
        "required values filled": (CRITICAL, False, "1 values: tickets (1)"),
        "values allowed": (CRITICAL, True, "0 values"),
        "values in range": (CRITICAL, False, "1 values: tickets (1)"),
        "lengths in range": (CRITICAL, False, "1 values: pqrs_type (1)"),
        "day, source_channel, pqrs_type unique": (CRITICAL, False, "1 rows"),
    }


def test_a_table_without_rows_is_judged_by_what_is_declared_alone() -> None:
    assert [o.check for o in TableAudit(QUARANTINE).outcomes(AT, {})] == ["no line in quarantine"]
    assert TableAudit(KPI_VOLUME_DAILY).outcomes(AT, {}) == []


@given(st.lists(st.tuples(st.sampled_from(["queja", "reclamo"]), st.integers(-2, 5)), max_size=9))
def test_how_rows_are_cut_into_parts_changes_nothing(rows: list[tuple[str, int]]) -> None:
    whole = volumes(*((MONDAY, kind, n) for kind, n in rows))
    one, many = TableAudit(KPI_VOLUME_DAILY), TableAudit(KPI_VOLUME_DAILY)
    one.add(whole)
    for place in range(len(whole)):
        many.add(whole.slice(place, 1))
    assert one.outcomes(AT, {}) == many.outcomes(AT, {})


def test_a_message_without_a_counted_text_fails_bronze() -> None:
    nulls = {field.name: None for field in PQRS_EVENTS.schema}
    events = [
        {**nulls, "event_type": "MESSAGE_ADDED", "text_len": 4},
        {**nulls, "event_type": "MESSAGE_ADDED"},
        {**nulls, "event_type": "TICKET_CREATED"},
    ]
    loose = pa.schema([field.with_nullable(True) for field in PQRS_EVENTS.schema])
    audit = TableAudit(PQRS_EVENTS)
    audit.add(pa.Table.from_pylist(events, schema=loose))
    found = by_check(audit.outcomes(AT, {}))
    assert found["text length > 0"] == (CRITICAL, False, "1 rows")


def test_a_bound_of_the_standard_is_held_against_rows_and_against_a_share() -> None:
    rows = volumes((MONDAY, "queja", None), (MONDAY, "reclamo", 1))
    assert judged(rule("rowCount", mustBe=2), rows).passed
    assert not judged(rule("rowCount", mustBeGreaterThan=2), rows).passed
    share = rule("nullValues", column="tickets", unit="percent", mustBeLessOrEqualTo=40)
    verdict = judged(share, rows)
    assert (verdict.passed, verdict.observed, verdict.expected) == (False, "50 %", "at most 40 %")


def moments(*days_ago: float) -> pa.Table:
    empty = pa.table({"ts": pa.array([AT - timedelta(days=d) for d in days_ago])})
    return empty.cast(pa.schema([("ts", pa.timestamp("us", tz="UTC"))]))


@pytest.mark.parametrize(
    ("age", "lags_before", "passed"),
    [(1, [], True), (9, [], True), (9, [200.0, 300.0], True), (9, [200.0, 20.0], False)],
)
def test_old_events_are_stale_only_where_a_run_before_was_fresh(
    age: float, lags_before: list[float], passed: bool
) -> None:
    measure = measure_of(rule("freshness", column="ts", hours=72), PQRS_EVENTS)
    measure.add(moments(age, age + 3))
    verdict = measure.judge(Moment(AT, [Past(lag) for lag in lags_before]))
    assert verdict.passed is passed
    assert verdict.measured == pytest.approx(24 * age)


def rows_of(count: int) -> pa.Table:
    return volumes(*((MONDAY, f"t{n}", 1) for n in range(count)))


@pytest.mark.parametrize(
    ("count", "before", "passed"),
    [
        (3, [100, 100, 100, 100], True),  # too few runs to know what is usual
        (100, [90, 110, 100, 95, 105], True),
        (3, [90, 110, 100, 95, 105], False),
        (300, [90, 110, 100, 95, 105], False),
        (100, [90, 110, 5_000, 95, 105], True),  # one odd run does not move the median
        (1_000, [90, 110, 5_000, 95, 105], False),
    ],
)
def test_a_run_is_odd_where_it_is_far_from_the_median_of_the_last(
    count: int, before: list[int], passed: bool
) -> None:
    past = [Past(float(rows)) for rows in before]
    assert judged(rule("usual", of="rows"), rows_of(count), past=past).passed is passed


def test_a_share_of_nulls_is_judged_on_enough_rows_only() -> None:
    past = [Past(0.1)] * 5
    asked = rule("usual", of="nulls", column="tickets", least_rows=10)
    empty = volumes(*((MONDAY, f"t{n}", None) for n in range(10)))
    assert not judged(asked, empty, past=past).passed
    assert judged(asked, empty.slice(0, 9), past=past).passed


def mix(quejas: int, reclamos: int) -> pa.Table:
    return volumes(*((MONDAY, "queja", 1),) * quejas, *((MONDAY, "reclamo", 1),) * reclamos)


def test_a_mix_that_shifts_is_told_with_what_moved_most() -> None:
    asked = rule("shift", column="pqrs_type", limit=0.3, least_rows=10)
    first = judged(asked, mix(8, 2))
    assert first.shares == {"queja": 0.8, "reclamo": 0.2}
    past = [Past(0.0, first.shares or {})] * 3
    assert judged(asked, mix(7, 3), past=past).passed
    shifted = judged(asked, mix(1, 4), mix(1, 4), past=past)
    assert (shifted.passed, shifted.observed) == (False, "0.6, most in queja (-0.60)")
    assert judged(asked, mix(2, 7), past=past).passed  # nine rows say nothing
    assert judged(asked, mix(2, 8), past=past[:2]).passed  # nor do two runs


def test_the_newest_day_is_held_against_the_days_before_it_in_its_group() -> None:
    days = [MONDAY + timedelta(days=n) for n in range(15)]
    asked = rule("lastDay", column="tickets", by=["pqrs_type"], days=28)
    calm = [(day, kind, 10) for day in days for kind in ("queja", "reclamo")]
    assert judged(asked, volumes(*calm)).passed
    odd = [(d, k, 90 if (d, k) == (days[-1], "queja") else n) for d, k, n in calm]
    verdict = judged(asked, volumes(*odd))
    assert (verdict.passed, verdict.observed) == (False, "1 unusual on 2026-01-19: queja")
    assert judged(asked, volumes(*(row for row in odd if row[0] > days[3]))).passed


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (rule("usal", of="rows"), "of kind 'usal', expected one of rowCount"),
        (rule("usual", of="rows", colum="x"), "colum"),
        (rule("usual", of="nulls"), "with a column"),
        (rule("shift", column="tipo", limit=1), "'tipo', which is no column"),
        (rule("rowCount"), "expected one bound of mustBe"),
    ],
)
def test_a_check_nobody_can_make_is_refused_with_its_name(asked: QualityRule, said: str) -> None:
    with pytest.raises(ContractFileError, match="check 'it'") as refused:
        measure_of(asked, KPI_VOLUME_DAILY)
    assert said in str(refused.value)


@pytest.mark.parametrize("contract", [*BRONZE, *SILVER, *GOLD], ids=str)
def test_every_check_of_every_contract_can_be_made(contract: Contract) -> None:
    names = [r.name for r in contract.quality]
    assert len(set(names)) == len(names)
    for declared in contract.quality:
        measure_of(declared, contract)
        assert declared.description.endswith("."), declared.name


def test_a_library_metric_of_a_property_is_read_as_a_check_of_its_column() -> None:
    yaml = """\
apiVersion: v3.1.0
kind: DataContract
id: x
name: gold_things
version: 1.0.0
status: draft
schema:
  - name: gold_things
    properties:
      - name: a
        logicalType: string
        physicalType: string
        primaryKey: true
        quality:
          - name: few nulls
            metric: nullValues
            unit: percent
            mustBeLessThan: 5
            severity: warning
"""
    (declared,) = read_contract(yaml, "x.yaml").quality
    assert (declared.check, dict(declared.arguments)) == (
        "nullValues",
        {"column": "a", "unit": "percent", "mustBeLessThan": 5},
    )
