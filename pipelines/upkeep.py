"""Upkeep: the tables of a tenant tidied when a run ends, and by hand, with what runs still need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from contracts.contract import Contract
from contracts.tables import BRONZE, GOLD, SIDE, SILVER
from lakehouse.control.runs import RunLog, RunRecord, RunStatus
from lakehouse.data.maintenance import TableMaintenance, Tidied, total
from lakehouse.data.tables import TableRef
from lakehouse.tenancy import TenantContext

PINNED_FOR = timedelta(days=90)
"""How long a finished run's tables stay readable as it found and left them."""

_EVERY_RUN = 100_000

Pins = Mapping[str, frozenset[int]]
"""By a table's name: the versions that must stay readable."""


def pinned_versions(records: Iterable[RunRecord], *, now: datetime) -> Pins:
    """Collect the versions that open runs planned with, and that younger runs read and wrote."""
    pins: dict[str, set[int]] = {}
    for record in records:
        for versions in _named_by(record, now):
            for table, version in versions.items():
                if version is not None:
                    pins.setdefault(table, set()).add(int(version))
    return {table: frozenset(versions) for table, versions in pins.items()}


def _named_by(record: RunRecord, now: datetime) -> list[Mapping[str, Any]]:
    if record.status is not RunStatus.RUNNING and record.run.started_at < now - PINNED_FOR:
        return []
    manifest = record.manifest or {}
    found = [record.plan.get("versions"), manifest.get("inputs"), manifest.get("outputs")]
    return [versions for versions in found if isinstance(versions, Mapping)]


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The chores of one tenant's tables.

    Hold `RunLog.exclusive(tenant, RUN_KIND)` around them: a vacuum takes what no run will need,
    and a run that starts meanwhile is not asked.
    """

    tenant: TenantContext
    maintenance: TableMaintenance
    log: RunLog
    contracts: Sequence[Contract] = (*BRONZE, *SILVER, *SIDE, *GOLD)

    def tidy(self, *, now: datetime) -> Tidied:
        """Do what is due in every table; mostly nothing is, and then no run is asked about."""
        due = [table for table in self._tables if self.maintenance.due(table, self.tenant)]
        return self._with_pins(self.maintenance.tidy, due, now)

    def vacuum(self, *, now: datetime, dry_run: bool = False) -> Tidied:
        """Delete what no run needs any more, in every table; or only count it."""
        chore = partial(self.maintenance.vacuum, dry_run=dry_run)
        return self._with_pins(chore, self._tables, now)

    def compact(self, *, dry_run: bool = False) -> Tidied:
        """Merge small files in every table, due or not; or only say about what."""
        return total(
            self.maintenance.compact(table, self.tenant, dry_run=dry_run) for table in self._tables
        )

    @property
    def _tables(self) -> list[TableRef]:
        return [contract.table for contract in self.contracts]

    def _with_pins(
        self, chore: Callable[..., Tidied], tables: Sequence[TableRef], now: datetime
    ) -> Tidied:
        if not tables:
            return Tidied()
        pins = pinned_versions(self.log.recent(self.tenant, limit=_EVERY_RUN), now=now)
        return total(
            chore(table, self.tenant, pinned=pins.get(str(table), frozenset())) for table in tables
        )
