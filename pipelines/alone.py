"""Who changes published tables does it alone: no run is open, and none begins meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines.plan import RUN_KIND
from pipelines.run import RunPorts


@contextmanager
def alone(tenant: TenantContext, ports: RunPorts) -> Iterator[None]:
    """Keep runs and other backfills off the tenant while the block runs.

    Raises `TenantBusyError` where another process is at work, and `InputError` where a run is open:
    it was planned on tables that must not change under it.
    """
    with ports.log.exclusive(tenant, RUN_KIND):
        open_run = ports.log.unfinished(tenant, RUN_KIND)
        if open_run is not None:
            msg = (
                f"run '{open_run.run.run_id}' is open; end it first with "
                f"`plata run --tenant {tenant.tenant_id}`"
            )
            raise InputError(msg)
        yield
