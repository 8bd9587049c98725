"""Ways in which a channel breaks the Raw contract: each makes one bad line out of a good one.

Every result is UTF-8 without a line break inside, and none of them may pass Bronze.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

_Event = dict[str, Any]


def _put(**changed: Any) -> Callable[[_Event], _Event]:
    return lambda event: {**event, **changed}


def _without(name: str) -> Callable[[_Event], _Event]:
    return lambda event: {key: value for key, value in event.items() if key != name}


def _message(**changed: Any) -> Callable[[_Event], _Event]:
    good = {"role": "citizen", "text": "Mensaje de prueba.", "text_len": 18}
    return _put(event_type="MESSAGE_ADDED", data={**good, **changed})


def _ticket(**changed: Any) -> Callable[[_Event], _Event]:
    good = {"external_id": "X-1", "source_channel": "email"}
    return _put(event_type="TICKET_CREATED", data={**good, **changed})


def _status(before: str, after: str) -> Callable[[_Event], _Event]:
    return _put(event_type="STATUS_CHANGED", data={"status_from": before, "status_to": after})


def _file(**changed: Any) -> Callable[[_Event], _Event]:
    return _put(event_type="ATTACHMENT_ADDED", data={"file_type": "pdf", "size_kb": 9, **changed})


_MENDED: Mapping[str, Callable[[_Event], _Event]] = {
    "no event_id": _without("event_id"),
    "no ticket_id": _without("ticket_id"),
    "no ts": _without("ts"),
    "no data": _without("data"),
    "no event_type": _without("event_type"),
    "event_id is no uuid": _put(event_id="pendiente"),
    "ticket_id is null": _put(ticket_id=None),
    "ts without a zone": _put(ts="2025-10-10T10:00:00"),
    "ts out of the calendar": _put(ts="2026-02-30T10:00:00Z"),
    "ts in the Spanish order": _put(ts="10/10/2025 10:00"),
    "ts before 1990": _put(ts="1889-01-01T00:00:00Z"),
    "ts far ahead": _put(ts="2999-12-31T00:00:00Z"),
    "unknown event_type": _put(event_type="TICKET_BORRADO"),
    "unknown schema_version": _put(schema_version="9"),
    "data is a text": _put(data="sin datos"),
    "another tenant": _put(tenant_id="otra-entidad-ajena"),
    "text is empty": _message(text=""),
    "text is blank": _message(text=" \t "),
    "text is a number": _message(text=12345),
    "unknown role": _message(role="robot"),
    "text_len is negative": _message(text_len=-1),
    "unknown channel": _ticket(source_channel="paloma"),
    "external_id is empty": _ticket(external_id=""),
    "type in words": _ticket(pqrs_type="Queja"),
    "unknown priority": _ticket(priority="altísima"),
    "unknown state": _status("RECEIVED", "PERDIDO"),
    "state in Spanish": _status("Recibido", "Radicado"),
    "size is negative": _file(size_kb=-3),
    "size is a text": _file(size_kb="grande"),
}

_CUT: Final = "cut off"
_RAW: Mapping[str, str] = {
    "no JSON": "ERROR 502 Bad Gateway",
    "a list": '["TICKET_CREATED", "2025-10-10"]',
    "an empty object": "{}",
    "a CSV row": "2025-10-10;email;Q;alta;Sin servicio",
}

WAYS: Final = (_CUT, *_RAW, *_MENDED)
"""The names of all ways to break a line, as the truth file gives them."""


def broken(way: str, line: str, event_id: str) -> str:
    """Return `line` broken in one of `WAYS`, under an id of its own.

    >>> broken("no ts", '{"event_id": "a", "ts": "x"}', "b")
    '{"event_id": "b"}'
    """
    if way == _CUT:
        return line[: len(line) * 2 // 3]
    if way in _RAW:
        return _RAW[way]
    changed = _MENDED[way]({**json.loads(line), "event_id": event_id})
    return json.dumps(changed, ensure_ascii=False)
