"""The words of the data plane: a table's name, one immutable version of it, the port to both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext, TenantId

PARTITION_COLUMNS = ("source", "day")


class Layer(StrEnum):
    """The four layers; structure (Bronze) never mixes with semantics (Silver)."""

    RAW = "raw"
    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table's name, without tenant or location.

    >>> str(TableRef(Layer.SILVER, "tickets"))
    'silver_tickets'
    """

    layer: Layer
    entity: str

    def __str__(self) -> str:
        return f"{self.layer}_{self.entity}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One immutable version of one tenant's table."""

    table: TableRef
    tenant_id: TenantId
    version: int


class TableStore(Protocol):
    """Tables of tenants, appended to by runs and read at a version."""

    def head(self, table: TableRef, tenant: TenantContext) -> Snapshot | None:
        """Return the newest version, or None where nothing was ever written."""
        ...

    def scan(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        at: int | None = None,
        columns: Sequence[str] | None = None,
        run_id: RunId | None = None,
    ) -> pa.Table | None:
        """Read rows, at version `at` (else the head), of one run where `run_id` is given.

        The order of rows is not defined. None where the table was never written.
        """
        ...

    def append(
        self, table: TableRef, rows: pa.Table, run: RunContext, *, part: str = "all"
    ) -> Snapshot:
        """Add `rows` in one commit; the same run and part again adds nothing.

        Every row carries `tenant_id` and `run_id`, and both must be the run's own.
        """
        ...
