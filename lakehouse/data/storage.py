"""The one seam to storage: the lake is a folder or a bucket, and a tenant is a prefix of it."""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from lakehouse.data.tables import TableRef
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LakeRoot:
    """Where the lake is. `uri` is an absolute folder or `s3://bucket/prefix`.

    `options` go to delta-rs as they are (`AWS_ENDPOINT_URL`, …); what is not among them, a bucket's
    client finds the way AWS's own do.
    """

    uri: str
    options: dict[str, str] = field(default_factory=dict, repr=False)

    def table_uri(self, table: TableRef, tenant: TenantContext) -> str:
        """Locate a table: `<lake>/<tenant>/<layer>/<entity>`."""
        return f"{self.uri}/{tenant.tenant_id}/{table.layer}/{table.entity}"

    def filesystem(self) -> pafs.SubTreeFileSystem:
        """Return Arrow's own file system, its paths relative to the lake.

        Tables are read through it too. The reader delta-rs brings is Python code: where a program
        ends right after it read, Arrow's threads come back to an interpreter that is gone, and
        the process aborts.
        """
        if "://" not in self.uri:
            return pafs.SubTreeFileSystem(self.uri, pafs.LocalFileSystem())
        scheme, _, base = self.uri.partition("://")
        if scheme != "s3":
            msg = f"the lake's address '{self.uri}' is neither a folder nor s3://bucket/prefix"
            raise InputError(msg)
        return pafs.SubTreeFileSystem(base, _bucket_client(tuple(sorted(self.options.items()))))

    def table_filesystem(self, table: TableRef, tenant: TenantContext) -> pafs.SubTreeFileSystem:
        """Return the file system of `filesystem`, its paths relative to a table."""
        lake = self.filesystem()
        place = f"{lake.base_path.rstrip('/')}/{tenant.tenant_id}/{table.layer}/{table.entity}"
        return pafs.SubTreeFileSystem(place, lake.base_fs)


@cache
def _bucket_client(options: tuple[tuple[str, str], ...]) -> pafs.S3FileSystem:
    """Connect Arrow to the bucket delta-rs is given the same options for."""
    named = {name.upper(): value for name, value in options}
    endpoint = urlsplit(named.get("AWS_ENDPOINT_URL", ""))
    return pafs.S3FileSystem(
        access_key=named.get("AWS_ACCESS_KEY_ID"),
        secret_key=named.get("AWS_SECRET_ACCESS_KEY"),
        session_token=named.get("AWS_SESSION_TOKEN"),
        region=named.get("AWS_REGION"),
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme or "https",
    )


class FileStore:
    """Immutable files under a tenant's prefix. A file is whole or absent, never half-written."""

    def __init__(self, root: LakeRoot) -> None:
        self._lake = root.filesystem()
        self._uri = root.uri.rstrip("/")

    def exists(self, tenant: TenantContext, path: str) -> bool:
        """Tell whether the file is there, whole."""
        info = self._lake.get_file_info(self._locate(tenant, path))
        return bool(info.type == pafs.FileType.File)

    def read(self, tenant: TenantContext, path: str) -> bytes:
        """Return the whole file. Raises FileNotFoundError where there is none."""
        with self.open(tenant, path) as stream:
            return stream.read()

    @contextmanager
    def open(self, tenant: TenantContext, path: str) -> Iterator[BinaryIO]:
        """Open a file as a binary stream. Raises FileNotFoundError where there is none."""
        with self._lake.open_input_stream(self._locate(tenant, path)) as stream:
            yield io.BufferedReader(stream, _BUFFER_BYTES)

    def write(self, tenant: TenantContext, path: str, content: bytes | Path) -> None:
        """Put bytes, or a copy of a local file, at `path`; an equal path is replaced whole."""
        write_whole(self._lake, self._locate(tenant, path), content)

    def address(self, tenant: TenantContext, path: str) -> str:
        """Say where a file is, for people: an absolute path, or a URI of a bucket."""
        return f"{self._uri}/{self._locate(tenant, path)}"

    def _locate(self, tenant: TenantContext, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts:
            msg = f"'{path}' is not a path inside a tenant's prefix"
            raise InputError(msg)
        return f"{tenant.tenant_id}/{path}"


def write_whole(
    filesystem: pafs.SubTreeFileSystem, path: str, content: bytes | memoryview | Path
) -> None:
    """Put bytes, or a copy of a local file, at `path`, whole or not at all; replaces a file."""
    if isinstance(filesystem.base_fs, pafs.LocalFileSystem):
        _replace(Path(filesystem.base_path) / path, content)
        return
    if not isinstance(content, Path):
        with filesystem.open_output_stream(path) as sink:
            sink.write(content)
        return
    with content.open("rb") as source, filesystem.open_output_stream(path) as sink:
        try:
            shutil.copyfileobj(source, sink, length=_BUFFER_BYTES)
        except OSError:
            sink.close()
            filesystem.delete_file(path)
            raise


def read_if_there(filesystem: pafs.FileSystem, path: str) -> bytes | None:
    """Return a file's bytes, or None where somebody took it away, be it while it was opened."""
    try:
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None
    except OSError:  # a bucket's client finds out when it reads, and knows no better name for it
        if filesystem.get_file_info(path).type is pafs.FileType.NotFound:
            return None
        raise


def _replace(target: Path, content: bytes | memoryview | Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    if isinstance(content, Path):
        shutil.copyfile(content, draft)
    else:
        draft.write_bytes(content)
    draft.replace(target)
