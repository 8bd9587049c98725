"""Upkeep: the tables of a tenant tidied when a run ends, and by hand, with what runs still need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from contracts.contract import Contract
from contracts.tables import BRONZE, GOLD, SIDE, SILVER
from lakehouse.control.runs import QualityResult, RunLog, RunRecord, RunStatus
from lakehouse.data.maintenance import OnChore, TableMaintenance, Tidied, TidyPolicy, total
from lakehouse.data.tables import TableRef
from lakehouse.run import RunContext
from lakehouse.telemetry import run_logger
from lakehouse.tenancy import TenantContext
from pipelines.steps import OnStep, unobserved

_TIDY = TidyPolicy()
_PINNED_FOR = timedelta(days=90)
_TIDIED = "the tables were tidied after the run"
_LONGEST_REASON = 300
_EVERY_RUN = 100_000

Pins = Mapping[str, frozenset[int]]
"""By a table's name: the versions that must stay readable."""

OnFailure = Callable[[TableRef, Exception], None]
"""Told which table could not be tidied, and why."""


def raise_it(table: TableRef, error: Exception) -> None:
    """Be an `OnFailure` that passes it on."""
    raise error


@dataclass(frozen=True, slots=True)
class UpkeepPolicy:
    """When a tenant's tables are tidied.

    `pinned_for` is how long a finished run's tables stay readable as it found and left them.
    """

    tidy: TidyPolicy = _TIDY
    pinned_for: timedelta = _PINNED_FOR


_POLICY = UpkeepPolicy()


def pinned_versions(
    records: Iterable[RunRecord], *, now: datetime, pinned_for: timedelta = _PINNED_FOR
) -> Pins:
    """Collect the versions that open runs planned with, and that younger runs read and wrote."""
    pins: dict[str, set[int]] = {}
    for record in records:
        for versions in _named_by(record, now - pinned_for):
            for table, version in versions.items():
                if version is not None:
                    pins.setdefault(table, set()).add(int(version))
    return {table: frozenset(versions) for table, versions in pins.items()}


def _named_by(record: RunRecord, oldest: datetime) -> list[Mapping[str, Any]]:
    if record.status is not RunStatus.RUNNING and record.run.started_at < oldest:
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
    policy: UpkeepPolicy = _POLICY

    def tidy(
        self, *, now: datetime, on_step: OnStep = unobserved, failed: OnFailure = raise_it
    ) -> Tidied:
        """Do what is due in every table; mostly nothing is, and then no run is asked about.

        What goes wrong in one table is handed to `failed`; where that returns, the next is tidied.
        """
        done, pins = Tidied(), cache(partial(self._pins, now))
        for table in self._tables:
            try:
                if self.maintenance.due(table, self.tenant, policy=self.policy.tidy):
                    done += self.maintenance.tidy(
                        table,
                        self.tenant,
                        pinned=pins().get(str(table), frozenset()),
                        policy=self.policy.tidy,
                        on_chore=_named(table, on_step),
                    )
            except Exception as error:  # noqa: BLE001 — whoever asked decides what it means
                failed(table, error)
        return done

    def vacuum(self, *, now: datetime, dry_run: bool = False) -> Tidied:
        """Delete what no run needs any more, in every table; or only count it."""
        pins = self._pins(now)
        return total(
            self.maintenance.vacuum(
                table,
                self.tenant,
                pinned=pins.get(str(table), frozenset()),
                policy=self.policy.tidy,
                dry_run=dry_run,
            )
            for table in self._tables
        )

    def compact(self, *, dry_run: bool = False) -> Tidied:
        """Merge small files in every table, due or not; or only say about what."""
        return total(
            self.maintenance.compact(table, self.tenant, policy=self.policy.tidy, dry_run=dry_run)
            for table in self._tables
        )

    @property
    def _tables(self) -> list[TableRef]:
        return [contract.table for contract in self.contracts]

    def _pins(self, now: datetime) -> Pins:
        records = self.log.recent(self.tenant, limit=_EVERY_RUN)
        return pinned_versions(records, now=now, pinned_for=self.policy.pinned_for)


def _named(table: TableRef, on_step: OnStep) -> OnChore:
    return lambda moment, chore: on_step(f"{moment} tidy/{table}/{chore}")


def warned(run: RunContext, log: RunLog) -> OnFailure:
    """Make of what goes wrong while tidying a warning of the run: in the log, and among its checks.

    The run has ended, with its tables whole: that they are not tidy is no reason to call it failed.
    """

    def warn(table: TableRef, error: Exception) -> None:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        run_logger(run).warning("tidying_failed", table=str(table), error=reason)
        found = (table.layer.value, table.entity, _TIDIED, "warning", False, reason, "no error")
        log.record_quality(run, [QualityResult(*found)])

    return warn
