"""The door to Delta Lake: tables as Delta tables, one commit a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from lakehouse.data.content import Content, content_of
from lakehouse.data.delta_history import DeltaTableHistory
from lakehouse.data.history import VersionGoneError
from lakehouse.data.maintenance import CHECKPOINT_EVERY
from lakehouse.data.staging import (
    encode_files,
    marker_folder,
    marker_path,
    null_counts,
    partition_columns,
    require_filled,
    require_own,
)
from lakehouse.data.storage import read_if_there, write_whole
from lakehouse.data.tables import WHOLE, Snapshot, Staged, StagedFile, TableRef
from lakehouse.errors import InputError, PlataError, TenantMismatchError, Transient
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext

_FENCE_VERSION = 1
_CONFIGURATION = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    # Log entries go when maintenance says so: it knows which versions are pinned.
    "delta.enableExpiredLogCleanup": "false",
}
_ATTEMPTS = 20
"""How often a commit is tried against other writers; delta-rs tries 15 times within each."""


_READERS = 2
"""Files of a piece that are read at once."""


class TableBusyError(PlataError, Transient):
    """Other writers were quicker, again and again."""


class DeltaTableStore(DeltaTableHistory):
    """`VersionedTableStore` over delta-rs, fenced against double writes by app transactions."""

    def head(self, table: TableRef, tenant: TenantContext) -> Snapshot | None:
        """Return the newest version, or None where nothing was ever written."""
        opened = self._version(table, tenant, None)
        return None if opened is None else Snapshot(table, tenant.tenant_id, opened.version())

    def scan(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        at: int | None = None,
        columns: Sequence[str] | None = None,
        run_id: RunId | None = None,
    ) -> pa.Table | None:
        """Read rows; see `TableStore.scan`."""
        opened = self._version(table, tenant, at)
        if opened is None:
            return None
        # Files of other runs are left out before pyarrow hears of them: each costs it 0.6 ms.
        rows = opened.to_pyarrow_dataset(
            filesystem=self._root.table_filesystem(table, tenant),
            file_pruning_predicate=None if run_id is None else [("run_id", "=", run_id)],
        )
        there = set(rows.schema.names)
        try:
            return rows.to_table(
                columns=None if columns is None else [name for name in columns if name in there],
                filter=None if run_id is None else pc.field("run_id") == run_id,
            )
        except FileNotFoundError as error:
            raise VersionGoneError.of(table, opened.version()) from error

    def pieces(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        run_id: RunId,
        columns: Sequence[str],
        rows: int,
    ) -> Iterator[pa.Table]:
        """Read files side by side; see `TableStore.pieces`."""
        opened = self._version(table, tenant, None)
        if opened is None:
            return
        dataset = opened.to_pyarrow_dataset(
            filesystem=self._root.table_filesystem(table, tenant),
            file_pruning_predicate=[("run_id", "=", run_id)],
        )

        def read(file: Any) -> pa.Table:
            own = pc.field("run_id") == run_id
            return file.to_table(schema=dataset.schema, columns=list(columns), filter=own)

        files = sorted(dataset.get_fragments(), key=lambda file: str(file.path))
        with ThreadPoolExecutor(_READERS) as pool:
            for some in _gathered(files, rows):
                try:
                    yield pa.concat_tables(pool.map(read, some))
                except FileNotFoundError as error:
                    raise VersionGoneError.of(table, opened.version()) from error

    def stage(self, table: TableRef, rows: pa.Table, run: RunContext, *, part: str) -> Staged:
        """Write files and, last, the note that they are whole; see `TableStore.stage`."""
        staged = self._write_files(table, rows, run, part)
        filesystem = self._root.table_filesystem(table, run.tenant)
        write_whole(filesystem, marker_path(run.run_id, part), staged.as_json().encode())
        return staged

    def staged(self, table: TableRef, run: RunContext) -> tuple[Staged, ...]:
        """Read the notes of whole parts; see `TableStore.staged`."""
        filesystem = self._root.table_filesystem(table, run.tenant)
        folder = pafs.FileSelector(marker_folder(run.run_id), allow_not_found=True)
        found = []
        for info in filesystem.get_file_info(folder):
            note = read_if_there(filesystem, info.path) if info.path.endswith(".json") else None
            if note is not None:
                found.append(Staged.of_json(note.decode()))
        return tuple(sorted(found, key=lambda staged: staged.part))

    def preview(
        self,
        table: TableRef,
        run: RunContext,
        *,
        columns: Sequence[str] | None = None,
        parts: Sequence[Staged] | None = None,
    ) -> pa.Table | None:
        """Read staged rows; see `TableStore.preview`."""
        parts = self.staged(table, run) if parts is None else parts
        if not parts:
            return None
        filesystem = self._root.table_filesystem(table, run.tenant)
        pieces = [
            _read_file(file, _arrow_schema(staged), filesystem, columns)
            for staged in parts
            for file in staged.files
        ]
        empty = _arrow_schema(parts[0]).empty_table()
        shape = empty if columns is None else empty.select(list(columns))
        return pa.concat_tables([shape, *pieces], promote_options="default")

    def publish(self, table: TableRef, staged: Sequence[Staged], run: RunContext) -> Snapshot:
        """Commit all parts at once; see `TableStore.publish`."""
        snapshot = self._commit(table, staged, run, fence=run.run_id)
        self.discard(table, run)
        return snapshot

    def published(self, table: TableRef, run: RunContext) -> bool:
        """Look for the run's fence; see `TableStore.published`."""
        opened = self._version(table, run.tenant, None)
        return opened is not None and opened.transaction_version(run.run_id) is not None

    def content(self, table: TableRef, run: RunContext) -> Content | None:
        """Look for the run's commit, from the newest on; see `TableStore.content`."""
        opened = self._version(table, run.tenant, None)
        fences = (run.run_id, f"{run.run_id}/{WHOLE}")
        if opened is None or all(opened.transaction_version(fence) is None for fence in fences):
            return None
        for commit in self._newest_first(table, run.tenant):
            if commit.run_id == run.run_id:
                return commit.content
        return None

    def discard(self, table: TableRef, run: RunContext) -> None:
        """Delete the notes of staged parts; see `TableStore.discard`."""
        filesystem = self._root.table_filesystem(table, run.tenant)
        with suppress(FileNotFoundError):
            filesystem.delete_dir(marker_folder(run.run_id))

    def append(
        self, table: TableRef, rows: pa.Table, run: RunContext, *, part: str = WHOLE
    ) -> Snapshot:
        """Stage and publish one part; see `TableStore.append`."""
        require_own(rows, run)
        fence = f"{run.run_id}/{part}"
        opened = self._version(table, run.tenant, None)
        if opened is not None and opened.transaction_version(fence) is not None:
            return Snapshot(table, run.tenant.tenant_id, opened.version())
        staged = self._write_files(table, rows, run, part)
        return self._commit(table, [staged], run, fence=fence)

    def _write_files(self, table: TableRef, rows: pa.Table, run: RunContext, part: str) -> Staged:
        require_own(rows, run)
        require_filled(rows)
        schema = Schema.from_arrow(rows.schema)
        filesystem = self._root.table_filesystem(table, run.tenant)
        files = []
        with ThreadPoolExecutor(1) as beside:
            content = beside.submit(content_of, rows)
            for file, encoded in encode_files(rows.cast(pa.schema(schema.to_arrow())), run, part):
                write_whole(filesystem, file.path, encoded)
                files.append(file)
        own = tuple(files)
        return Staged(table, run.run_id, part, schema.to_json(), len(rows), own, content.result())

    def _commit(
        self, table: TableRef, staged: Sequence[Staged], run: RunContext, *, fence: str
    ) -> Snapshot:
        """Add files in one commit, unless the fence says that they are there."""
        _require_staged(table, staged, run)
        opened = self._version(table, run.tenant, None) or self._create(
            table, staged[0], run.tenant
        )
        properties = CommitProperties(
            custom_metadata=_told_of(staged, run, fence),
            app_transactions=[Transaction(fence, _FENCE_VERSION)],
        )
        actions = _add_actions(staged, run)
        for _ in range(_ATTEMPTS):
            if opened.transaction_version(fence) is not None:
                return Snapshot(table, run.tenant.tenant_id, opened.version())
            try:
                _evolve(opened, staged)
                opened.create_write_transaction(
                    actions,
                    "append",
                    opened.schema(),
                    partition_by=opened.metadata().partition_columns,
                    commit_properties=properties,
                )
            except CommitFailedError:
                pass  # another writer was first: look again, with what it wrote
            opened.update_incremental()
        msg = f"table {table} of '{run.tenant.tenant_id}' took no commit in {_ATTEMPTS} attempts"
        raise TableBusyError(msg)

    def _create(self, table: TableRef, staged: Staged, tenant: TenantContext) -> DeltaTable:
        schema = Schema.from_json(staged.schema)
        uri, options = self._root.table_uri(table, tenant), self._root.options
        partitions = partition_columns(pa.schema(schema.to_arrow()))
        try:
            return DeltaTable.create(
                uri,
                schema,
                mode="ignore",
                partition_by=partitions,
                configuration=_CONFIGURATION,
                storage_options=options,
                # Tried again, it would create the table a second time over what was written since.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except DeltaError:  # another writer created it in the same moment, whatever this is called
            there = self._version(table, tenant, None)
            if there is None:
                raise
            return there


def _gathered(files: Sequence[Any], rows: int) -> Iterator[list[Any]]:
    """Put files together until they have so many rows."""
    some: list[Any] = []
    count = 0
    for file in files:
        some.append(file)
        count += file.metadata.num_rows
        if count >= rows:
            yield some
            some, count = [], 0
    if some:
        yield some


def _told_of(staged: Sequence[Staged], run: RunContext, fence: str) -> dict[str, str]:
    """Say what a commit's entry in the log keeps: whose it is and, where it is all, its content."""
    parts = {part.part: part.content for part in staged}
    contents = [content for content in parts.values() if content is not None]
    if fence not in (run.run_id, f"{run.run_id}/{WHOLE}") or len(contents) < len(parts):
        return {"run_id": run.run_id}
    return {"run_id": run.run_id, "content": sum(contents, Content()).as_text()}


def _require_staged(table: TableRef, staged: Sequence[Staged], run: RunContext) -> None:
    if not staged:
        msg = f"nothing was staged for {table}; publish needs at least one part"
        raise InputError(msg)
    for part in staged:
        if (part.table, part.run_id) != (table, run.run_id):
            msg = (
                f"part '{part.part}' was staged for {part.table} by {part.run_id}, "
                f"expected {table} by {run.run_id}"
            )
            raise TenantMismatchError(msg)


def _add_actions(staged: Sequence[Staged], run: RunContext) -> list[AddAction | RemoveAction]:
    """Name every file once, however often a part was handed in."""
    files = {file.path: file for part in staged for file in part.files}
    moment = int(run.started_at.timestamp() * 1000)
    return [
        AddAction(file.path, file.size, dict(file.partition), moment, True, file.statistics)
        for file in files.values()
    ]


def _evolve(opened: DeltaTable, staged: Sequence[Staged]) -> None:
    """Add the columns a table does not have yet. Raises `InputError` where rows do not fit it."""
    fields = _fields(opened.schema().to_json())
    fresh: dict[str, Any] = {}
    for part in staged:
        own = _fields(part.schema)
        for name, field in own.items():
            there = fields.get(name) or fresh.get(name)
            if there is None and not field["nullable"]:
                msg = f"column '{name}' is new to the table: rows before it need it nullable"
                raise InputError(msg)
            if there is not None and there["type"] != field["type"]:
                msg = f"column '{name}' is {field['type']}, the table has {there['type']}"
                raise InputError(msg)
            if there is None:
                fresh[name] = field
        _require_complete(fields, own, part)
    if fresh:
        opened.alter.add_columns([Field.from_json(json.dumps(field)) for field in fresh.values()])


def _require_complete(fields: dict[str, Any], own: dict[str, Any], part: Staged) -> None:
    for name, field in fields.items():
        if field["nullable"]:
            continue
        if name not in own:
            msg = f"column '{name}' is required by the table and missing from part '{part.part}'"
            raise InputError(msg)
        if own[name]["nullable"] and any(null_counts(file).get(name) for file in part.files):
            msg = f"column '{name}' is required by the table and null in part '{part.part}'"
            raise InputError(msg)


def _fields(schema: str) -> dict[str, Any]:
    return {field["name"]: field for field in json.loads(schema)["fields"]}


def _arrow_schema(staged: Staged) -> pa.Schema:
    return pa.schema(Schema.from_json(staged.schema).to_arrow())


def _read_file(
    file: StagedFile, schema: pa.Schema, filesystem: pafs.FileSystem, columns: Sequence[str] | None
) -> pa.Table:
    partition = dict(file.partition)
    names = schema.names if columns is None else list(columns)
    own = pq.read_table(
        file.path,
        filesystem=filesystem,
        partitioning=None,
        columns=[name for name in names if name not in partition] or ["run_id"],
    )
    arrays = [
        pa.repeat(pa.scalar(partition[name]), len(own)).cast(schema.field(name).type)
        if name in partition
        else own[name].cast(schema.field(name).type)
        for name in names
    ]
    return pa.table(arrays, schema=pa.schema([schema.field(name) for name in names]))
