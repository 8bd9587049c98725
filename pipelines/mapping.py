"""From rows of plain texts to Raw events, by a mapping of columns that the caller declares."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml

from contracts.pqrs import Channel, EventType, PqrsType, Priority
from contracts.raw import SCHEMA_VERSION
from lakehouse.errors import InputError

FIELDS = (
    "text",
    "subject",
    "external_id",
    "created_at",
    "channel",
    "type",
    "priority",
    "region",
    "municipio",
    "dane_city_code",
)
"""What a column can be mapped to; `text` must be."""

Row = Mapping[str, Any]

_NAMESPACE = uuid5(NAMESPACE_URL, "plata/raw/v1")
_PLAIN_FIELDS = {
    "subject": "subject",
    "region": "geo_region",
    "municipio": "geo_municipio",
    "dane_city_code": "dane_city_code",
}
_DAY_FIRST = ("%d/%m/%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S")


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which column holds which field. `timezone` is for moments that name none.

    >>> ColumnMapping.parse(["text=texto", "channel=canal"]).columns
    {'text': 'texto', 'channel': 'canal'}
    """

    columns: Mapping[str, str]
    timezone: str = "UTC"
    constants: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.columns) - set(FIELDS))
        if unknown:
            msg = f"'{unknown[0]}' is not a field to map to; there are: {', '.join(FIELDS)}"
            raise InputError(msg)
        if "text" not in self.columns:
            msg = "the mapping names no column for 'text'; add --map text=COLUMN"
            raise InputError(msg)
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            msg = f"'{self.timezone}' is not a time zone; expected one such as America/Bogota"
            raise InputError(msg) from error

    @classmethod
    def parse(cls, pairs: Sequence[str], *, timezone: str = "UTC") -> ColumnMapping:
        """Read `field=column` pairs."""
        columns = {}
        for pair in pairs:
            name, sign, column = pair.partition("=")
            if not (name and sign and column):
                msg = f"'{pair}' is not a mapping; expected FIELD=COLUMN, such as text=texto"
                raise InputError(msg)
            columns[name.strip()] = column.strip()
        return cls(columns, timezone)

    @classmethod
    def read(cls, path: Path, *, timezone: str = "UTC") -> ColumnMapping:
        """Read a YAML file of `field: column` lines."""
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            msg = f"no mapping file at '{path}'"
            raise InputError(msg) from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            msg = f"'{path}' is not YAML in UTF-8: {' '.join(str(error).split())}"
            raise InputError(msg) from error
        if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
            msg = f"'{path}' is not a mapping; expected lines such as 'text: texto'"
            raise InputError(msg)
        return cls({str(k): v for k, v in values.items()}, timezone)

    def require(self, have: Sequence[str], *, file: str) -> None:
        """Raise `InputError` where the file lacks a mapped column."""
        missing = sorted(set(self.columns.values()) - set(have))
        if missing:
            msg = f"'{file}' has no column '{missing[0]}'; it has: {', '.join(have)}"
            raise InputError(msg)

    def as_json(self) -> str:
        """Write it with sorted keys: it is part of what makes a landing the same."""
        content = {
            "columns": dict(self.columns),
            "constants": dict(self.constants),
            "timezone": self.timezone,
        }
        return json.dumps(content, sort_keys=True, ensure_ascii=False)


EMAIL = ColumnMapping(
    columns={
        "text": "body",
        "subject": "subject",
        "external_id": "message_id",
        "created_at": "received_at",
    },
    constants={"channel": Channel.EMAIL.value},
)
"""The e-mail record of the Raw contract. The sender's address is not taken along."""


class EventMaker:
    """Makes two events a row, with identifiers that the same row gets again.

    `noticed` counts declared values that were not understood and so left out, by field.
    """

    def __init__(
        self, mapping: ColumnMapping, *, tenant_id: str, source: str, landed_at: datetime
    ) -> None:
        self._mapping = mapping
        self._mark = f"{tenant_id}/{source}"
        self._landed_at = landed_at
        self._zone = ZoneInfo(mapping.timezone)
        self.noticed: Counter[str] = Counter()

    def lines(self, row: Row) -> Iterator[bytes]:
        """Yield TICKET_CREATED and MESSAGE_ADDED as JSON lines.

        A row that cannot make valid events makes invalid ones: Bronze puts them in quarantine.
        """
        values = self._values(row)
        external_id = values.get("external_id") or _digest(values)
        ticket = uuid5(_NAMESPACE, f"{self._mark}/{external_id}")
        ts = self._moment(values.get("created_at"))
        text = values.get("text", "")
        created = self._ticket_data(values, external_id)
        yield _line(EventType.TICKET_CREATED, ticket, "created", ts, created)
        message = {"role": "citizen", "text": text, "text_len": len(text)}
        yield _line(EventType.MESSAGE_ADDED, ticket, f"message/{text}", ts, message)

    def _values(self, row: Row) -> dict[str, Any]:
        mapped = {name: _clean(row.get(column)) for name, column in self._mapping.columns.items()}
        known = {name: value for name, value in mapped.items() if value is not None}
        return {**self._mapping.constants, **known}

    def _ticket_data(self, values: Row, external_id: str) -> dict[str, Any]:
        data = {
            "external_id": external_id,
            "source_channel": self._channel(values.get("channel")),
            "pqrs_type": self._declared("type", values.get("type"), _TYPES),
            "priority": self._declared("priority", values.get("priority"), _PRIORITIES),
        }
        plain = {name: values.get(mapped) for mapped, name in _PLAIN_FIELDS.items()}
        return {name: value for name, value in {**data, **plain}.items() if value is not None}

    def _channel(self, declared: Any) -> str:
        known = self._declared("channel", declared, _CHANNELS)
        return known or Channel.OTHER_DIGITAL.value

    def _declared(self, name: str, value: Any, known: Mapping[str, str]) -> str | None:
        if value is None:
            return None
        found = known.get(str(value).strip().lower())
        if found is None:
            self.noticed[name] += 1
        return found

    def _moment(self, value: Any) -> str:
        if value is None:
            return _rfc3339(self._landed_at)
        moment = _parse_moment(value)
        if moment is None:
            return str(value)
        try:
            return _rfc3339(moment if moment.tzinfo else moment.replace(tzinfo=self._zone))
        except OverflowError:
            return str(value)


_TYPES = {
    **{kind.value: kind.code for kind in PqrsType},
    **{kind.code.lower(): kind.code for kind in PqrsType},
    "petición": PqrsType.PETICION.code,
}
_PRIORITIES = {priority.value: priority.value for priority in Priority}
_CHANNELS = {channel.value: channel.value for channel in Channel}


def _clean(value: Any) -> Any:
    if value is None or value == "" or value != value:  # NaN
        return None
    return value if isinstance(value, datetime | date) else str(value)


def _digest(values: Row) -> str:
    content = json.dumps(dict(values), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _parse_moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 — the caller adds the zone
    text = str(value).strip()
    for parse in (datetime.fromisoformat, *(_with_format(f) for f in _DAY_FIRST)):
        try:
            return parse(text)
        except ValueError:
            continue
    return None


def _with_format(pattern: str) -> Any:
    return lambda text: datetime.strptime(text, pattern)  # noqa: DTZ007 — as above


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _line(kind: EventType, ticket: UUID, name: str, ts: str, data: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "event_id": str(uuid5(ticket, name)),
            "ticket_id": str(ticket),
            "event_type": kind.value,
            "ts": ts,
            "schema_version": SCHEMA_VERSION,
            "data": data,
        }
    )
