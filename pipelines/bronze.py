"""Bronze: every line of Raw becomes a typed row, or a quarantined one with its reason.

Structure only: nothing is guessed, mended or interpreted here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.raw import (
    AttachmentAddedEvent,
    BrokenLineError,
    MessageAddedEvent,
    RawEvent,
    StatusChangedEvent,
    TicketCreatedEvent,
    decode_event,
)
from contracts.tables import MOMENT, PQRS_EVENTS, QUARANTINE
from lakehouse.control.landings import Landing
from lakehouse.control.runs import QualityResult
from lakehouse.data.storage import FileStore
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from pipelines.errors import RawChangedError
from pipelines.steps import OnStep, Progress, untold, write

CHUNK_LINES = 100_000
"""Lines a commit. A constant, not a setting: a resumed run must cut its files the same way."""

CHUNK_BYTES = 64 << 20
"""Bytes after which a chunk ends though it has fewer lines; a constant for the same reason."""

DUPLICATE = "duplicate event_id"

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_CLOCKS_DIFFER = timedelta(days=1)
_BLOCK_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"

_Event = tuple[int, RawEvent]
_Broken = tuple[int, str]


def refine_landings(
    run: RunContext,
    landings: Sequence[Landing],
    *,
    store: TableStore,
    files: FileStore,
    at: int | None,
    on_step: OnStep,
    progress: Progress = untold,
) -> None:
    """Take landings to `pqrs_events` and `quarantine`, one commit a chunk of lines.

    An event is a duplicate where its id is in Bronze at version `at` (None: Bronze was empty) or
    came earlier in this run.
    """
    known = _known_ids(run, store, at)
    for landing in landings:
        _verify(files, run, landing)
        for number, chunk in enumerate(_chunks(files, run, landing)):
            rows, broken = read_lines(chunk, landing, run)
            fresh, repeated = _apart(rows, known)
            known.append(fresh["event_id"].combine_chunks())
            refused = pa.concat_tables([broken, _as_duplicates(repeated)])
            part = f"{landing.run_id}/{number:05d}"
            write(store, PQRS_EVENTS, fresh, run, part=part, on_step=on_step)
            write(store, QUARANTINE, refused, run, part=part, on_step=on_step)
            progress(len(chunk))


def read_lines(
    lines: Sequence[tuple[int, bytes]], landing: Landing, run: RunContext
) -> tuple[pa.Table, pa.Table]:
    """Decode numbered lines into rows of `pqrs_events` and of `quarantine`."""
    events: list[_Event] = []
    broken: list[_Broken] = []
    judge = _Judge(run.tenant.tenant_id, landing.landed_at + _CLOCKS_DIFFER)
    for number, line in lines:
        try:
            events.append((number, judge.accept(decode_event(line))))
        except BrokenLineError as error:
            broken.append((number, str(error)))
    return _event_rows(events, landing, run), _quarantine_rows(broken, landing, run)


CHECKED_COLUMNS = ["event_id", "ticket_id", "event_type", "text_len", "ts"]


def check_bronze(rows: pa.Table, quarantined: int) -> list[QualityResult]:
    """Judge the run's own rows of `pqrs_events` by the minimum checks of the layer."""
    messages = rows.filter(pc.equal(rows["event_type"], "MESSAGE_ADDED"))
    without_text = len(messages) - _count(pc.greater(messages["text_len"], 0))
    ids = pc.or_(pc.is_null(rows["event_id"]), pc.is_null(rows["ticket_id"]))
    repeated = len(rows) - pc.count_distinct(rows["event_id"]).as_py()
    valid = pc.greater_equal(rows["ts"], pa.scalar(_EARLIEST, MOMENT))
    found = f"{quarantined} lines"
    return [
        _critical("event_id unique", repeated),
        _critical("required ids not null", _count(ids)),
        _critical("text length > 0", without_text),
        _critical("timestamps valid", len(rows) - _count(valid)),
        QualityResult(
            "bronze", "quarantine", "no line in quarantine", "warning", not quarantined, found, "0"
        ),
    ]


def _critical(check: str, bad: int) -> QualityResult:
    return QualityResult(
        "bronze", "pqrs_events", check, "critical", bad == 0, f"{bad} rows", "0 rows"
    )


def _count(flags: pa.ChunkedArray) -> int:
    return pc.sum(flags).as_py() or 0


@dataclass(frozen=True, slots=True)
class _Judge:
    """Refuses events that are well formed and still cannot be true."""

    tenant_id: str
    latest: datetime

    def accept(self, event: RawEvent) -> RawEvent:
        if event.tenant_id is not None and event.tenant_id != self.tenant_id:
            raise BrokenLineError("tenant_id: the event is of another tenant")
        if event.ts < _EARLIEST:
            raise BrokenLineError("ts: before 1990, expected a moment when the event happened")
        if event.ts > self.latest:
            raise BrokenLineError("ts: more than a day after the file landed")
        return event


def _known_ids(run: RunContext, store: TableStore, at: int | None) -> list[pa.Array]:
    if at is None:
        return []
    rows = store.scan(PQRS_EVENTS.table, run.tenant, at=at, columns=["event_id"])
    return [] if rows is None else list(rows["event_id"].chunks)


