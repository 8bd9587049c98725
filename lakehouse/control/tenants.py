"""The directory of tenants, and the versions of their configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.control.postgres import Postgres
from lakehouse.errors import UnknownTenantError
from lakehouse.tenancy import Isolation, TenantContext


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """One version of a tenant's configuration, as it was written down."""

    version: int
    values: Mapping[str, Any]


class TenantDirectory:
    """Tenants as rows of `meta.tenants`; the only place that looks across them."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def create(self, tenant: TenantContext, *, name: str) -> bool:
        """Register a tenant; False where it was there already."""
        with self._postgres.administer() as connection:
            made = connection.execute(
                "INSERT INTO meta.tenants (tenant_id, name, isolation) VALUES (%s, %s, %s) "
                "ON CONFLICT DO NOTHING",
                [tenant.tenant_id, name, tenant.isolation],
            )
            return made.rowcount == 1

    def names(self) -> list[str]:
        """Every tenant, in alphabetical order."""
        with self._postgres.administer() as connection:
            rows = connection.execute("SELECT tenant_id FROM meta.tenants ORDER BY 1").fetchall()
        return [row[0] for row in rows]

    def find(self, name: str) -> TenantContext:
        """Return the context of a registered tenant. Raises `UnknownTenantError`."""
        tenant = TenantContext.parse(name)
        with self._postgres.administer() as connection:
            row = connection.execute(
                "SELECT isolation FROM meta.tenants WHERE tenant_id = %s", [tenant.tenant_id]
            ).fetchone()
        if row is None:
            raise UnknownTenantError.among(name, self.names())
        return TenantContext(tenant.tenant_id, Isolation(row[0]))

    def configure(self, tenant: TenantContext, values: Mapping[str, Any]) -> TenantConfig:
        """Write a new version of the configuration; values equal to the newest keep its version."""
        newest = self.config(tenant)
        if newest is not None and newest.values == values:
            return newest
        version = 1 if newest is None else newest.version + 1
        with self._postgres.administer() as connection:
            connection.execute(
                "INSERT INTO meta.tenant_configs (tenant_id, version, config) VALUES (%s, %s, %s)",
                [tenant.tenant_id, version, json.dumps(values)],
            )
        return TenantConfig(version, values)

    def config(self, tenant: TenantContext) -> TenantConfig | None:
        """Return the newest configuration, None where none was ever written."""
        with self._postgres.connect(tenant) as connection:
            row = connection.execute(
                "SELECT version, config FROM meta.tenant_configs WHERE tenant_id = %s "
                "ORDER BY version DESC LIMIT 1",
                [tenant.tenant_id],
            ).fetchone()
        return None if row is None else TenantConfig(row[0], row[1])
