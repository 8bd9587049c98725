"""The one seam to storage: the lake is a folder or a bucket, and a tenant is a prefix of it."""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow.fs as pafs

from lakehouse.data.tables import TableRef
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LakeRoot:
    """Where the lake is. `uri` is an absolute folder or `s3://bucket/prefix`.

    `options` go to delta-rs as they are (`AWS_ENDPOINT_URL`, …).
    """

    uri: str
    options: dict[str, str] = field(default_factory=dict)

    def table_uri(self, table: TableRef, tenant: TenantContext) -> str:
        """Locate a table: `<lake>/<tenant>/<layer>/<entity>`."""
        return f"{self.uri}/{tenant.tenant_id}/{table.layer}/{table.entity}"

    def own_reader(self, table: TableRef, tenant: TenantContext) -> pafs.FileSystem | None:
        """Return Arrow's own reader of a table in a folder; None for a bucket.

        The reader delta-rs brings is Python code: where a program ends right after it read,
        Arrow's threads come back to an interpreter that is gone, and the process aborts.
        """
        if "://" in self.uri:
            return None
        return pafs.SubTreeFileSystem(self.table_uri(table, tenant), pafs.LocalFileSystem())

    def table_filesystem(self, table: TableRef, tenant: TenantContext) -> pafs.SubTreeFileSystem:
        """Return a file system whose paths are relative to a table."""
        filesystem, base = pafs.FileSystem.from_uri(self.table_uri(table, tenant))
        return pafs.SubTreeFileSystem(base, filesystem)


class FileStore:
    """Immutable files under a tenant's prefix. A file is whole or absent, never half-written."""

    def __init__(self, root: LakeRoot) -> None:
        self._filesystem, self._base = pafs.FileSystem.from_uri(root.uri)

    def exists(self, tenant: TenantContext, path: str) -> bool:
        """Tell whether the file is there, whole."""
        info = self._filesystem.get_file_info(self._locate(tenant, path))
        return bool(info.type == pafs.FileType.File)

    def read(self, tenant: TenantContext, path: str) -> bytes:
        """Return the whole file. Raises FileNotFoundError where there is none."""
        with self.open(tenant, path) as stream:
            return stream.read()

    @contextmanager
    def open(self, tenant: TenantContext, path: str) -> Iterator[BinaryIO]:
        """Open a file as a binary stream. Raises FileNotFoundError where there is none."""
        with self._filesystem.open_input_stream(self._locate(tenant, path)) as stream:
            yield io.BufferedReader(stream, _BUFFER_BYTES)

    def write(self, tenant: TenantContext, path: str, content: bytes | Path) -> None:
        """Put bytes, or a copy of a local file, at `path`; an equal path is replaced whole."""
        target = self._locate(tenant, path)
        if isinstance(self._filesystem, pafs.LocalFileSystem):
            _replace(Path(target), content)
            return
        with self._filesystem.open_output_stream(target) as sink:
            if isinstance(content, bytes):
                sink.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, sink, length=1 << 20)

    def address(self, tenant: TenantContext, path: str) -> str:
        """Say where a file is, for people: an absolute path, or a URI of a bucket."""
        located = self._locate(tenant, path)
        return located if isinstance(self._filesystem, pafs.LocalFileSystem) else f"s3://{located}"

    def _locate(self, tenant: TenantContext, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts:
            msg = f"'{path}' is not a path inside a tenant's prefix"
            raise InputError(msg)
        return f"{self._base}/{tenant.tenant_id}/{path}"


def write_whole(filesystem: pafs.SubTreeFileSystem, path: str, content: bytes | memoryview) -> None:
    """Put a file at `path`, whole or not at all; an equal path is replaced."""
    if isinstance(filesystem.base_fs, pafs.LocalFileSystem):
        _replace(Path(filesystem.base_path) / path, content)
        return
    with filesystem.open_output_stream(path) as sink:
        sink.write(content)


def _replace(target: Path, content: bytes | memoryview | Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    if isinstance(content, Path):
        shutil.copyfile(content, draft)
    else:
        draft.write_bytes(content)
    draft.replace(target)
