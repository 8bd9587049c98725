from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from contracts.contract import Contract
from contracts.errors import ContractFileError, UnknownContractError
from contracts.odcs import CLASSIFICATIONS, load, read_contract, shipped
from contracts.pqrs import Channel, EntityKind, EventType, PqrsType, Priority, TicketState
from contracts.tables import BRONZE, ENTITIES, GOLD, PQRS_EVENTS, SIDE, SILVER, TICKETS

FOLDER = Path("contracts")
SMALL = """\
apiVersion: v3.1.0
kind: DataContract
id: urn:plata:contract:silver_things
name: silver_things
version: 1.2.0
status: draft
description: {purpose: Things., usage: To be counted.}
team: {name: nosotros}
schema:
  - name: silver_things
    logicalType: object
    properties:
      - {name: b, logicalType: integer, physicalType: long, primaryKey: true, primaryKeyPosition: 2}
      - {name: a, logicalType: string, physicalType: string, primaryKey: true}
      - name: at
        logicalType: timestamp
        physicalType: timestamp
        classification: personal
        logicalTypeOptions: {minimum: "1990-01-01T00:00:00Z"}
    quality:
      - name: fresh
        type: custom
        engine: plata
        severity: warning
        implementation: {check: freshness, column: at, hours: 24}
slaProperties:
  - {property: retention, value: 5, unit: y}
"""


def test_a_file_says_shape_key_owner_checks_and_what_is_personal() -> None:
    contract = read_contract(SMALL, "things.yaml")
    assert (str(contract), contract.key, contract.owner) == (
        "silver_things/v1",
        ("a", "b"),
        "nosotros",
    )
    assert contract.schema.field("at") == pa.field("at", pa.timestamp("us", tz="UTC"))
    assert contract.columns[2].minimum == datetime(1990, 1, 1, tzinfo=UTC)
    assert contract.classification == {"b": "internal", "a": "internal", "at": "personal"}
    (rule,) = contract.quality
    assert (rule.check, rule.severity, dict(rule.arguments)) == (
        "freshness",
        "warning",
        {"column": "at", "hours": 24},
    )
    assert contract.service_levels == {"retention": "5 y"}


@pytest.mark.parametrize(
    ("found", "put", "said"),
    [
        ("kind: DataContract", "kind: Other", "expected kind: DataContract"),
        ("version: 1.2.0", "version: 1", "expected text like"),
        ("physicalType: long", "physicalType: int8", "property b: physicalType 'int8'"),
        ("logicalType: integer", "logicalType: string", "expected integer for long"),
        ("name: a,", "name: b,", "two properties have one name"),
        ("classification: personal", "classification: 3", "classification '3', expected one of"),
        ("severity: warning", "severity: bad", "severity 'bad', expected critical or warning"),
        ("engine: plata", "engine: soda", "or type: custom and engine: plata"),
        ("1990-01-01T00:00:00Z", "ayer", "expected a moment"),
        (
            "name: silver_things\n    logical",
            "name: things\n    logical",
            "expected <layer>_<entity>",
        ),
        ("{name: nosotros}", "[", "not YAML"),
    ],
)
def test_a_file_that_is_no_contract_is_refused_with_its_place(
    found: str, put: str, said: str
) -> None:
    assert found in SMALL
    with pytest.raises(ContractFileError, match=r"contract file things\.yaml: ") as refused:
        read_contract(SMALL.replace(found, put), "things.yaml")
    assert said in str(refused.value)


def test_a_contract_nobody_wrote_is_named_in_the_refusal() -> None:
    with pytest.raises(UnknownContractError, match="'silver_nothing'"):
        load("silver_nothing")
    with pytest.raises(UnknownContractError, match="'silver_tickets@9'"):
        load("silver_tickets", 9)


def test_every_file_is_the_contract_of_one_table_and_every_table_has_one() -> None:
    tables = [contract.table for contract in (*BRONZE, *SILVER, *SIDE, *GOLD)]
    assert len(set(tables)) == len(tables)
    assert {name for name, _ in shipped()} == {str(table) for table in tables}
    for name, version in shipped():
        contract = load(name, version)
        assert (str(contract.table), contract.version) == (name, version)


@pytest.mark.parametrize("contract", [*BRONZE, *SILVER, *SIDE, *GOLD], ids=str)
def test_a_table_says_what_it_and_each_column_mean(contract: Contract) -> None:
    assert contract.description.endswith(".")
    assert contract.usage
    assert contract.owner
    assert "retention" in contract.service_levels
    for column in contract.columns:
        assert column.description.endswith("."), column.name
    text = (FOLDER / f"v{contract.version}" / f"{contract.table}.yaml").read_text(encoding="utf-8")
    for item in yaml.safe_load(text)["schema"][0]["properties"]:
        assert item["classification"] in CLASSIFICATIONS, item["name"]


@pytest.mark.parametrize("contract", GOLD, ids=str)
def test_gold_holds_nothing_personal(contract: Contract) -> None:
    assert "personal" not in contract.classification.values()


def test_citizens_words_are_personal_wherever_they_stand() -> None:
    words = {"subject", "text", "explanation", "external_id", "value"}
    for contract in (*BRONZE, *SILVER):
        for name, classification in contract.classification.items():
            assert classification == "personal" or name not in words, f"{contract}: {name}"


def test_allowed_values_are_the_words_of_the_domain() -> None:
    words = {
        "event_type": EventType,
        "source_channel": Channel,
        "priority": Priority,
        "status_from": TicketState,
        "status_to": TicketState,
    }
    events = {column.name: column for column in PQRS_EVENTS.columns}
    for name, kind in words.items():
        assert events[name].allowed == tuple(kind), name
    types = {column.name: column for column in TICKETS.columns}["pqrs_type"]
    assert types.allowed == tuple(PqrsType)
    kinds = {column.name: column for column in ENTITIES.columns}["kind"]
    assert kinds.allowed == tuple(EntityKind)
    assert events["pqrs_code"].allowed == tuple(kind.code for kind in PqrsType)
