"""Files as they are handed in: what kind they are, whether they are whole text, their records."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
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

Record = Mapping[str, Any] | bytes
"""A row by column, or the bytes of what could not be read as one."""

_CHUNK = 1 << 20
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
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class FileKind(StrEnum):
    """How a file holds its records."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One readable file. Text may be compressed with gzip (`.gz`)."""

    path: Path
    kind: FileKind

    @classmethod
    def find(cls, path: Path) -> SourceFile:
        """Look at name and size only. Raises `InputError` in one line."""
        if not path.is_file():
            what = "is a folder, expected a file" if path.is_dir() else "does not exist"
            msg = f"'{path}' {what}"
            raise InputError(msg)
        suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        kind = _SUFFIXES.get(suffix.lower())
        if kind is None:
            msg = f"'{path}' is of no known format; expected one of {', '.join(_SUFFIXES)} (or .gz)"
            raise InputError(msg)
        if path.stat().st_size == 0:
            raise _empty(path)
        return cls(path, FileKind(kind))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the bytes, decompressed."""
        try:
            opened = gzip.open if self.path.suffix == ".gz" else open
            with opened(self.path, "rb") as stream:
                yield stream  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError) as error:
            msg = f"'{self.path}' is not whole gzip data: {error}"
            raise InputError(msg) from error
        except OSError as error:
            msg = f"'{self.path}' cannot be read: {error.strerror or error}"
            raise InputError(msg) from error

    def digest(self, progress: Callable[[int], None] = lambda size: None) -> str:
        """Return the SHA-256 of the bytes, having checked that text is UTF-8 throughout.

        Raises `InputError` that says at which line and byte it is not.
        """
        digest = hashlib.sha256()
        text = _TextCheck(self.path) if self.kind is not FileKind.PARQUET else None
        with self.open() as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                if text is not None:
                    text.feed(chunk)
                progress(len(chunk))
        if text is not None:
            text.end()
        return digest.hexdigest()

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


def _empty(path: Path) -> InputError:
    return InputError(f"'{path}' is empty: there is nothing to land")


class _TextCheck:
    """Follows bytes that must be UTF-8, with something in them besides white space."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._bytes = self._lines = 0
        self._blank = True

    def feed(self, chunk: bytes) -> None:
        if self._bytes == 0 and chunk.startswith(_UTF16):
            raise self._broken(0, "it looks like UTF-16")
        held = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(chunk)
        except UnicodeDecodeError as error:
            start = error.start - held
            self._lines += chunk.count(b"\n", 0, max(start, 0))
            raise self._broken(self._bytes + start, "") from None
        self._blank = self._blank and not text.strip("\ufeff \t\r\n")
        self._lines += chunk.count(b"\n")
        self._bytes += len(chunk)

    def end(self) -> None:
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            raise self._broken(self._bytes, "it ends in the middle of a letter") from None
        if self._blank:
            raise _empty(self._path)

    def _broken(self, offset: int, hint: str) -> InputError:
        remedy = "convert it, for example with `iconv -f latin1 -t utf-8`"
        return InputError(
            f"'{self._path}' is not UTF-8 at line {self._lines + 1}, byte {offset}: "
            + "; ".join(part for part in (hint, remedy) if part)
        )
