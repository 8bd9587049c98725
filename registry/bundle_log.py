"""The bundles of a tenant, the aliases that name one of them, and every move of an alias.

Bundles and moves are only added. An alias and the row that tells of its move change together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakehouse.control.postgres import Postgres
from lakehouse.tenancy import TenantContext
from registry.bundles import Bundle, BundleRef
from registry.errors import ArtifactError, UnknownBundleError


@dataclass(frozen=True, slots=True)
class KeptBundle:
    """A bundle with who made it, when and why, and the aliases that mean it now."""

    name: str
    bundle: Bundle
    note: str
    made_by: str
    made_at: datetime
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """An alias went from one bundle to another; None before its first.

    `forced` where it went against the gates, whose `verdict` is None where none were asked.
    """

    name: str
    alias: str
    before: str | None
    after: str
    by: str
    at: datetime
    reason: str
    forced: bool = False
    verdict: Mapping[str, Any] | None = None


_KEPT = "b.name, b.bundle_id, b.content, b.note, b.made_by, b.made_at"
_MOVE = "name, alias, from_bundle, to_bundle, moved_by, moved_at, reason, forced, verdict"

_MEANT = "b.bundle_id = %s AND (%s::text IS NULL OR b.name = %s)"
_MEANT_BY_ALIAS = (
    "b.name = %s AND b.bundle_id = (SELECT x.bundle_id FROM meta.bundle_aliases x "
    "WHERE x.tenant_id = b.tenant_id AND x.name = b.name AND x.alias = %s)"
)


class BundleLog:
    """`meta.bundles`, `meta.bundle_aliases` and `meta.bundle_moves` of a tenant."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def keep(
        self, tenant: TenantContext, name: str, bundle: Bundle, *, by: str, note: str = ""
    ) -> bool:
        """Keep a bundle under a name; False where the name has one of the same content."""
        content = json.dumps(bundle.as_dict())
        with self._postgres.connect(tenant) as connection:
            kept = connection.execute(
                "INSERT INTO meta.bundles (tenant_id, name, bundle_id, content, note, made_by) "
                "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [tenant.tenant_id, name, bundle.bundle_id, content, note, by],
            )
            return kept.rowcount == 1

    def find(self, tenant: TenantContext, reference: str | BundleRef) -> Bundle:
        """Return what a reference means now. Raises `UnknownBundleError` with what there is."""
        return self.kept(tenant, reference).bundle

    def kept(self, tenant: TenantContext, reference: str | BundleRef) -> KeptBundle:
        """Return what a reference means now, with its account."""
        ref = BundleRef.parse(reference) if isinstance(reference, str) else reference
        if ref.alias is not None:
            found = self._select(tenant, _MEANT_BY_ALIAS, [ref.name, ref.alias])
        else:
            found = self._select(tenant, _MEANT, [ref.bundle_id, ref.name, ref.name])
        if not found:
            raise UnknownBundleError.of(tenant.tenant_id, str(ref), _names(self.all(tenant)))
        return found[0]

    def all(self, tenant: TenantContext) -> list[KeptBundle]:
        """Return every bundle, newest first. Raises `ArtifactError` where one is not its name's."""
        return self._select(tenant, "true", [])

    def aliases(self, tenant: TenantContext, name: str) -> dict[str, str]:
        """Return the bundle each alias of a name means now."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                "SELECT alias, bundle_id FROM meta.bundle_aliases "
                "WHERE tenant_id = %s AND name = %s ORDER BY alias",
                [tenant.tenant_id, name],
            ).fetchall()
        return dict(rows)

    def move(
        self,
        tenant: TenantContext,
        name: str,
        alias: str,
        bundle_id: str,
        *,
        by: str,
        reason: str,
        forced: bool = False,
        verdict: Mapping[str, Any] | None = None,
    ) -> bool:
        """Let an alias mean a bundle of the name, and record it; False where it does already."""
        key = [tenant.tenant_id, name, alias]
        said = None if verdict is None else json.dumps(verdict, ensure_ascii=False)
        with self._postgres.connect(tenant) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [str(key)])
            row = connection.execute(
                "SELECT bundle_id FROM meta.bundle_aliases "
                "WHERE tenant_id = %s AND name = %s AND alias = %s",
                key,
            ).fetchone()
            before = None if row is None else row[0]
            if before == bundle_id:
                return False
            connection.execute(
                "INSERT INTO meta.bundle_aliases (tenant_id, name, alias, bundle_id) "
                "VALUES (%s, %s, %s, %s) ON CONFLICT (tenant_id, name, alias) "
                "DO UPDATE SET bundle_id = EXCLUDED.bundle_id, moved_at = now()",
                [*key, bundle_id],
            )
            connection.execute(
                "INSERT INTO meta.bundle_moves (tenant_id, name, alias, from_bundle, to_bundle, "
                "moved_by, reason, forced, verdict) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [*key, before, bundle_id, by, reason, forced, said],
            )
            return True

    def history(self, tenant: TenantContext, name: str) -> list[Move]:
        """Return every move of a name's aliases, newest first."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                f"SELECT {_MOVE} FROM meta.bundle_moves WHERE tenant_id = %s AND name = %s "
                "ORDER BY move_id DESC",
                [tenant.tenant_id, name],
            ).fetchall()
        return [Move(*row) for row in rows]

    def _select(self, tenant: TenantContext, where: str, values: list[Any]) -> list[KeptBundle]:
        query = (
            f"SELECT {_KEPT}, array_remove(array_agg(a.alias ORDER BY a.alias), NULL) "
            "FROM meta.bundles b LEFT JOIN meta.bundle_aliases a "
            f"USING (tenant_id, name, bundle_id) WHERE b.tenant_id = %s AND {where} "
            "GROUP BY b.tenant_id, b.name, b.bundle_id ORDER BY b.made_at DESC, b.name"
        )
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(query.encode(), [tenant.tenant_id, *values]).fetchall()
        return [_kept(row) for row in rows]


def _kept(row: Sequence[Any]) -> KeptBundle:
    name, bundle_id, content, note, made_by, made_at, aliases = row
    bundle = Bundle.of(content)
    if bundle.bundle_id != bundle_id:
        msg = (
            f"what is kept as bundle:/{name}/{bundle_id} is not what was kept: its content is "
            f"{bundle.bundle_id}. Somebody changed it behind Plata; create it again and promote it"
        )
        raise ArtifactError(msg)
    return KeptBundle(name, bundle, note, made_by, made_at, tuple(aliases))


def _names(known: Sequence[KeptBundle]) -> list[str]:
    """Write the aliases there are, and the newest bundles."""
    aliases = [f"bundle:/{one.name}@{alias}" for one in known for alias in one.aliases]
    return [*aliases, *(one.bundle.bundle_id for one in known[:5])]
