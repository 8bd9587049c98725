"""The catalogue: which tables a tenant has, where, in which version, and how fresh each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime

from lakehouse.control.postgres import Postgres
from lakehouse.tenancy import TenantContext


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One table as the lake had it when it was last looked at.

    `written_at` and `last_run` are of the newest run's commit, `newest_day` is null in a table
    without that column.
    """

    layer: str
    table: str
    location: str
    contract_version: int
    owner: str
    version: int
    rows: int
    files: int
    size_bytes: int
    written_at: datetime
    newest_day: date | None = None
    last_run: str | None = None

    @property
    def name(self) -> str:
        """The name SQL knows it by."""
        return f"{self.layer}.{self.table}"


_COLUMNS = (
    'layer, "table", location, contract_version, owner, version, rows, files, size_bytes, '
    "written_at, newest_day, last_run"
)


class TableCatalogue:
    """`meta.tables` of a tenant."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def replace(self, entries: Sequence[TableEntry], tenant: TenantContext) -> None:
        """Put `entries` in the place of everything that was known of the tenant, at once."""
        with self._postgres.connect(tenant) as connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM meta.tables WHERE tenant_id = %s", [tenant.tenant_id])
            cursor.executemany(
                f"INSERT INTO meta.tables (tenant_id, {_COLUMNS}) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [[tenant.tenant_id, *astuple(entry)] for entry in entries],
            )

    def entries(self, tenant: TenantContext) -> list[TableEntry]:
        """Return the tables in the order of their layers."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM meta.tables WHERE tenant_id = %s "
                "ORDER BY array_position(ARRAY['bronze', 'silver', 'gold'], layer), \"table\"",
                [tenant.tenant_id],
            ).fetchall()
        return [TableEntry(*row) for row in rows]
