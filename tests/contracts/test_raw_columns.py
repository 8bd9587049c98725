from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import raw_columns
from contracts.raw import BrokenLineError, decode_event
from contracts.raw_columns import read_events
from contracts.raw_fields import EVENT_COLUMNS
from contracts.raw_lines import Lines

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DATA: dict[str, dict[str, Any]] = {
    "TICKET_CREATED": {
        "external_id": "R-7",
        "source_channel": "email",
        "pqrs_type": "Q",
        "priority": None,
        "geo_municipio": "MEDELLÍN",
        "subject": 'Dice "ya"\n',
    },
    "MESSAGE_ADDED": {"role": "citizen", "text": "No hay luz ☹", "text_len": 12},
    "STATUS_CHANGED": {
        "status_from": "RECEIVED",
        "status_to": "RADICATED",
        "actor_role": "agent",
        "reason": "",
    },
    "ATTACHMENT_ADDED": {"file_type": "pdf", "size_kb": 1.5, "source_channel": "chat"},
}


def event(kind: str, number: int = 0) -> dict[str, Any]:
    uid = str(uuid5(NAMESPACE_DNS, str(number)))
    ts = "2026-01-02T03:04:05.678-05:00"
    return {
        "event_id": uid,
        "ticket_id": uid,
        "event_type": kind,
        "ts": ts,
        "data": dict(DATA[kind]),
    }


def split(lines: Sequence[bytes]) -> Lines:
    """Put lines, none of which holds a line end, into one piece of bytes."""
    sizes = np.array([len(line) + 1 for line in lines], np.int64)
    ends = np.cumsum(sizes) - 1
    return Lines(b"\n".join(lines) + b"\n", ends - sizes + 1, ends)