def _verify(files: FileStore, run: RunContext, landing: Landing) -> None:
    with files.open(run.tenant, landing.path) as stream:
        digest = hashlib.sha256()
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    if digest.hexdigest() != landing.landed_sha256:
        msg = (
            f"Raw file '{landing.path}' is not the one that landed: its SHA-256 is "
            f"{digest.hexdigest()[:12]}…, expected {str(landing.landed_sha256)[:12]}…; "
            "Raw is never changed, restore it from a copy"
        )
        raise RawChangedError(msg)


def _chunks(
    files: FileStore, run: RunContext, landing: Landing
) -> Iterator[list[tuple[int, bytes]]]:
    with files.open(run.tenant, landing.path) as stream:
        numbered = (
            (number, line.removeprefix(_BOM) if number == 1 else line)
            for number, line in enumerate(stream, start=1)
        )
        filled = ((number, line) for number, line in numbered if not line.isspace())
        chunk: list[tuple[int, bytes]] = []
        size = 0
        for number, line in filled:
            chunk.append((number, line))
            size += len(line)
            if len(chunk) == CHUNK_LINES or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk


def _apart(rows: pa.Table, known: Sequence[pa.Array]) -> tuple[pa.Table, pa.Table]:
    """Part rows into the first of each event_id, and those that came before."""
    ids = rows["event_id"].combine_chunks()
    before = pa.chunked_array(known, pa.string())
    common = before.filter(pc.is_in(before, value_set=ids))
    first = np.zeros(len(ids), dtype=bool)
    encoded = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    first[np.unique(encoded, return_index=True)[1]] = True
    fresh = pc.and_not(pa.array(first), pc.is_in(ids, value_set=common.combine_chunks()))
    return rows.filter(fresh), rows.filter(pc.invert(fresh))


def _as_duplicates(rows: pa.Table) -> pa.Table:
    place = rows.drop_columns(["reason"])
    return place.append_column(
        QUARANTINE.schema.field("reason"), pa.repeat(DUPLICATE, len(rows))
    ).select(QUARANTINE.schema.names)


def _quarantine_rows(broken: list[_Broken], landing: Landing, run: RunContext) -> pa.Table:
    columns = {
        "raw_line": pa.array([number for number, _ in broken], pa.int64()),
        "reason": pa.array([reason for _, reason in broken], pa.string()),
        "day": pa.array([landing.landed_at.astimezone(UTC).date()] * len(broken), pa.date32()),
    }
    return _completed(columns, len(broken), landing, run, QUARANTINE.schema)


def _event_rows(events: list[_Event], landing: Landing, run: RunContext) -> pa.Table:
    tables = [
        _rows_of(kind, [pair for pair in events if type(pair[1]) is kind], landing, run)
        for kind in _DATA_COLUMNS
    ]
    return pa.concat_tables(tables).sort_by("raw_line")


_DATA_COLUMNS: dict[type[RawEvent], dict[str, str]] = {
    TicketCreatedEvent: {
        "external_id": "external_id",
        "source_channel": "source_channel",
        "pqrs_code": "pqrs_type",
        "priority": "priority",
        "geo_region": "geo_region",
        "geo_municipio": "geo_municipio",
        "dane_city_code": "dane_city_code",
        "subject": "subject",
    },
    MessageAddedEvent: {"role": "role", "text": "text"},
    StatusChangedEvent: {
        "status_from": "status_from",
        "status_to": "status_to",
        "actor_role": "actor_role",
        "reason": "reason",
    },
    AttachmentAddedEvent: {
        "file_type": "file_type",
        "size_kb": "size_kb",
        "source_channel": "source_channel",
    },
}
"""By kind of event: the column of Bronze, and the field of `data` it holds."""


def _rows_of(
    kind: type[RawEvent], events: list[_Event], landing: Landing, run: RunContext
) -> pa.Table:
    schema = PQRS_EVENTS.schema
    count = len(events)
    found = [event for _, event in events]
    moments = pa.array([event.ts for event in found], MOMENT)
    columns = {
        "event_id": pa.array([str(event.event_id) for event in found], pa.string()),
        "ticket_id": pa.array([str(event.ticket_id) for event in found], pa.string()),
        "event_type": pa.repeat(kind.__struct_config__.tag, count),
        "ts": moments,
        "day": moments.cast(pa.date32()),
        "schema_version": pa.array([event.schema_version for event in found], pa.string()),
        "raw_line": pa.array([number for number, _ in events], pa.int64()),
    }
    for column, name in _DATA_COLUMNS[kind].items():
        values = [getattr(event.data, name) for event in found]
        columns[column] = pa.array(values, schema.field(column).type)
    if kind is MessageAddedEvent:
        columns["text_len"] = pc.utf8_length(columns["text"]).cast(pa.int64())
    return _completed(columns, count, landing, run, schema)


def _completed(
    columns: dict[str, pa.Array], count: int, landing: Landing, run: RunContext, schema: pa.Schema
) -> pa.Table:
    """Add what is the same for every row, and nulls where a kind of event has no such field."""
    same = {
        "tenant_id": run.tenant.tenant_id,
        "run_id": run.run_id,
        "source": landing.source,
        "raw_file": landing.path,
    }
    filled = {
        **{name: pa.repeat(value, count) for name, value in same.items()},
        **columns,
    }
    arrays = [
        filled[field.name] if field.name in filled else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
