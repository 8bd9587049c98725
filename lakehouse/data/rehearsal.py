"""A lake over a lake: a run is done again as if nothing had come after it, and writes elsewhere.

The tables are the published ones at the versions the run began with, and on top of them what the
run writes now, into a scratch lake. Nothing published is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from lakehouse.data.content import Content
from lakehouse.data.history import Commit, LazyRows, TableState, VersionedTableStore
from lakehouse.data.tables import Snapshot, Staged, TableRef
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext


@dataclass(frozen=True, slots=True)
class RehearsalStore:
    """`VersionedTableStore` of one run done again.

    `versions` are those of the lake's tables as the run found them; a table not named there was
    not there. The version after a planned one is the table with the run's own rows. What is told
    of a table's history ends with the planned version.
    """

    lake: VersionedTableStore
    scratch: VersionedTableStore
    run_id: RunId
    versions: Mapping[str, int | None]

    def head(self, table: TableRef, tenant: TenantContext) -> Snapshot | None:
        """Return the planned version, or the one after it where the run has written."""
        planned = self._planned(table)
        if self.scratch.head(table, tenant) is not None:
            return Snapshot(table, tenant.tenant_id, 0 if planned is None else planned + 1)
        return None if planned is None else Snapshot(table, tenant.tenant_id, planned)

    def scan(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        at: int | None = None,
        columns: Sequence[str] | None = None,
        run_id: RunId | None = None,
    ) -> pa.Table | None:
        """Read published rows, the run's own, or both; see `TableStore.scan`."""
        planned = self._planned(table)
        found = []
        if planned is not None and run_id != self.run_id:
            version = self._not_after(table, at)
            found.append(self.lake.scan(table, tenant, at=version, columns=columns, run_id=run_id))
        with_own = at is None or planned is None or at > planned
        if with_own and run_id in (None, self.run_id):
            found.append(self.scratch.scan(table, tenant, columns=columns))
        there = [rows for rows in found if rows is not None]
        return pa.concat_tables(there, promote_options="default") if there else None

    def pieces(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        run_id: RunId,
        columns: Sequence[str],
        rows: int,
    ) -> Iterator[pa.Table]:
        """Read the run's own rows where it wrote them, those of another from the lake."""
        lake = self.scratch if run_id == self.run_id else self.lake
        return lake.pieces(table, tenant, run_id=run_id, columns=columns, rows=rows)

    def stage(self, table: TableRef, rows: pa.Table, run: RunContext, *, part: str) -> Staged:
        """Stage in the scratch lake."""
        return self.scratch.stage(table, rows, run, part=part)

    def staged(self, table: TableRef, run: RunContext) -> tuple[Staged, ...]:
        """Return what waits in the scratch lake."""
        return self.scratch.staged(table, run)

    def preview(
        self,
        table: TableRef,
        run: RunContext,
        *,
        columns: Sequence[str] | None = None,
        parts: Sequence[Staged] | None = None,
    ) -> pa.Table | None:
        """Read what waits in the scratch lake."""
        return self.scratch.preview(table, run, columns=columns, parts=parts)

    def publish(self, table: TableRef, staged: Sequence[Staged], run: RunContext) -> Snapshot:
        """Publish in the scratch lake."""
        return self.scratch.publish(table, staged, run)

    def published(self, table: TableRef, run: RunContext) -> bool:
        """Look in the scratch lake."""
        return self.scratch.published(table, run)

    def content(self, table: TableRef, run: RunContext) -> Content | None:
        """Look in the scratch lake."""
        return self.scratch.content(table, run)

    def discard(self, table: TableRef, run: RunContext) -> None:
        """Forget what waits in the scratch lake."""
        self.scratch.discard(table, run)

    def append(
        self, table: TableRef, rows: pa.Table, run: RunContext, *, part: str = "all"
    ) -> Snapshot:
        """Append in the scratch lake."""
        return self.scratch.append(table, rows, run, part=part)

    def commits(
        self, table: TableRef, tenant: TenantContext, *, limit: int | None = None
    ) -> Sequence[Commit]:
        """Return the lake's commits up to the planned version."""
        planned = self._planned(table)
        known = self.lake.commits(table, tenant) if planned is not None else ()
        before = [commit for commit in known if commit.version <= (planned or 0)]
        return before if limit is None else before[-limit:]

    def state(
        self, table: TableRef, tenant: TenantContext, *, at: int | None = None
    ) -> TableState | None:
        """Measure the lake's table, at the planned version at the latest."""
        version = self._not_after(table, at)
        return None if version is None else self.lake.state(table, tenant, at=version)

    def dataset(
        self, table: TableRef, tenant: TenantContext, *, at: int | None = None
    ) -> LazyRows | None:
        """Open the lake's table, at the planned version at the latest."""
        version = self._not_after(table, at)
        return None if version is None else self.lake.dataset(table, tenant, at=version)

    def _not_after(self, table: TableRef, at: int | None) -> int | None:
        planned = self._planned(table)
        return planned if planned is None or at is None else min(at, planned)

    def _planned(self, table: TableRef) -> int | None:
        return self.versions.get(str(table))
