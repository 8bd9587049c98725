"""Ingest: bring a file into Raw, once, whole, with its manifest and checksums.

Raw of an event file is that file's own lines, byte for byte, those that are broken included:
Bronze judges them. What is added at landing (tenant, source, schema version) stands in the
manifest and in the path, never in the lines. A file of plain texts becomes event lines.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from contracts.raw import SCHEMA_VERSION
from lakehouse.control.landings import Landing, LandingIndex
from lakehouse.data.storage import FileStore
from lakehouse.errors import InputError
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from pipelines.mapping import ColumnMapping, EventMaker
from pipelines.raw_blocks import count_filled
from pipelines.source_files import FileKind, SourceFile

EVENTS_FILE = "events.jsonl"

_SOURCE = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_LONGEST_SOURCE = 40


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of one file. `is_new` is False where the same file had landed before.

    `left_out` counts, by field, declared values that were not understood.
    """

    landing: Landing
    events: int
    is_new: bool
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class RawStore:
    """The two places a landing is written to: the files, and the index of them."""

    files: FileStore
    landings: LandingIndex


def ingest(
    file: SourceFile,
    tenant: TenantContext,
    *,
    source: str,
    mapping: ColumnMapping | None,
    raw: RawStore,
    at: datetime,
    progress: Callable[[int], None] = lambda size: None,
) -> Landed:
    """Land one file; the same content with the same mapping, for the same source, lands once.

    A landing that was killed is written again at the same path with the same bytes. Without a
    `mapping` the file must hold Raw events, and is read once. `progress` is told bytes read since
    its last call.
    """
    check_source(source)
    with tempfile.TemporaryDirectory(prefix="plata-landing-") as folder:
        draft = Path(folder) / EVENTS_FILE
        left_out: dict[str, int] = {}
        if mapping is None:
            _require_events(file)
            written = _write_draft(draft, file, file.blocks(progress))
            key = written.sha256
        else:
            key = _keyed(file.digest(progress), mapping)
            mapping.require(file.columns(), file=str(file.path))
        landing = raw.landings.claim(_claim(file, source, key, at), tenant)
        if landing.complete:
            return Landed(landing, landing.events or 0, is_new=False, left_out={})
        if mapping is not None:
            maker = EventMaker(
                mapping, tenant_id=tenant.tenant_id, source=source, landed_at=landing.landed_at
            )
            written = _write_draft(draft, file, _made(file, maker))
            left_out = dict(maker.noticed)
        manifest = _manifest(file, tenant, landing, mapping, written, left_out)
        _publish(raw.files, tenant, landing, draft, manifest, written)
    raw.landings.complete(landing, tenant, landed_sha256=written.sha256, events=written.lines)
    return Landed(landing, written.lines, is_new=True, left_out=left_out)


def check_source(source: str) -> None:
    """Raise `InputError` where the name of a source cannot be a part of a path."""
    if len(source) > _LONGEST_SOURCE or not _SOURCE.fullmatch(source):
        msg = (
            f"'{source}' is not a source name: expected up to {_LONGEST_SOURCE} lower-case "
            "letters and digits, joined by single hyphens or underscores, such as 'ventanilla'"
        )
        raise InputError(msg)


@dataclass(frozen=True, slots=True)
class _Written:
    sha256: str
    size: int
    lines: int


def _require_events(file: SourceFile) -> None:
    if file.kind is not FileKind.JSONL:
        msg = (
            f"'{file.path}' holds plain texts: say which column is which, such as "
            f"--map text=COLUMN; it has: {', '.join(file.columns())}"
        )
        raise InputError(msg)


def _keyed(content: str, mapping: ColumnMapping) -> str:
    return hashlib.sha256(f"{content}\n{mapping.as_json()}".encode()).hexdigest()


def _claim(file: SourceFile, source: str, key: str, at: datetime) -> Landing:
    run_id = RunId(f"ingest-{at:%Y%m%dT%H%M%S}-{key[:8]}")
    folder = f"raw/pqrs/source={source}/day={at:%Y-%m-%d}/run_id={run_id}"
    return Landing(source, key, run_id, f"{folder}/{EVENTS_FILE}", file.path.name, at)


def _write_draft(draft: Path, file: SourceFile, blocks: Iterator[bytes]) -> _Written:
    """Write whole lines, as many at once as there are."""
    digest, size, count = hashlib.sha256(), 0, 0
    with draft.open("wb") as sink:
        for block in blocks:
            sink.write(block)
            digest.update(block)
            size += len(block)
            count += count_filled(block)
    if count == 0:
        msg = f"'{file.path}' has no rows: there is nothing to land"
        raise InputError(msg)
    return _Written(digest.hexdigest(), size, count)


def _made(file: SourceFile, maker: EventMaker) -> Iterator[bytes]:
    for record in file.records():
        if isinstance(record, bytes):
            yield record + b"\n"
        else:
            yield b"".join(line + b"\n" for line in maker.lines(record))


def _manifest(
    file: SourceFile,
    tenant: TenantContext,
    landing: Landing,
    mapping: ColumnMapping | None,
    written: _Written,
    left_out: dict[str, int],
) -> bytes:
    content = {
        "schema_version": SCHEMA_VERSION,
        "tenant_id": tenant.tenant_id,
        "source": landing.source,
        "run_id": landing.run_id,
        "landed_at": landing.landed_at.isoformat(),
        "file_name": landing.file_name,
        "file_kind": file.kind.value,
        "content_sha256": landing.content_sha256,
        "mapping": None if mapping is None else json.loads(mapping.as_json()),
        "events": written.lines,
        "bytes": written.size,
        "left_out": left_out,
    }
    return json.dumps(content, sort_keys=True, ensure_ascii=False, indent=2).encode() + b"\n"


def _publish(
    files: FileStore,
    tenant: TenantContext,
    landing: Landing,
    draft: Path,
    manifest: bytes,
    written: _Written,
) -> None:
    folder = landing.path.removesuffix(f"/{EVENTS_FILE}")
    sums = {EVENTS_FILE: written.sha256, "manifest.json": hashlib.sha256(manifest).hexdigest()}
    files.write(tenant, landing.path, draft)
    files.write(tenant, f"{folder}/manifest.json", manifest)
    checksums = json.dumps(sums, sort_keys=True, indent=2).encode() + b"\n"
    files.write(tenant, f"{folder}/checksums.json", checksums)
