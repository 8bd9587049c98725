from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.raw import BrokenLineError, MessageAddedEvent, RawEvent, decode_event

SCHEMA_FILE = Path("contracts/v1/raw_event.schema.json")
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
    published = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert published == msgspec.json.schema(RawEvent)
    jsonschema.validate(json.loads(line()), published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"event_id": str(uuid4())}, published)
