"""The Raw event contract, version 1: what one line of a Raw file must say to become a row.

A line that breaks it gets a reason which names the field and the rule, and never quotes what the
line holds: it may be a citizen's words.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from contracts.pqrs import Channel, EventType, Priority, TicketState

SCHEMA_VERSION: Final = "1"

Filled = Annotated[str, msgspec.Meta(min_length=1)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
PqrsCode = Literal["P", "Q", "R", "S"]


class TicketCreated(msgspec.Struct, frozen=True, gc=False):
    """A request came in."""

    external_id: Filled
    source_channel: Channel
    pqrs_type: PqrsCode | None = None
    priority: Priority | None = None
    geo_region: str | None = None
    geo_municipio: str | None = None
    dane_city_code: str | None = None
    subject: str | None = None


class MessageAdded(msgspec.Struct, frozen=True, gc=False):
    """Somebody wrote. `text_len` is what the channel counted; Bronze counts itself."""

    role: Literal["citizen", "agent"]
    text: Filled
    text_len: Annotated[int, msgspec.Meta(ge=0)] | None = None


class StatusChanged(msgspec.Struct, frozen=True, gc=False):
    """The request went from one state to another."""

    status_from: TicketState
    status_to: TicketState
    actor_role: Literal["system", "agent"] | None = None
    reason: str | None = None


class AttachmentAdded(msgspec.Struct, frozen=True, gc=False):
    """A file came with the request."""

    file_type: Filled
    size_kb: Annotated[float, msgspec.Meta(ge=0)]
    source_channel: Channel | None = None


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event_type", gc=False):
    event_id: UUID
    ticket_id: UUID
    ts: Moment
    schema_version: Literal["1"] = SCHEMA_VERSION
    tenant_id: str | None = None


class TicketCreatedEvent(_Event, frozen=True, kw_only=True, tag=EventType.TICKET_CREATED.value):
    """One line whose `event_type` is TICKET_CREATED."""

    data: TicketCreated


class MessageAddedEvent(_Event, frozen=True, kw_only=True, tag=EventType.MESSAGE_ADDED.value):
    """One line whose `event_type` is MESSAGE_ADDED."""

    data: MessageAdded


class StatusChangedEvent(_Event, frozen=True, kw_only=True, tag=EventType.STATUS_CHANGED.value):
    """One line whose `event_type` is STATUS_CHANGED."""

    data: StatusChanged


class AttachmentAddedEvent(_Event, frozen=True, kw_only=True, tag=EventType.ATTACHMENT_ADDED.value):
    """One line whose `event_type` is ATTACHMENT_ADDED."""

    data: AttachmentAdded


RawEvent = TicketCreatedEvent | MessageAddedEvent | StatusChangedEvent | AttachmentAddedEvent

_decoder: msgspec.json.Decoder[RawEvent] = msgspec.json.Decoder(RawEvent)
_QUOTED = re.compile(r"""\s*['"].*['"]""", re.DOTALL)
_FIELD = re.compile(r" - at `\$\.?([\w.]*)`$")
_EXPECTED = {
    "event_type": ", ".join(EventType),
    "schema_version": f'"{SCHEMA_VERSION}"',
    "data.source_channel": ", ".join(Channel),
    "data.pqrs_type": "P, Q, R, S",
    "data.priority": ", ".join(Priority),
    "data.role": "citizen, agent",
    "data.status_from": ", ".join(TicketState),
    "data.status_to": ", ".join(TicketState),
    "data.actor_role": "system, agent",
}


class BrokenLineError(ValueError):
    """A line that is not an event of the contract; its text is the reason, safe to show."""


def decode_event(line: bytes) -> RawEvent:
    """Read one line. Raises `BrokenLineError` with the reason, which quotes nothing of the line.

    >>> decode_event(b'{"event_type": "MESSAGE_ADDED"}')
    Traceback (most recent call last):
    contracts.raw.BrokenLineError: Object missing required field `event_id`
    """
    try:
        event = _decoder.decode(line)
    except msgspec.ValidationError as error:
        raise BrokenLineError(_reason(str(error))) from None
    except (msgspec.DecodeError, RecursionError):
        raise BrokenLineError("the line is not one JSON object") from None
    except UnicodeDecodeError as error:
        raise BrokenLineError(f"the line is not UTF-8 at its byte {error.start}") from None
    if isinstance(event, MessageAddedEvent) and not event.data.text.strip():
        raise BrokenLineError("data.text is blank, expected text")
    return event


def _reason(message: str) -> str:
    """Say field and rule. What stands between single quotes is the line's own, so it goes.

    >>> _reason("Invalid enum value 'Calle 5' - at `$.data.priority`")
    'data.priority: expected one of alta, media, baja'
    """
    safe = _QUOTED.sub("", message)
    field = _FIELD.search(safe)
    if field is None:
        return safe
    rule = safe[: field.start()]
    if rule.startswith("Invalid") and field.group(1) in _EXPECTED:
        rule = f"expected one of {_EXPECTED[field.group(1)]}"
    return f"{field.group(1)}: {rule}" if field.group(1) else rule
