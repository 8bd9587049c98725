"""Bronze: every line of Raw becomes a typed row, or a quarantined one with its reason.

Structure only: nothing is guessed, mended or interpreted here. Blocks of a file are decoded side by
side, as many as Arrow has threads, and taken up in the file's order; the file is read once.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from contracts.raw_columns import ReadEvents, read_events
from contracts.raw_lines import Flags, Lines
from contracts.tables import MOMENT, PQRS_EVENTS, QUARANTINE
from lakehouse.control.landings import Landing
from lakehouse.data.storage import FileStore
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from pipelines.audits import Audits
from pipelines.errors import RawChangedError
from pipelines.known_ids import KnownIds
from pipelines.raw_blocks import RawBlock, raw_blocks
from pipelines.steps import OnStep, Progress, stage, untold

PART_BYTES = 64 << 20
"""Raw bytes a part. A constant, not a setting: a resumed run must cut its files the same way."""

DUPLICATE = "duplicate event_id"

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_CLOCKS_DIFFER = timedelta(days=1)
_BLOCKS_AHEAD = 12
"""Blocks that may be decoded while a part is being staged; they and a part are what is held."""

_HASH_LETTERS = 32
_PLACE = ("raw_line", "raw_offset", "content_hash")


def stage_landings(
    run: RunContext,
    landings: Sequence[Landing],
    *,
    store: TableStore,
    files: FileStore,
    at: int | None,
    on_step: OnStep,
    progress: Progress = untold,
    audits: Audits | None = None,
) -> None:
    """Stage what landings hold for `pqrs_events` and `quarantine`, part by part.

    An event is a duplicate where its id is in Bronze at version `at` (None: Bronze was empty) or
    came earlier in this run.
    """
    known = _known_ids(run, store, at)
    for landing in landings:
        for number, decoded in enumerate(_parts(files, run, landing)):
            first = known.admit(decoded.rows["event_id"].combine_chunks())
            fresh, repeated = _apart(decoded.rows, first)
            refused = pa.concat_tables([decoded.refused, _as_duplicates(repeated)])
            part = f"{landing.run_id}/{number:05d}"
            stage(store, PQRS_EVENTS, fresh, run, part=part, on_step=on_step, audits=audits)
            stage(store, QUARANTINE, refused, run, part=part, on_step=on_step, audits=audits)
            progress(len(fresh) + len(refused))


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of `pqrs_events` in the order of their lines, and of `quarantine`."""

    rows: pa.Table
    refused: pa.Table


def decode_block(block: RawBlock, landing: Landing, run: RunContext) -> Decoded:
    """Make rows of a block's lines. Which of them are duplicates is not known here."""
    place = pa.table(
        {
            "raw_line": block.numbers,
            "raw_offset": block.offsets,
            "content_hash": _content_hashes(block.lines),
        }
    )
    read = read_events(block.lines)
    rows = _event_rows(read, place, landing, run)
    refused = _quarantine_rows(
        place.take(pa.array([at for at, _ in read.refused], pa.int64())),
        pa.array([reason for _, reason in read.refused], pa.string()),
        landing,
        run,
    )
    reasons = _reasons(read.rows, landing, run)
    if reasons.null_count == len(reasons):
        return Decoded(rows, refused)
    untrue = pc.is_valid(reasons)
    unlikely = rows.filter(untrue).select(_PLACE)
    refused = pa.concat_tables(
        [refused, _quarantine_rows(unlikely, reasons.drop_null(), landing, run)]
    )
    return Decoded(rows.filter(pc.invert(untrue)), refused.sort_by("raw_line"))


def _parts(files: FileStore, run: RunContext, landing: Landing) -> Iterator[Decoded]:
    """Gather decoded blocks into parts. Raises `RawChangedError` at the end of a changed file."""
    held: list[Decoded] = []
    size = 0
    for block_size, decoded in _decoded(files, run, landing):
        held.append(decoded)
        size += block_size
        if size >= PART_BYTES:
            yield _together(held)
            held, size = [], 0
    if held:
        yield _together(held)


def _decoded(files: FileStore, run: RunContext, landing: Landing) -> Iterator[tuple[int, Decoded]]:
    """Yield each block's bytes and rows, in the file's order."""
    digest = hashlib.sha256()
    decode = partial(decode_block, landing=landing, run=run)
    pending: deque[tuple[int, Future[Decoded]]] = deque()
    with (
        files.open(run.tenant, landing.path) as stream,
        ThreadPoolExecutor(pa.cpu_count()) as pool,
    ):
        for block in raw_blocks(stream):
            digest.update(block.lines.data)
            pending.append((len(block.lines.data), pool.submit(decode, block)))
            if len(pending) > _BLOCKS_AHEAD:
                size, ready = pending.popleft()
                yield size, ready.result()
        for size, ready in pending:
            yield size, ready.result()
    _require_unchanged(landing, digest.hexdigest())


