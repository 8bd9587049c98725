"""The fields of a Raw event as columns: where each may stand, where it must, what it may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from contracts.pqrs import Channel, EventType, Priority, TicketState

_STATES = tuple(TicketState)
_CHANNELS = tuple(Channel)


@dataclass(frozen=True, slots=True)
class RawField:
    """A field of `data`: in which kinds of event it stands, where it must, and what it may say."""

    name: str
    kinds: tuple[EventType, ...]
    required: tuple[EventType, ...] = ()
    allowed: tuple[str, ...] = ()
    is_number: bool = False

    @property
    def kind(self) -> pa.DataType:
        """The type of the column."""
        return pa.float64() if self.is_number else pa.string()


_CREATED, _MESSAGE = (EventType.TICKET_CREATED,), (EventType.MESSAGE_ADDED,)
_STATUS, _ATTACHED = (EventType.STATUS_CHANGED,), (EventType.ATTACHMENT_ADDED,)

FIELDS: Final = (
    RawField("external_id", _CREATED, required=_CREATED),
    RawField("source_channel", _CREATED + _ATTACHED, required=_CREATED, allowed=_CHANNELS),
    RawField("pqrs_type", _CREATED, allowed=("P", "Q", "R", "S")),
    RawField("priority", _CREATED, allowed=tuple(Priority)),
    RawField("geo_region", _CREATED),
    RawField("geo_municipio", _CREATED),
    RawField("dane_city_code", _CREATED),
    RawField("subject", _CREATED),
    RawField("role", _MESSAGE, required=_MESSAGE, allowed=("citizen", "agent")),
    RawField("text", _MESSAGE, required=_MESSAGE),
    RawField("status_from", _STATUS, required=_STATUS, allowed=_STATES),
    RawField("status_to", _STATUS, required=_STATUS, allowed=_STATES),
    RawField("actor_role", _STATUS, allowed=("system", "agent")),
    RawField("reason", _STATUS),
    RawField("file_type", _ATTACHED, required=_ATTACHED),
    RawField("size_kb", _ATTACHED, required=_ATTACHED, is_number=True),
)
TEXT_LEN: Final = "text_len"
"""What the channel counted: judged, and then left behind, for Bronze counts itself."""

HEAD: Final = ("event_id", "ticket_id", "event_type", "schema_version", "tenant_id")
MOMENT: Final = pa.timestamp("us", tz="UTC")
EVENT_COLUMNS: Final = pa.schema(
    [
        *((name, pa.string()) for name in HEAD),
        ("ts", MOMENT),
        *((field.name, field.kind) for field in FIELDS),
    ]
)
"""The columns that lines become; `tenant_id` is null where a line names none."""

RFC3339: Final = (
    r"^[12]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)$"
)
"""Moments as they are mostly written. Leap days and rarer forms are left to `decode_event`."""

PRINTABLE: Final = "[!-~]"
"""What no blank text holds."""
