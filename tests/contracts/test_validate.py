from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.contract import Column, Contract
from contracts.tables import CLASSIFICATIONS, EMBEDDINGS, ENTITIES, STATUS_EVENTS
from contracts.validate import Rule, compile_checks, find_problems, key_digests

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def uid(number: int) -> str:
    return str(UUID(int=number))


def move(number: int, **values: Any) -> dict[str, Any]:
    given = {"tenant_id": "norte", "run_id": "run-1", "source": "sim", "day": date(2026, 1, 5)}
    row = {"ticket_id": uid(1), "event_id": uid(number), "ts": AT}
    states = {"status_from": "RECEIVED", "status_to": "RADICATED"}
    return {**given, **row, **states, "actor_role": None, "reason": None, **values}


def moves(*rows: dict[str, Any]) -> pa.Table:
    loose = pa.schema([field.with_nullable(True) for field in STATUS_EVENTS.schema])
    return pa.Table.from_pylist(list(rows), schema=loose)


def found(contract: Contract, rows: pa.Table) -> list[tuple[str, str, int, tuple[int, ...]]]:
    return [(f.rule.name, f.column, f.rows, f.first) for f in find_problems(contract, rows)]


def test_rows_that_keep_the_contract_have_no_problem() -> None:
    assert found(STATUS_EVENTS, moves(move(1), move(2, actor_role="agent"))) == []
    assert found(STATUS_EVENTS, moves()) == []


def test_each_rule_names_its_column_how_many_rows_break_it_and_where() -> None:
    rows = moves(
        move(1),
        move(2, status_to="CERRADO"),
        move(3, ts=datetime(1980, 1, 1, tzinfo=UTC), actor_role="nadie"),
        move(4, event_id="no soy un uuid"),
        move(5, status_from=None),
        move(6, source=""),
        move(6),
    )
    assert sorted(found(STATUS_EVENTS, rows)) == [
        ("ALLOWED", "actor_role", 1, (2,)),
        ("ALLOWED", "status_to", 1, (1,)),
        ("FORM", "event_id", 1, (3,)),
        ("KEY", "event_id", 1, (6,)),
        ("LENGTH", "source", 1, (5,)),
        ("RANGE", "ts", 1, (2,)),
        ("REQUIRED", "status_from", 1, (4,)),
    ]


def test_a_missing_column_and_a_wrong_type_are_said_before_values_are_looked_at() -> None:
    rows = moves(move(1, status_to="CERRADO")).drop_columns(["ts"])
    wrong = rows.set_column(3, "day", pa.array(["hoy"]))
    assert found(STATUS_EVENTS, wrong) == [
        ("TYPE", "day", 1, ()),
        ("PRESENT", "ts", 1, ()),
        ("ALLOWED", "status_to", 1, (0,)),
    ]


def test_only_the_first_places_of_a_problem_are_kept() -> None:
    rows = moves(*(move(n, status_to="x") for n in range(20)))
    assert found(STATUS_EVENTS, rows) == [("ALLOWED", "status_to", 20, (0, 1, 2, 3, 4))]


def test_no_finding_quotes_a_value() -> None:
    rows = moves(move(1, status_to="mi nombre es Ana"))
    assert "Ana" not in str(find_problems(STATUS_EVENTS, rows))


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_score_outside_its_range_or_not_a_number_breaks_it(score: float) -> None:
    (check,) = [
        c for c in compile_checks(CLASSIFICATIONS) if (c.column, c.rule) == ("score", Rule.RANGE)
    ]
    scores = pa.table({"score": pa.array([0.0, score, 1.0, None], pa.float64())})
    finding = check.finding(scores)
    assert finding is not None
    assert (finding.rows, finding.first, finding.expected) == (1, (1,), "0 to 1")


def test_probabilities_that_are_not_json_and_vectors_without_numbers_are_found() -> None:
    checks = {
        c.column: c
        for contract in (CLASSIFICATIONS, EMBEDDINGS)
        for c in compile_checks(contract)
        if c.column in ("probabilities", "embedding") and c.rule is not Rule.REQUIRED
    }
    texts = pa.table({"probabilities": ['{"queja": 1.0}', "{queja", None]})
    assert getattr(checks["probabilities"].finding(texts), "first", None) == (1,)
    vectors = pa.array([[0.5], []], pa.list_(pa.float32()))
    assert getattr(
        checks["embedding"].finding(pa.table({"embedding": vectors})), "first", None
    ) == (1,)


def mention(start: int, **values: Any) -> dict[str, Any]:
    given = {"tenant_id": "norte", "run_id": "run-1", "source": "sim", "day": date(2026, 1, 5)}
    place = {"text": "Armenia", "text_start": start, "text_end": start + 7, "kind": "lugar"}
    asked = {"ticket_id": uid(1), "event_id": uid(2), "task": "entidades", "tier": "champion"}
    pins = {"model_name": "norte.entidades", "model_version": "1", "bundle_id": "bundle-1"}
    prompt = {"prompt_name": "none", "prompt_version": "none", "inference_timestamp": AT}
    value = {"value": '{"dane_code": "63001", "name": "Armenia"}', "score": 0.9}
    return {**given, **place, **asked, **pins, **prompt, **value, **values}


def test_a_mention_without_valid_json_of_an_unknown_kind_or_told_twice_is_found() -> None:
    def mentions(*rows: dict[str, Any]) -> pa.Table:
        return pa.Table.from_pylist(list(rows), schema=ENTITIES.schema)

    assert found(ENTITIES, mentions(mention(0), mention(9, value=None))) == []
    broken = mentions(
        mention(0),
        mention(9, value="63001 Armenia"),
        mention(20, kind="barrio"),
        mention(0, text="Pijao"),
    )
    assert sorted(found(ENTITIES, broken)) == [
        ("ALLOWED", "kind", 1, (2,)),
        ("FORM", "value", 1, (1,)),
        ("KEY", ", ".join(ENTITIES.key), 1, (3,)),
    ]


def test_a_pattern_is_held_against_every_value() -> None:
    columns = (replace(Column("source"), pattern="^[a-z]+$"),)
    contract = replace(STATUS_EVENTS, columns=columns)
    assert found(contract, moves(move(1), move(2, source="A B"))) == [("FORM", "source", 1, (1,))]


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_a_key_is_repeated_as_often_as_python_counts(keys: list[str]) -> None:
    rows = moves(*(move(0, event_id=key) for key in keys))
    repeated = [f for f in find_problems(STATUS_EVENTS, rows) if f.rule is Rule.KEY]
    assert sum(f.rows for f in repeated) == len(keys) - len(set(keys))
    assert len(set(key_digests(STATUS_EVENTS, rows).tolist())) == len(set(keys))