def _together(decoded: Sequence[Decoded]) -> Decoded:
    return Decoded(
        pa.concat_tables(block.rows for block in decoded),
        pa.concat_tables(block.refused for block in decoded),
    )


def _require_unchanged(landing: Landing, found: str) -> None:
    if found != landing.landed_sha256:
        msg = (
            f"Raw file '{landing.path}' is not the one that landed: its SHA-256 is "
            f"{found[:12]}…, expected {str(landing.landed_sha256)[:12]}…; "
            "Raw is never changed, restore it from a copy"
        )
        raise RawChangedError(msg)


def _reasons(read: pa.Table, landing: Landing, run: RunContext) -> pa.ChunkedArray:
    """Say why events that are well formed still cannot be true; null where they can."""
    foreign = pc.not_equal(read["tenant_id"], run.tenant.tenant_id).fill_null(False)
    early = pc.less(read["ts"], pa.scalar(_EARLIEST, MOMENT))
    late = pc.greater(read["ts"], pa.scalar(landing.landed_at + _CLOCKS_DIFFER, MOMENT))
    return pc.case_when(
        pc.make_struct(foreign, early, late),
        "tenant_id: the event is of another tenant",
        "ts: before 1990, expected a moment when the event happened",
        "ts: more than a day after the file landed",
    )


def _content_hashes(lines: Lines) -> pa.Array:
    """Return each line's XXH3 of 128 bits, by which to know it; the file's seal is its SHA-256."""
    data, digest = lines.data, xxhash.xxh3_128_digest
    places = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
    letters = b"".join([digest(data[start:end]) for start, end in places]).hex().encode()
    bounds = np.arange(len(lines) + 1, dtype=np.int32) * _HASH_LETTERS
    return pa.StringArray.from_buffers(len(lines), pa.py_buffer(bounds), pa.py_buffer(letters))


def _known_ids(run: RunContext, store: TableStore, at: int | None) -> KnownIds:
    known = KnownIds()
    if at is not None:
        rows = store.scan(PQRS_EVENTS.table, run.tenant, at=at, columns=["event_id"])
        for chunk in [] if rows is None else rows["event_id"].chunks:
            known.add(chunk)
    return known


def _apart(rows: pa.Table, first: Flags) -> tuple[pa.Table, pa.Table]:
    """Part rows into the first of each event_id, and those that came before."""
    if first.all():
        return rows, rows.slice(0, 0)
    return rows.filter(pa.array(first)), rows.filter(pa.array(~first))


def _as_duplicates(rows: pa.Table) -> pa.Table:
    reason = rows.column_names.index("reason")  # a change of state has one of its own
    told = rows.set_column(reason, "reason", pa.repeat(DUPLICATE, len(rows)))
    return told.select(QUARANTINE.schema.names).cast(QUARANTINE.schema)


def _quarantine_rows(
    place: pa.Table, reasons: pa.ChunkedArray, landing: Landing, run: RunContext
) -> pa.Table:
    day = landing.landed_at.astimezone(UTC).date()
    columns = {
        **{name: place[name] for name in _PLACE},
        "reason": reasons,
        "day": pa.repeat(pa.scalar(day, pa.date32()), len(place)),
    }
    return _completed(columns, len(place), landing, run, QUARANTINE.schema)


def _event_rows(read: ReadEvents, place: pa.Table, landing: Landing, run: RunContext) -> pa.Table:
    own = place if len(read.places) == len(place) else place.take(pa.array(read.places))
    columns = {
        **{name: read.rows[name] for name in read.rows.column_names},
        **{name: own[name] for name in _PLACE},
        "pqrs_code": read.rows["pqrs_type"],
        "text_len": pc.utf8_length(read.rows["text"]).cast(pa.int64()),
        "day": read.rows["ts"].cast(pa.date32()),
    }
    return _completed(columns, len(read.rows), landing, run, PQRS_EVENTS.schema)


def _completed(
    columns: Mapping[str, pa.ChunkedArray],
    count: int,
    landing: Landing,
    run: RunContext,
    schema: pa.Schema,
) -> pa.Table:
    """Add what is the same for every row."""
    same = {
        "tenant_id": run.tenant.tenant_id,
        "run_id": run.run_id,
        "source": landing.source,
        "raw_file": landing.path,
    }
    filled = {**columns, **{name: pa.repeat(value, count) for name, value in same.items()}}
    return pa.table([filled[name] for name in schema.names], schema=schema)
