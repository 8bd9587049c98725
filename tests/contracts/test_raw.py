from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.diff import changes
from contracts.errors import ContractFileError, UnknownContractError
from contracts.raw import BrokenLineError, MessageAddedEvent, RawEvent, decode_event
from contracts.raw_schema import SCHEMA_FILE, load_raw, read_schema, write_schema

ID = "4e3f1d1e-6f7c-4f6e-9d33-0a4f4f0f2c11"
MESSAGE = {"role": "citizen", "text": "No hay luz"}
TICKET = {"external_id": "7", "source_channel": "email"}


def line(kind: str = "MESSAGE_ADDED", data: object = MESSAGE, **changed: object) -> bytes:
    event = {"event_id": ID, "ticket_id": ID, "event_type": kind, "ts": "2026-01-02T03:04:05Z"}
    return json.dumps({**event, "data": data, **changed}).encode()


def test_an_event_of_the_contract_is_read() -> None:
    event = decode_event(line())
    assert isinstance(event, MessageAddedEvent)
    assert event.data.text == "No hay luz"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"event_id": ', "the line is not one JSON object"),
        (b'"x"', "Expected `object`, got `str`"),
        (line(event_id="x"), "event_id: Invalid UUID"),
        (line(ts="2026-01-02T03:04:05"), "ts: Expected `datetime` with a timezone component"),
        (line(ts="ayer"), "ts: Invalid RFC3339 encoded datetime"),
        (line("OTRO"), "event_type: expected one of TICKET_CREATED, MESSAGE_ADDED"),
        (line(schema_version="2"), 'schema_version: expected one of "1"'),
        (line(data={"role": "citizen"}), "data: Object missing required field `text`"),
        (line(data={**MESSAGE, "text": " \n"}), "data.text is blank"),
        (line(data={**MESSAGE, "role": "bot"}), "data.role: expected one of citizen, agent"),
        (line("TICKET_CREATED", {**TICKET, "pqrs_type": "X"}), "expected one of P, Q, R, S"),
        (line("TICKET_CREATED", {**TICKET, "source_channel": "fax"}), "expected one of email, web"),
        (
            b'{"event_type": "MESSAGE_ADDED", "x": ' + b"[" * 100_000,
            "the line is not one JSON object",
        ),
    ],
)
def test_a_broken_line_gets_a_reason_with_field_and_rule(broken: bytes, reason: str) -> None:
    with pytest.raises(BrokenLineError) as refused:
        decode_event(broken)
    assert reason in str(refused.value)


FIELDS = ["event_id", "ticket_id", "event_type", "ts", "schema_version"]
DATA_FIELDS = ["role", "text", "external_id", "source_channel", "pqrs_type", "priority"]


@given(
    words=st.text(min_size=0, max_size=20).map(lambda text: f"ZZZ{text}ZZZ"),
    field=st.sampled_from(FIELDS),
    inner=st.sampled_from(DATA_FIELDS),
    kind=st.sampled_from(["MESSAGE_ADDED", "TICKET_CREATED"]),
)
def test_a_reason_never_quotes_the_line(words: str, field: str, inner: str, kind: str) -> None:
    data = MESSAGE if kind == "MESSAGE_ADDED" else TICKET
    for broken in (
        line(kind, data, **{field: words}),
        line(kind, {**data, inner: words}),
        line(kind, {**data, words: 1, inner: [words]}),
        line(kind, data)[:-3] + words.encode("utf-8", "replace"),
    ):
        assert "ZZZ" not in reason_of(broken)


def reason_of(broken: bytes) -> str:
    try:
        decode_event(broken)
    except BrokenLineError as error:
        return str(error)
    return ""


def test_the_published_schema_is_the_one_that_is_enforced() -> None:
    text = SCHEMA_FILE.read_text(encoding="utf-8")
    assert text == write_schema(), "run `make contracts`"
    published = json.loads(text)
    assert published["discriminator"] == msgspec.json.schema(RawEvent)["discriminator"]
    jsonschema.validate(json.loads(line()), published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"event_id": str(uuid4())}, published)


def test_raw_says_owner_meaning_and_what_is_personal_in_every_field() -> None:
    raw = load_raw()
    assert (str(raw), raw.key, raw.owner) == ("raw_event/v1", ("event_id",), "plataforma-de-datos")
    assert "retention" in raw.service_levels
    for column in raw.columns:
        assert column.description.endswith("."), column.name
    assert [name for name, how in raw.classification.items() if how == "personal"] == [
        "TICKET_CREATED.external_id",
        "TICKET_CREATED.subject",
        "MESSAGE_ADDED.text",
        "STATUS_CHANGED.reason",
    ]
    assert raw.schema.field("MESSAGE_ADDED.text").nullable is False
    assert raw.schema.field("TICKET_CREATED.subject").nullable is True


def changed(change: Callable[[dict[str, Any]], object]) -> list[tuple[bool, str]]:
    schema = json.loads(write_schema())
    change(schema["$defs"])
    after = read_schema(json.dumps(schema), "mine.json")
    return [(found.compatible, str(found)) for found in changes(load_raw(), after)]


def test_a_field_taken_away_and_a_rule_made_narrower_need_a_new_version_of_raw() -> None:
    ticket, message = "TicketCreated", "MessageAdded"
    assert changed(lambda d: d[ticket]["properties"].pop("subject")) == [
        (False, "TICKET_CREATED.subject: removed")
    ]
    assert changed(lambda d: d[ticket]["required"].append("subject")) == [
        (False, "TICKET_CREATED.subject: is required, was optional")
    ]
    assert changed(lambda d: d["Priority"]["enum"].remove("baja")) == [
        (False, "TICKET_CREATED.priority: value 'baja' no longer allowed")
    ]
    assert changed(lambda d: d[message]["properties"]["text"].update(minLength=5)) == [
        (False, "MESSAGE_ADDED.text: least length is 5, was 1")
    ]
    language = {"type": "string", "description": "Its language."}
    assert changed(lambda d: d[message]["properties"].update(language=language)) == [
        (True, "MESSAGE_ADDED.language: added, optional")
    ]


def test_a_field_that_only_some_kinds_of_event_share_is_named_by_its_kind() -> None:
    found = changed(lambda d: d["MessageAddedEvent"]["properties"].pop("tenant_id"))
    assert (False, "tenant_id: removed") in found
    assert (True, "TICKET_CREATED.tenant_id: added, optional") in found


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"x-contract": {"version": "1.0.0"}}'])
def test_a_file_that_is_no_schema_of_raw_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(ContractFileError, match=r"contract file mine\.json: ") as refused:
        read_schema(text, "mine.json")
    assert "\n" not in str(refused.value)


def test_raw_has_no_version_but_its_own() -> None:
    assert load_raw(1) == load_raw()
    with pytest.raises(UnknownContractError, match="raw_event@2"):
        load_raw(2)
