"""One run: the identity that fences every write and makes it repeatable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NewType

from lakehouse.tenancy import TenantContext

RunId = NewType("RunId", str)

DEFAULT_SEED = 20260101


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every step of one run shares.

    `started_at` is the run's only clock: steps stamp rows with it, so that a run that is killed
    and resumed writes the same bytes. It is aware and in UTC.
    """

    run_id: RunId
    tenant: TenantContext
    started_at: datetime
    seed: int = DEFAULT_SEED
    code_version: str = "unknown"

    @classmethod
    def begin(
        cls,
        tenant: TenantContext,
        *,
        kind: str,
        at: datetime,
        seed: int = DEFAULT_SEED,
        code_version: str = "unknown",
    ) -> RunContext:
        """Name a new run after its kind, its second and a digest that keeps tenants apart.

        >>> norte = TenantContext.parse("norte")
        >>> at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        >>> RunContext.begin(norte, kind="run", at=at).run_id
        'run-20260102T030405-cfb36bd5'
        """
        moment = at.astimezone(UTC)
        mark = f"{tenant.tenant_id}/{kind}/{moment.isoformat()}/{seed}"
        digest = hashlib.sha256(mark.encode()).hexdigest()[:8]
        run_id = RunId(f"{kind}-{moment:%Y%m%dT%H%M%S}-{digest}")
        return cls(run_id, tenant, moment, seed, code_version)
