"""The bound logger every floor may use: events with tenant and run, never a ticket's text."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import FilteringBoundLogger

from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext


def configure(level: str) -> None:
    """Send JSON lines of `level` and above to standard error. Called once, at the edge.

    Raises ValueError for a level Python's logging does not know.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def tenant_logger(tenant: TenantContext) -> FilteringBoundLogger:
    """Return a logger whose every line carries the tenant."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger.bind(tenant_id=tenant.tenant_id)


def run_logger(run: RunContext) -> FilteringBoundLogger:
    """Return a logger whose every line carries the tenant and the run."""
    return tenant_logger(run.tenant).bind(run_id=run.run_id)
