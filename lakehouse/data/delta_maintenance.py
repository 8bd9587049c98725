"""The tidying part of the door to Delta Lake: files merged, the log summed up, rubbish out."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from lakehouse.data.maintenance import (
    Chore,
    DataFile,
    OnChore,
    TableHealth,
    Tidied,
    TidyPolicy,
    due_chores,
    expired_entries,
    unobserved,
)
from lakehouse.data.staging import STAGED_FOLDER
from lakehouse.data.storage import LakeRoot, read_if_there
from lakehouse.data.tables import Staged, TableRef
from lakehouse.tenancy import TenantContext

_LOG = "_delta_log"
_DEFAULT = TidyPolicy()
_ROWS_A_GROUP = 64 << 10
"""Rows keep their order, so a run's stay together, and groups of other runs are skipped."""
_READERS = 2
"""Partitions merged at once: each holds its rows in memory."""


class DeltaTableMaintenance:
    """`TableMaintenance` over delta-rs."""

    def __init__(self, root: LakeRoot) -> None:
        self._root = root

    def due(
        self, table: TableRef, tenant: TenantContext, *, policy: TidyPolicy = _DEFAULT
    ) -> tuple[Chore, ...]:
        """Measure and decide; see `TableMaintenance.due`."""
        health = self.health(table, tenant)
        return () if health is None else due_chores(health, policy)

    def tidy(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        pinned: Collection[int],
        policy: TidyPolicy = _DEFAULT,
        on_chore: OnChore = unobserved,
    ) -> Tidied:
        """Do what is due; see `TableMaintenance.tidy`."""
        due, done = self.due(table, tenant, policy=policy), Tidied()
        chores: dict[Chore, Callable[[], Tidied]] = {
            Chore.COMPACT: lambda: self.compact(table, tenant, policy=policy),
            Chore.CHECKPOINT: lambda: self.checkpoint(table, tenant),
            Chore.VACUUM: lambda: self.vacuum(table, tenant, pinned=pinned, policy=policy),
        }
        for chore, do in chores.items():
            if chore in due:
                on_chore("before", chore)
                done += do()
                on_chore("after", chore)
        return done

    def health(self, table: TableRef, tenant: TenantContext) -> TableHealth | None:
        """Measure what decides; None where the table was never written."""
        opened = self._newest(table, tenant)
        if opened is None:
            return None
        actions = pa.table(opened.get_add_actions(flatten=True))
        names = [name for name in actions.column_names if name.startswith("partition.")]
        partitions = zip(*(actions[name].to_pylist() for name in names), strict=True)
        keys = [str(values) for values in partitions] if names else [""] * len(actions)
        sizes = actions["size_bytes"].to_pylist()
        files = tuple(DataFile(key, size) for key, size in zip(keys, sizes, strict=True))
        return TableHealth(opened.version(), files, self._last_checkpoint(table, tenant))

    def compact(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        policy: TidyPolicy = _DEFAULT,
        dry_run: bool = False,
    ) -> Tidied:
        """Merge small files; see `TableMaintenance.compact`."""
        if dry_run:
            health = self.health(table, tenant)
            return Tidied() if health is None else health.foreseen(policy.target_bytes)
        opened = self._newest(table, tenant)
        if opened is None:
            return Tidied()
        try:
            merged = opened.optimize.compact(
                target_size=policy.target_bytes,
                max_concurrent_tasks=_READERS,
                writer_properties=WriterProperties(
                    compression="ZSTD", max_row_group_size=_ROWS_A_GROUP
                ),
            )
        except CommitFailedError:  # another one merged the same files
            return Tidied()
        return Tidied(
            merged_files=int(merged["numFilesRemoved"]), made_files=int(merged["numFilesAdded"])
        )

    def checkpoint(self, table: TableRef, tenant: TenantContext) -> Tidied:
        """Sum up the log at the newest version."""
        opened = self._newest(table, tenant)
        if opened is None:
            return Tidied()
        opened.create_checkpoint()
        return Tidied(checkpoints=1)

    def vacuum(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        pinned: Collection[int],
        policy: TidyPolicy = _DEFAULT,
        dry_run: bool = False,
    ) -> Tidied:
        """Delete what nothing needs; see `TableMaintenance.vacuum`."""
        opened = self._newest(table, tenant)
        if opened is None:
            return Tidied()
        files = self._root.table_filesystem(table, tenant)
        readable = [version for version in sorted(pinned) if self._readable(table, tenant, version)]
        unused = opened.vacuum(
            retention_hours=_hours(policy.retention),
            enforce_retention_duration=False,
            dry_run=True,
            full=True,
            keep_versions=readable,
        )
        staged = _staged_by_open_runs(files, opened)
        doomed = sorted(set(unused) & _data_files(files) - staged)
        expired = _expired_log(files, readable, policy.retention)
        for path in [] if dry_run else [*doomed, *expired]:
            with suppress(FileNotFoundError):
                files.delete_file(path)
        return Tidied(deleted_files=len(doomed), deleted_log_files=len(expired))

    def _newest(self, table: TableRef, tenant: TenantContext) -> DeltaTable | None:
        uri = self._root.table_uri(table, tenant)
        try:
            return DeltaTable(uri, storage_options=self._root.options)
        except TableNotFoundError:
            return None

    def _readable(self, table: TableRef, tenant: TenantContext, version: int) -> bool:
        uri = self._root.table_uri(table, tenant)
        try:
            DeltaTable(uri, version=version, storage_options=self._root.options)
        except DeltaError:
            return False
        return True

    def _last_checkpoint(self, table: TableRef, tenant: TenantContext) -> int | None:
        files = self._root.table_filesystem(table, tenant)
        found = read_if_there(files, f"{_LOG}/_last_checkpoint")
        return None if found is None else int(json.loads(found)["version"])


def _staged_by_open_runs(files: pafs.FileSystem, opened: DeltaTable) -> frozenset[str]:
    """Return the files that wait to be published; notes of runs that did publish are swept up."""
    waiting: set[str] = set()
    for path in list(_notes(files)):
        note = read_if_there(files, path)
        if note is None:
            continue
        staged = Staged.of_json(note.decode())
        if opened.transaction_version(staged.run_id) is None:
            waiting.update(file.path for file in staged.files)
        else:
            with suppress(FileNotFoundError):
                files.delete_file(path)
    return frozenset(waiting)


def _data_files(files: pafs.FileSystem) -> set[str]:
    """Return what lies there: Delta's answer names files that went long ago, too."""
    found = files.get_file_info(pafs.FileSelector("", recursive=True))
    return {info.path for info in found if info.type == pafs.FileType.File}


def _notes(files: pafs.FileSystem) -> Iterator[str]:
    folder = pafs.FileSelector(STAGED_FOLDER, allow_not_found=True, recursive=True)
    for info in files.get_file_info(folder):
        if info.path.endswith(".json"):
            yield info.path


def _expired_log(
    files: pafs.FileSystem, pinned: Collection[int], retention: timedelta
) -> list[str]:
    found = files.get_file_info(pafs.FileSelector(_LOG))
    written = {info.base_name: info.mtime for info in found if info.mtime is not None}
    expired = expired_entries(written, pinned, before=datetime.now(UTC) - retention)
    return [f"{_LOG}/{name}" for name in expired]


def _hours(retention: timedelta) -> int:
    """Round up: a file is left longer rather than shorter."""
    return -int(-retention.total_seconds() // 3600)
