"""The reading half of the door to Delta Lake: the log of a table, and any version of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from lakehouse.data.content import Content
from lakehouse.data.history import Commit, LazyRows, TableState, VersionGoneError
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import TableRef
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext

_LOG = "_delta_log"
_ENTRY = re.compile(r"\d{20}\.json")
_READERS = 8
"""Log entries read at once: on an object store each costs a round trip."""


class DeltaTableHistory:
    """`TableHistory` over delta-rs."""

    def __init__(self, root: LakeRoot) -> None:
        self._root = root

    def commits(
        self, table: TableRef, tenant: TenantContext, *, limit: int | None = None
    ) -> Sequence[Commit]:
        """Read the log's own files; see `TableHistory.commits`.

        `DeltaTable.history` counts versions back from the one that is open: it names the wrong
        ones where another writer commits in between, or where an older version is open.
        """
        reader = self._root.table_filesystem(table, tenant)
        names = _entries(reader)
        return _read(reader, names if limit is None else names[-limit:])

    def state(
        self, table: TableRef, tenant: TenantContext, *, at: int | None = None
    ) -> TableState | None:
        """Measure a version from the log alone; see `TableHistory.state`."""
        opened = self._version(table, tenant, at)
        if opened is None:
            return None
        files = pa.table(opened.get_add_actions(flatten=True))
        newest = self._newest_run(table, tenant, opened.version())
        metadata = opened.metadata()
        days = [n for n in ("partition.day", "max.day") if n in files.column_names]
        return TableState(
            version=opened.version(),
            location=self._root.table_uri(table, tenant),
            rows=pc.sum(files["num_records"]).as_py() or 0,
            files=len(files),
            size_bytes=pc.sum(files["size_bytes"]).as_py() or 0,
            written_at=newest.at,
            last_run=newest.run_id,
            newest_day=pc.max(files[days[0]]).as_py() if days else None,
            partitions=tuple(metadata.partition_columns),
            properties=tuple(sorted(metadata.configuration.items())),
        )

    def dataset(
        self, table: TableRef, tenant: TenantContext, *, at: int | None = None
    ) -> LazyRows | None:
        """Open a version; see `TableHistory.dataset`."""
        opened = self._version(table, tenant, at)
        if opened is None:
            return None
        if at is not None:
            self._require_files(table, tenant, opened)
        return opened.to_pyarrow_dataset(filesystem=self._root.table_filesystem(table, tenant))

    def _newest_run(self, table: TableRef, tenant: TenantContext, version: int) -> Commit:
        """Find the newest commit of a run, a few entries at a time; else return the newest."""
        newest: Commit | None = None
        for commit in self._newest_first(table, tenant, version):
            if commit.run_id is not None:
                return commit
            newest = newest or commit
        if newest is None:
            raise VersionGoneError.of(table, version)
        return newest

    def _newest_first(
        self, table: TableRef, tenant: TenantContext, version: int | None = None
    ) -> Iterator[Commit]:
        """Read the log backwards from a version, else from its end: one entry, then a few at once.

        What is sought is nearly always in the last.
        """
        reader = self._root.table_filesystem(table, tenant)
        names = _entries(reader)
        if version is not None:
            names = [name for name in names if name <= f"{version:020}.json"]
        if names:
            yield _commit(reader, names.pop())
        for end in range(len(names), 0, -_READERS):
            yield from reversed(_read(reader, names[max(0, end - _READERS) : end]))

    def _version(self, table: TableRef, tenant: TenantContext, at: int | None) -> DeltaTable | None:
        uri = self._root.table_uri(table, tenant)
        try:
            return DeltaTable(uri, version=at, storage_options=self._root.options)
        except DeltaError as error:
            if at is not None and self._version(table, tenant, None) is not None:
                raise VersionGoneError.of(table, at) from error
            if isinstance(error, TableNotFoundError):
                return None
            raise

    def _require_files(self, table: TableRef, tenant: TenantContext, opened: DeltaTable) -> None:
        """Refuse a version whose files a vacuum took.

        Only files that the newest version no longer needs can be gone, so only those are sought.
        """
        newest = self._version(table, tenant, None)
        needed = set() if newest is None else set(_paths(newest))
        replaced = [path for path in _paths(opened) if path not in needed]
        found = self._root.table_filesystem(table, tenant).get_file_info(replaced)
        if any(info.type is not pafs.FileType.File for info in found):
            raise VersionGoneError.of(table, opened.version())


def _paths(opened: DeltaTable) -> list[str]:
    """Name a version's files, inside the table's folder; the log writes them as URLs."""
    names: list[str] = pa.table(opened.get_add_actions())["path"].to_pylist()
    return [unquote(name) for name in names]


def _entries(reader: pafs.FileSystem) -> list[str]:
    """Name the entries of a table's log, oldest first."""
    found = reader.get_file_info(pafs.FileSelector(_LOG, allow_not_found=True))
    return sorted(info.base_name for info in found if _ENTRY.fullmatch(info.base_name))


def _read(reader: pafs.FileSystem, names: Sequence[str]) -> list[Commit]:
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(partial(_commit, reader), names))


def _commit(reader: pafs.FileSystem, name: str) -> Commit:
    with reader.open_input_stream(f"{_LOG}/{name}") as stream:
        actions = [json.loads(line) for line in stream.read().splitlines() if line.strip()]
    infos = [action["commitInfo"] for action in actions if "commitInfo" in action]
    entry: dict[str, Any] = infos[0] if infos else {}
    added = [action["add"] for action in actions if "add" in action]
    run_id, content = entry.get("run_id"), entry.get("content")
    return Commit(
        version=int(name.removesuffix(".json")),
        at=datetime.fromtimestamp(entry.get("timestamp", 0) / 1000, UTC),
        operation=entry.get("operation", "unknown"),
        run_id=None if run_id is None else RunId(run_id),
        rows_added=sum(_rows(file) for file in added if file.get("dataChange", True)),
        files_added=len(added),
        files_removed=sum("remove" in action for action in actions),
        bytes_added=sum(file["size"] for file in added),
        content=None if content is None else Content.of_text(content),
    )


def _rows(file: dict[str, Any]) -> int:
    stats = json.loads(file.get("stats") or "{}")
    return int(stats.get("numRecords", 0))
