"""The words of time travel: what each commit did, what a version is made of, the port to both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.data.content import Content
from lakehouse.data.tables import TableRef, TableStore
from lakehouse.errors import PlataError, Terminal
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext


class VersionGoneError(PlataError, Terminal):
    """A version was there once, and maintenance has cleaned away what it was made of."""

    @classmethod
    def of(cls, table: TableRef, version: int, oldest: int | None = None) -> VersionGoneError:
        """Name the version, and the oldest that can still be read where that is known."""
        remedy = (
            "read a newer one, see `plata tables history`"
            if oldest is None
            else f"the oldest that can be read is {oldest}"
        )
        return cls(f"version {version} of {table} was cleaned away; {remedy}")


@dataclass(frozen=True, slots=True)
class Commit:
    """One version's birth. `run_id` is null for maintenance, `at` is aware, in UTC.

    A compaction adds and removes files, and adds no rows. `content` is there where the commit is
    all that its run added to the table.
    """

    version: int
    at: datetime
    operation: str
    run_id: RunId | None = None
    rows_added: int = 0
    files_added: int = 0
    files_removed: int = 0
    bytes_added: int = 0
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class TableState:
    """One version as a whole. `newest_day` is null in a table without a `day`.

    `written_at` and `last_run` are of the newest run's commit: maintenance makes nothing fresh.
    """

    version: int
    location: str
    rows: int
    files: int
    size_bytes: int
    written_at: datetime
    last_run: RunId | None
    newest_day: date | None
    partitions: tuple[str, ...]
    properties: tuple[tuple[str, str], ...]


class LazyRows(Protocol):
    """Rows of one version, not read yet: an Arrow dataset, whose own module imports pandas."""

    @property
    def schema(self) -> pa.Schema:
        """Columns and types."""
        ...

    def to_table(
        self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None
    ) -> pa.Table:
        """Read them all, or those that `filter` lets through: files without any are not opened."""
        ...


class TableHistory(Protocol):
    """Versions of tenants' tables, to be looked at and read; nothing here writes."""

    def commits(
        self, table: TableRef, tenant: TenantContext, *, limit: int | None = None
    ) -> Sequence[Commit]:
        """Return the commits that are still known, oldest first; of them the newest `limit`.

        Empty where the table was never written.
        """
        ...

    def state(
        self, table: TableRef, tenant: TenantContext, *, at: int | None = None
    ) -> TableState | None:
        """Measure version `at`, else the newest; None where the table was never written.

        Raises `VersionGoneError`.
        """
        ...

    def dataset(
        self, table: TableRef, tenant: TenantContext, *, at: int | None = None
    ) -> LazyRows | None:
        """Open version `at`, else the newest, to be read lazily; None where never written.

        Raises `VersionGoneError`.
        """
        ...


class VersionedTableStore(TableStore, TableHistory, Protocol):
    """Tables that runs append to and anyone may look back at."""
