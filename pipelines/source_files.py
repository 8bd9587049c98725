"""Files as they are handed in: what kind they are, whether they are whole text, their records."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.errors import InputError
from pipelines.encodings import BrokenLine, Utf8Check
from pipelines.raw_blocks import whole_lines

Record = Mapping[str, Any] | bytes
"""A row by column, or the bytes of what could not be read as one."""

_CHUNK = 1 << 20
_BUFFER = 1 << 20
_LONGEST_FIELD = 1 << 26
_SAMPLE_RECORDS = 200
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_COMPRESSED_SUFFIXES = (".gz", ".zst", ".zstd")


class FileKind(StrEnum):
    """How a file holds its records."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One readable file. `compression` is what its first bytes say: gzip, zstd or None."""

    path: Path
    kind: FileKind
    compression: str | None = None

    @classmethod
    def find(cls, path: Path) -> SourceFile:
        """Look at name, size and first bytes only. Raises `InputError` in one line."""
        if not path.is_file():
            what = "is a folder, expected a file" if path.is_dir() else "does not exist"
            msg = f"'{path}' {what}"
            raise InputError(msg)
        kind = _kind(path)
        if kind is None:
            known = ", ".join(_SUFFIXES)
            msg = f"'{path}' is of no known format; expected one of {known} (or .gz, .zst)"
            raise InputError(msg)
        if path.stat().st_size == 0:
            raise _empty(path)
        return cls(path, kind, _compression(path))

    @classmethod
    def find_all(cls, places: Sequence[Path]) -> list[SourceFile]:
        """Find files, every file of a known format in folders, and what patterns match, once each.

        Files of one folder come in the order of their names. Raises `InputError`.
        """
        found = [path for place in places for path in _expanded(place)]
        return [cls.find(path) for path in dict.fromkeys(found)]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the bytes, decompressed. Raises `InputError` where they are not whole."""
        try:
            with pa.OSFile(str(self.path)) as file:
                stream = (
                    file
                    if self.compression is None
                    else pa.CompressedInputStream(file, self.compression)
                )
                yield io.BufferedReader(stream, _BUFFER)
        except OSError as error:
            what = "cannot be read" if error.strerror else f"is not whole {self.compression} data"
            msg = f"'{self.path}' {what}: {error.strerror or error}"
            raise InputError(msg) from error

    def blocks(self, progress: Callable[[int], None]) -> Iterator[bytes]:
        """Yield the text of events in blocks of whole lines; a few of them may be broken.

        Raises `InputError` at the end where the text is of another encoding than UTF-8, or blank.
        """
        check, blank = Utf8Check(), True
        with self.open() as stream:
            for block in _named(whole_lines(stream), self.path):
                check.feed(block)
                blank = blank and _is_blank(block)
                progress(len(block))
                yield block
        if check.first is not None and check.is_of_another_encoding:
            raise self._not_utf8(check.first)
        if blank:
            raise _empty(self.path)

    def digest(self, progress: Callable[[int], None] = lambda size: None) -> str:
        """Return the SHA-256 of the bytes, having checked that text is UTF-8 throughout.

        Raises `InputError` that says at which line and byte it is not.
        """
        digest = hashlib.sha256()
        if self.kind is FileKind.PARQUET:
            with self.open() as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    progress(len(chunk))
            return digest.hexdigest()
        check, blank = Utf8Check(), True
        with self.open() as stream:
            for block in _named(whole_lines(stream), self.path):
                check.feed(block)
                if check.first is not None:
                    raise self._not_utf8(check.first)
                blank = blank and _is_blank(block)
                digest.update(block)
                progress(len(block))
        if blank:
            raise _empty(self.path)
        return digest.hexdigest()

    def _not_utf8(self, found: BrokenLine) -> InputError:
        name = shlex.quote(str(self.path))
        unpack = {"gzip": f"gzip -dc {name} | ", "zstd": f"zstd -dc {name} | "}
        stem = self.path.stem if self.compression else self.path.name
        target = shlex.quote(f"utf8-{stem}")
        convert = f"iconv -f {found.encoding} -t UTF-8"
        remedy = f"{unpack[self.compression]}{convert}" if self.compression else f"{convert} {name}"
        return InputError(
            f"'{self.path}' is not UTF-8 at line {found.number}, byte {found.offset}: it seems to "
            f"be {found.encoding}; convert it: {remedy} > {target}"
        )

    def columns(self) -> list[str]:
        """Return the names of the columns; of JSON lines, those of the first records."""
        if self.kind is FileKind.PARQUET:
            return [str(name) for name in self._parquet().schema_arrow.names]
        if self.kind is FileKind.CSV:
            with self._reader() as reader:
                return list(reader.fieldnames or [])
        found: dict[str, None] = {}
        for record in islice(self.records(), _SAMPLE_RECORDS):
            if not isinstance(record, bytes):
                found.update(dict.fromkeys(record))
        return list(found)

    def records(self) -> Iterator[Record]:
        """Yield every record, in order."""
        if self.kind is FileKind.PARQUET:
            for batch in self._parquet().iter_batches(batch_size=4096):
                yield from batch.to_pylist()
        elif self.kind is FileKind.CSV:
            yield from self._csv_records()
        else:
            yield from self._json_records()

    def _parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowInvalid, OSError) as error:
            msg = f"'{self.path}' is not a Parquet file: {' '.join(str(error).split())}"
            raise InputError(msg) from error

    @contextmanager
    def _reader(self) -> Iterator[csv.DictReader[str]]:
        csv.field_size_limit(_LONGEST_FIELD)
        with self.open() as sample:
            header = sample.readline().decode("utf-8-sig", "replace")
        delimiter = max(",;\t|", key=header.count)
        with self.open() as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            try:
                yield csv.DictReader(text, delimiter=delimiter, strict=True)
            finally:
                text.detach()

    def _csv_records(self) -> Iterator[Record]:
        with self._reader() as reader:
            try:
                for row in reader:
                    whole = None not in row and None not in row.values()
                    yield row if whole else msgspec.json.encode(list(row.values()))
            except csv.Error as error:
                msg = (
                    f"'{self.path}' is not CSV after line {reader.line_num}: {error}; "
                    "a quotation mark may be open"
                )
                raise InputError(msg) from error

    def _json_records(self) -> Iterator[Record]:
        with self.open() as stream:
            for line in stream:
                content = line.strip()
                if not content:
                    continue
                try:
                    record = msgspec.json.decode(content)
                except (msgspec.DecodeError, RecursionError):
                    record = None
                yield record if isinstance(record, dict) else content


def _kind(path: Path) -> FileKind | None:
    packed = path.suffix.lower() in _COMPRESSED_SUFFIXES
    suffix = Path(path.stem).suffix if packed else path.suffix
    kind = _SUFFIXES.get(suffix.lower())
    return None if kind is None else FileKind(kind)


def _compression(path: Path) -> str | None:
    with path.open("rb") as stream:
        head = stream.read(4)
    return next((name for magic, name in _COMPRESSIONS if head.startswith(magic)), None)


def _expanded(place: Path) -> list[Path]:
    if place.is_dir():
        held = sorted(path for path in place.rglob("*") if path.is_file() and _kind(path))
        what = "holds no file of a known format"
    elif not place.exists() and glob.has_magic(str(place)):
        held = sorted(Path(name) for name in glob.glob(str(place), recursive=True))
        what = "matches no file"
    else:
        return [place]
    if not held:
        msg = f"'{place}' {what}; expected one of {', '.join(_SUFFIXES)} (or .gz, .zst)"
        raise InputError(msg)
    return held


def _empty(path: Path) -> InputError:
    return InputError(f"'{path}' is empty: there is nothing to land")


def _is_blank(block: bytes) -> bool:
    return not block.removeprefix(b"\xef\xbb\xbf").strip()


def _named(blocks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Say in an error which file it is."""
    try:
        yield from blocks
    except InputError as error:
        msg = f"'{path}': {error}"
        raise InputError(msg) from error