def one_by_one(lines: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Say of every line what `decode_event` says: the reference."""
    rows, refused = [], []
    for place, line in enumerate(lines):
        try:
            rows.append({"place": place, **_as_row(line)})
        except BrokenLineError as error:
            refused.append((place, str(error)))
    return rows, refused


def _as_row(line: bytes) -> dict[str, Any]:
    found = decode_event(line)
    data = msgspec.structs.asdict(found.data)
    row = {name: data.get(name) for name in EVENT_COLUMNS.names}
    head = {
        "event_id": str(found.event_id),
        "ticket_id": str(found.ticket_id),
        "event_type": found.__struct_config__.tag,
        "schema_version": found.schema_version,
        "tenant_id": found.tenant_id,
        "ts": (found.ts - EPOCH) // timedelta(microseconds=1),
    }
    return {**row, **head}


def at_once(lines: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    found = read_events(split(lines))
    assert found.rows.schema == EVENT_COLUMNS
    ts = EVENT_COLUMNS.get_field_index("ts")  # as numbers: Python's years end where Arrow's go on
    values = found.rows.set_column(ts, "ts", found.rows["ts"].cast(pa.int64())).to_pylist()
    rows = zip(found.places.tolist(), values, strict=True)
    return [{"place": place, **row} for place, row in rows], list(found.refused)


def assert_equal_answers(lines: Sequence[bytes]) -> None:
    rows, refused = at_once(lines)
    expected, reasons = one_by_one(lines)
    assert refused == reasons
    assert rows == expected


# What may befall a line on its way: each takes an event and gives the bytes of a line.

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["", " ", "\u2003", "\x1c", "5", "-0", "NaN", "2026-01-02", "Ñandú", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
NUMBERS = st.sampled_from(
    [
        b"0",
        b"-0",
        b"-0.0",
        b"1.0",
        b"5e0",
        b"1e400",
        b"-1e400",
        b"1e-400",
        b"01",
        b"+1",
        b"1.",
        b".5",
        b"9223372036854775807",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111",
        b"123456789012345678901234567890",
        b"0.1",
        b"1E5",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"Inf",
        b"-Inf",
        b"-NaN",
        b"[NaN]",
        b"Inf ",
        b"-",
        b"0x1",
        b"--1",
        b"1.7976931348623157e308",
        b"1.7976931348623159e308",
        b"4.9e-324",
        b"0.30000000000000004",
    ]
)
MOMENTS = st.sampled_from(
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02 03:04:05Z",
        "2024-02-29T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T23:59:60Z",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05.1234567Z",
        "2026-01-02T03:04:05.9999999Z",
        "2026-01-02T03:04:05.123456Z",
        "2026-01-02T03:04:05.1-05:00",
        "2026-01-02T03:04:05+14:00",
        "2026-01-02T03:04:05+15:00",
        "2026-01-02T03:04:05+23:59",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05-0500",
        "2026-01-02T03:04:05+05",
        "2026-01-02T03:04:05-00:00",
        "0001-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59.999999-23:00",
        "1889-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-02T03:04:05Z\n",
        " 2026-01-02T03:04:05Z",
        "2026-1-2T3:4:5Z",
    ]
)
IDS = st.sampled_from(
    [
        "4E3F1D1E-6F7C-4F6E-9D33-0A4F4F0F2C11",
        "4e3f1d1e6f7c4f6e9d330a4f4f0f2c11",
        "",
        "4e3f1d1e",
        "{4e3f1d1e-6f7c-4f6e-9d33-0a4f4f0f2c11}",
        "urn:uuid:4e3f1d1e-6f7c-4f6e-9d33-0a4f4f0f2c11",
        "4e3f1d1e-6f7c-4f6e-9d33-0a4f4f0f2c1g",
        "00000000-0000-0000-0000-000000000000",
        "4e3f1d1e-6f7c-4f6e-9d33-0a4f4f0f2c11\n",
        "4e3f1d1e-6f7c-4f6e-9d330a4f4f0f2c11aaaa",
    ]
)
HEAD_FIELDS = ["event_id", "ticket_id", "event_type", "ts", "schema_version", "tenant_id", "data"]
DATA_FIELDS = [*EVENT_COLUMNS.names[len(HEAD_FIELDS) - 1 :], "text_len", "otro"]
ESCAPES = [rb"\ud800", rb"\udc00\ud800", rb"\ud83d\ude00", rb"\u0000", rb"\x41", rb"\/", rb"\u00e9"]
ESCAPES += [rb"\u12", b"\\", rb"\U0041", b"\x01", b"\t", b"\x7f", b"\xff", b"\xc0\x80", b"\xe2\x82"]
ESCAPES += [
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc3\xb1",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\r",
    b"\x0b",
]
EVENTS = st.sampled_from(list(DATA)).map(event)

Mutation = Callable[[st.DrawFn], bytes]


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def unchanged(draw: st.DrawFn) -> bytes:
    """A line of the contract, written in one way or the other."""
    value = draw(EVENTS)
    compact = draw(st.booleans())
    return json.dumps(
        value, ensure_ascii=draw(st.booleans()), separators=(",", ":") if compact else None
    ).encode()


@st.composite
def with_another_value(draw: st.DrawFn) -> bytes:
    value = draw(EVENTS)
    place = draw(st.sampled_from([value, value["data"]]))
    names = HEAD_FIELDS if place is value else DATA_FIELDS
    special = MOMENTS | IDS | st.sampled_from(["1", "2", "norte", "email", "P", "alta", "CLOSED"])
    place[draw(st.sampled_from(names))] = draw(JUNK | special)
    return encoded(value)


@st.composite
def with_another_moment_or_id(draw: st.DrawFn) -> bytes:
    value = draw(EVENTS)
    value["ts"] = draw(MOMENTS | st.just(value["ts"]))
    value["event_id"] = draw(IDS | st.just(value["event_id"]))
    return encoded(value)


@st.composite
def with_a_field_left_out(draw: st.DrawFn) -> bytes:
    value = draw(EVENTS)
    place = draw(st.sampled_from([value, value["data"]]))
    del place[draw(st.sampled_from(list(place)))]
    return encoded(value)


@st.composite
def with_a_field_twice(draw: st.DrawFn) -> bytes:
    value = draw(EVENTS)
    text = encoded(value)
    inner = draw(st.booleans())
    name = draw(st.sampled_from(DATA_FIELDS if inner else [*HEAD_FIELDS, "otro"]))
    known = value["data"].get(name) if inner else value.get(name)
    field = encoded(name) + b": " + encoded(draw(st.just(known) | JUNK))
    if not inner:
        return b"{" + field + b", " + text[1:]
    return text.replace(b'"data": {', b'"data": {' + field + b", ", 1)


@st.composite
def with_odd_numbers(draw: st.DrawFn) -> bytes:
    value = draw(EVENTS)
    name = draw(st.sampled_from(["size_kb", "text_len", "otro", "text"]))
    value["data"][name] = "@@"
    return encoded(value).replace(b'"@@"', draw(NUMBERS))


@st.composite
def with_odd_bytes(draw: st.DrawFn) -> bytes:
    line = draw(unchanged())
    place = draw(st.integers(0, len(line)))
    return line[:place] + draw(st.sampled_from(ESCAPES)) + line[place:]


@st.composite
def with_odd_letters(draw: st.DrawFn) -> bytes:
    value = draw(EVENTS)
    name = draw(st.sampled_from(["text", "subject", "external_id", "otro", "reason", "file_type"]))
    value["data"][name] = draw(st.sampled_from(["@@", "a@@", "@@b"]))
    return encoded(value).replace(b"@@", draw(st.sampled_from(ESCAPES)))


@st.composite
def with_names_in_escapes(draw: st.DrawFn) -> bytes:
    value = draw(EVENTS)
    value["schema_version"] = draw(st.sampled_from(["1", None, "2", 1]))
    name = draw(st.sampled_from(list(value)))
    escaped = b"".join(
        b"\\u%04x" % ord(letter) if draw(st.booleans()) else letter.encode() for letter in name
    )
    return encoded(value).replace(b'"' + name.encode() + b'"', b'"' + escaped + b'"', 1)


@st.composite
def with_deep_junk(draw: st.DrawFn) -> bytes:
    depth = draw(st.sampled_from([3, 60, 150, 5_000]))
    opened, closed = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
    value = draw(EVENTS)
    value["otro"] = "@@"
    return encoded(value).replace(b'"@@"', opened * depth + b"0" + closed * depth)


@st.composite
def cut_or_joined(draw: st.DrawFn) -> bytes:
    line = draw(unchanged())
    cut = draw(st.integers(1, len(line)))
    other = draw(
        st.sampled_from([b"", line, b" ", b"}", b"{}", b"{", b"[]", b",", b"\r", b"\xef\xbb"])
    )
    return draw(st.sampled_from([line[:cut] + other, other + line, line + other, line[:cut]]))


@st.composite
def no_event_at_all(draw: st.DrawFn) -> bytes:
    return encoded(draw(JUNK)).replace(b"\n", b" ")


MUTATED = (
    with_another_value()
    | with_another_moment_or_id()
    | with_a_field_left_out()
    | with_a_field_twice()
    | with_odd_numbers()
    | with_odd_bytes()
    | with_odd_letters()
    | with_names_in_escapes()
    | with_deep_junk()
    | cut_or_joined()
    | no_event_at_all()
).filter(lambda line: bool(line) and not line.isspace() and b"\n" not in line)


@settings(max_examples=600, deadline=None)
@given(MUTATED)
def test_whatever_befalls_a_line_both_ways_say_the_same(line: bytes) -> None:
    good = encoded(event("MESSAGE_ADDED", 1))
    assert_equal_answers([line])
    assert_equal_answers([good, line, good])


@settings(max_examples=150, deadline=None)
@given(st.lists(unchanged() | MUTATED, min_size=1, max_size=12))
def test_lines_of_every_kind_together_are_each_judged_alone(lines: list[bytes]) -> None:
    assert_equal_answers(lines)


def written(kind: str, number: int, *, compact: bool, ascii_only: bool) -> bytes:
    value = event(kind, number)
    separators = (",", ":") if compact else None
    return json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()


PLAIN = [
    written(kind, number, compact=compact, ascii_only=ascii_only)
    for kind in DATA
    for number, (compact, ascii_only) in enumerate(product([False, True], repeat=2))
]
"""Lines whose shapes are known by the time that a line comes which is nearly of one of them."""


@st.composite
def nearly_of_a_shape(draw: st.DrawFn) -> bytes:
    """A plain line with a few bytes of it changed, left out or put in, wherever they stand."""
    line = bytearray(draw(st.sampled_from(PLAIN)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(line) - 1))
        until = place + draw(st.integers(0, 2))
        line[place:until] = draw(
            st.sampled_from([b"", *ESCAPES, b'"', b"0", b"9", b"-", b",", b" "])
        )
    return bytes(line)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        (MUTATED | nearly_of_a_shape()).filter(
            lambda line: bool(line) and not line.isspace() and b"\n" not in line
        ),
        min_size=1,
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
def test_lines_broken_in_every_way_do_not_change_what_others_say(
    lines: list[bytes], luck: Random
) -> None:
    together = [*PLAIN, *lines]
    luck.shuffle(together)
    assert_equal_answers(PLAIN + together)


def test_values_with_escapes_are_read_in_lines_of_a_known_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ['Dice "ya" / \\u00e9', "línea\n\tdos", "☹ 😀 ya", "sin más", "\\", "\x7fa", "\u2028b"]
    lines = []
    for ascii_only in (True, False):
        for text in texts:
            value = event("MESSAGE_ADDED")
            value["data"]["text"] = text
            lines.append(json.dumps(value, ensure_ascii=ascii_only).encode())
    assert_equal_answers(lines)
    plain = [line for line in lines if b"\\\\" not in line]
    monkeypatch.setattr(raw_columns, "decode_event", None)
    assert len(read_events(split(plain)).rows) == len(plain)


def test_events_of_more_shapes_than_are_learned_are_read_all_the_same() -> None:
    lines = [encoded({**event("MESSAGE_ADDED", n), f"otro_{n}": n}) for n in range(100)]
    assert_equal_answers(lines)


def test_a_line_of_two_objects_does_not_lend_one_to_the_next_line() -> None:
    good = encoded(event("MESSAGE_ADDED"))
    assert_equal_answers([good + good, good[:20], good[20:], good])
    assert_equal_answers([good + b" " + good, good, good[:-1] + b"\0}", good])


def test_plain_events_never_wait_for_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [encoded(event(kind, n)) for n in range(50) for kind in DATA]
    monkeypatch.setattr(raw_columns, "decode_event", None)
    assert len(read_events(split(lines)).rows) == len(lines)


def test_one_broken_line_among_thousands_keeps_its_place() -> None:
    lines = [encoded(event("MESSAGE_ADDED", n)) for n in range(3_000)]
    lines[1234] = b'{"event_id": '
    lines[2345] = encoded({**event("MESSAGE_ADDED"), "ts": "ayer"})
    found = read_events(split(lines))
    assert [place for place, _ in found.refused] == [1234, 2345]
    assert found.places.tolist() == [n for n in range(3_000) if n not in (1234, 2345)]
    assert found.rows["event_id"].to_pylist()[1500] == event("MESSAGE_ADDED", 1501)["event_id"]


def test_no_lines_are_no_rows() -> None:
    assert at_once([]) == ([], [])
