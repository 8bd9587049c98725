from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from contracts.contract import Column, Contract
from contracts.diff import changes, incompatible
from contracts.errors import ContractViolationError
from contracts.odcs import load
from contracts.page import write_page
from contracts.raw_schema import SCHEMA_FILE, load_raw
from contracts.release import PAGE, all_contracts, newest, release
from contracts.released import FOLDER, RELEASED, read_form, released_file, write_form
from contracts.tables import STATUS_EVENTS, TICKETS

RELEASED_CONTRACTS = [contract for contract in all_contracts() if contract.status == RELEASED]


@pytest.mark.parametrize("contract", RELEASED_CONTRACTS, ids=str)
def test_a_released_contract_keeps_its_promise_or_takes_a_new_version(contract: Contract) -> None:
    file = released_file(contract)
    assert file.exists(), f"{contract} was never released: run `make contracts`"
    form = read_form(file.read_text(encoding="utf-8"))
    assert [str(change) for change in incompatible(form, contract)] == []
    assert [str(change) for change in changes(form, contract)] == [], "run `make contracts`"


def test_no_released_contract_is_taken_away() -> None:
    there = {released_file(contract) for contract in all_contracts()}
    assert set(FOLDER.rglob("*.json")) <= there


def test_the_page_of_contracts_is_what_the_contracts_say() -> None:
    page = write_page(newest(all_contracts()))
    assert PAGE.read_text(encoding="utf-8") == page, "run `make contracts`"


def with_column(contract: Contract, name: str, **rules: object) -> Contract:
    columns = tuple(
        replace(c, **rules) if c.name == name else c  # type: ignore[arg-type]
        for c in contract.columns
    )
    return replace(contract, columns=columns)


def with_field(contract: Contract, field: pa.Field) -> Contract:
    place = contract.schema.get_field_index(field.name)
    schema = contract.schema
    return replace(contract, schema=schema.append(field) if place < 0 else schema.set(place, field))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: replace(c, schema=c.schema.remove(4)), "ticket_id: removed"),
        (
            lambda c: with_field(c, pa.field("ts", pa.string(), nullable=False)),
            "ts: type is string",
        ),
        (lambda c: with_field(c, pa.field("x", pa.string(), nullable=False)), "x: added, required"),
        (lambda c: with_field(c, pa.field("reason", pa.string(), nullable=False)), "is required"),
        (lambda c: with_field(c, pa.field("status_to", pa.string())), "is optional, was required"),
        (lambda c: replace(c, key=("ticket_id",)), "the key is (ticket_id), was (event_id)"),
        (lambda c: replace(c, partitions=("day",)), "partitioned by (day), was by (source, day)"),
        (lambda c: with_column(c, "actor_role", allowed=("agent",)), "'system' no longer allowed"),
        (lambda c: with_column(c, "reason", allowed=("a",)), "only a allowed, was any value"),
        (lambda c: with_column(c, "source", min_length=3), "least length is 3, was 1"),
        (lambda c: with_column(c, "reason", max_length=9), "greatest length is 9, was none"),
        (lambda c: with_column(c, "reason", pattern="^a"), "pattern is ^a, was none"),
        (lambda c: with_column(c, "reason", classification="public"), "is public, was personal"),
    ],
)
def test_what_breaks_those_who_rely_on_it_is_incompatible(
    change: Callable[[Contract], Contract], said: str
) -> None:
    (found,) = incompatible(STATUS_EVENTS, change(STATUS_EVENTS))
    assert said in str(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: with_field(c, pa.field("x", pa.string())), "x: added, optional"),
        (
            lambda c: with_column(c, "actor_role", allowed=("system", "agent", "bot")),
            "'bot' allowed too",
        ),
        (lambda c: with_column(c, "actor_role", allowed=()), "any value allowed"),
        (lambda c: with_column(c, "source", min_length=None), "least length is none, was 1"),
        (
            lambda c: with_column(c, "source", classification="personal"),
            "is personal, was internal",
        ),
    ],
)
def test_what_leaves_old_rows_and_readers_good_is_compatible(
    change: Callable[[Contract], Contract], said: str
) -> None:
    (found,) = changes(STATUS_EVENTS, change(STATUS_EVENTS))
    assert found.compatible
    assert said in str(found)


def test_prose_may_change_freely() -> None:
    told = with_column(replace(TICKETS, description="Otra."), "subject", description="Otra cosa.")
    assert changes(TICKETS, told) == []


def test_incompatible_changes_come_first() -> None:
    wider = with_field(STATUS_EVENTS, pa.field("a", pa.string()))
    found = changes(STATUS_EVENTS, replace(wider, key=("ticket_id",)))
    assert [change.compatible for change in found] == [False, True]


def test_release_records_forms_and_page_once(tmp_path: Path) -> None:
    first = release(tmp_path)
    assert {file.relative_to(tmp_path) for file in first} == {
        PAGE,
        SCHEMA_FILE,
        *(released_file(contract) for contract in RELEASED_CONTRACTS),
    }
    assert release(tmp_path) == []


def test_release_refuses_a_broken_promise_and_says_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / released_file(TICKETS)
    file.parent.mkdir(parents=True)
    promised = replace(
        with_field(TICKETS, pa.field("phone", pa.string())),
        columns=(*TICKETS.columns, Column("phone")),
    )
    file.write_text(write_form(promised), encoding="utf-8")
    with pytest.raises(ContractViolationError, match="phone: removed") as refused:
        release(tmp_path)
    assert "contracts/v2/silver_tickets.yaml" in str(refused.value)


def test_a_narrower_raw_event_is_refused_with_the_schema_to_write(tmp_path: Path) -> None:
    raw = load_raw()
    wider = with_column(raw, "TICKET_CREATED.priority", allowed=("alta", "media", "baja", "nula"))
    file = tmp_path / released_file(raw)
    file.parent.mkdir(parents=True)
    file.write_text(write_form(wider), encoding="utf-8")
    with pytest.raises(ContractViolationError, match="'nula' no longer allowed") as refused:
        release(tmp_path)
    assert "contracts/v2/raw_event.schema.json" in str(refused.value)


def test_a_form_is_read_as_it_was_written() -> None:
    for contract in all_contracts():
        assert changes(read_form(write_form(contract)), contract) == []
    assert read_form(write_form(TICKETS)) == load("silver_tickets")
