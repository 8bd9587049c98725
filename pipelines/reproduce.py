"""Reproduce: compute a finished run once more from its manifest, and compare what comes out.

The same Raw files, table versions, models, prompts and seed go in. What comes out goes to a lake of
its own and is thrown away; Postgres keeps a record of the comparison and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from contracts.tables import BRONZE, GOLD, LABELS, SILVER
from lakehouse.control.landings import LandingIndex
from lakehouse.control.runs import RunLog, RunRecord, RunStatus
from lakehouse.data.history import VersionedTableStore, VersionGoneError
from lakehouse.data.rehearsal import RehearsalStore
from lakehouse.errors import InputError, PlataError
from lakehouse.manifest import Environment
from lakehouse.run import RunContext
from pipelines.errors import RawChangedError
from pipelines.plan import RUN_KIND, RunPlan, planned_landings
from pipelines.run import (
    GOLD_KIND,
    PlannedRun,
    RunPorts,
    Step,
    Tell,
    contents_of,
    execute,
    publish_gold,
    tell_nobody,
)
from pipelines.run_events import Silent
from pipelines.sla_terms import SlaTerms
from pipelines.steps import unobserved

REPRODUCE_KIND = "reproduce"

_STEPS = tuple(step for step in Step if step is not Step.INDEX)
"""The index is a copy of Silver's vectors for searching: nothing of it is in a table."""


@dataclass(frozen=True, slots=True)
class TableOutcome:
    """One table of a run: its content as the manifest recorded it, as the lake holds it now, and
    as it came out again.
    """

    table: str
    rows: int
    recorded: str
    held: str
    recomputed: str

    @property
    def reproduced(self) -> bool:
        """Whether the same content came out again."""
        return self.recomputed == self.recorded

    @property
    def kept(self) -> bool:
        """Whether the lake still holds what the run wrote."""
        return self.held == self.recorded


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came of it. `reasons` say what is not as it was then; they are only suspects."""

    run_id: str
    of_run: str
    tables: tuple[TableOutcome, ...]
    reasons: tuple[str, ...]

    @property
    def differing(self) -> list[str]:
        """The tables whose content did not come out again, or is no longer there."""
        return [t.table for t in self.tables if not (t.reproduced and t.kept)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run_id": self.run_id,
            "of_run": self.of_run,
            "agrees": not self.differing,
            "tables": [
                {**asdict(t), "reproduced": t.reproduced, "kept": t.kept} for t in self.tables
            ],
            "reasons": list(self.reasons),
        }


def reproduce(
    record: RunRecord,
    ports: RunPorts,
    scratch: VersionedTableStore,
    *,
    at: datetime,
    code_version: str,
    tell: Tell = tell_nobody,
) -> Reproduction:
    """Compute a run again into `scratch`, an empty lake, and record how it compares.

    Raises `InputError` where the run has no manifest to go by, `RawChangedError` where a Raw file
    is not the one it read, and `VersionGoneError` where maintenance took a version it read.
    """
    manifest = _manifest_of(record)
    versions: Mapping[str, int | None] = record.plan["versions"]
    _require_files(manifest, record, ports)
    _require_versions(versions, record, ports)
    own = RunContext.begin(record.run.tenant, kind=REPRODUCE_KIND, at=at, code_version=code_version)
    _give_up_killed(own, ports.log)
    ports.log.start(own, REPRODUCE_KIND, {"of_run": record.run.run_id})
    store = RehearsalStore(ports.store, scratch, record.run.run_id, versions)
    try:
        _compute_again(record, rehearsing(ports, store), tell)
    except PlataError as refusal:
        ports.log.finish(own, RunStatus.FAILED, error=str(refusal))
        raise
    found = Reproduction(
        run_id=own.run_id,
        of_run=record.run.run_id,
        tables=_compared(record, manifest["contents"], ports.store, scratch),
        reasons=tuple(_reasons(manifest, code_version)),
    )
    status = RunStatus.FAILED if found.differing else RunStatus.COMPLETED
    error = f"differs: {', '.join(found.differing)}" if found.differing else None
    ports.log.finish(own, status, manifest=found.as_dict(), error=error)
    return found


def _manifest_of(record: RunRecord) -> Mapping[str, Any]:
    if record.kind not in (RUN_KIND, GOLD_KIND):
        msg = (
            f"'{record.run.run_id}' is of kind '{record.kind}'; "
            f"only runs of kind '{RUN_KIND}' and '{GOLD_KIND}' can be computed again"
        )
        raise InputError(msg)
    if record.manifest is None:
        msg = f"'{record.run.run_id}' is {record.status}; only a run that ended has a manifest"
        raise InputError(msg)
    if "contents" not in record.manifest:
        msg = f"the manifest of '{record.run.run_id}' is older than content hashes"
        raise InputError(msg)
    return record.manifest


def _require_files(manifest: Mapping[str, Any], record: RunRecord, ports: RunPorts) -> None:
    for file in manifest["files"]:
        if not ports.files.exists(record.run.tenant, file["path"]):
            msg = (
                f"Raw file '{file['path']}', which {record.run.run_id} read, is gone; "
                "Raw is never changed, restore it from a copy"
            )
            raise RawChangedError(msg)


def _require_versions(
    versions: Mapping[str, int | None], record: RunRecord, ports: RunPorts
) -> None:
    """Raise `VersionGoneError` where a version is gone, before anything is computed."""
    for contract in (*BRONZE, *SILVER):
        version = versions.get(str(contract.table))
        if version is None:
            continue
        try:
            ports.store.dataset(contract.table, record.run.tenant, at=version)
        except VersionGoneError as error:
            msg = (
                f"version {version} of {contract.table}, which {record.run.run_id} read, was "
                "cleaned away: the run cannot be computed again; what runs read is kept for "
                "`upkeep.runs_readable_days` of the tenant's configuration"
            )
            raise VersionGoneError(msg) from error


def _give_up_killed(own: RunContext, log: RunLog) -> None:
    killed = log.unfinished(own.tenant, REPRODUCE_KIND)
    if killed is not None:
        log.finish(killed.run, RunStatus.FAILED, error=f"killed; {own.run_id} began anew")


def rehearsing(ports: RunPorts, store: VersionedTableStore) -> RunPorts:
    """Hand out the same ports, over a lake and a database in which nothing stays."""
    postgres = ports.postgres.rehearsed()
    return replace(
        ports,
        store=store,
        postgres=postgres,
        log=RunLog(postgres),
        landings=LandingIndex(postgres),
        events=Silent(),
    )


def _compute_again(record: RunRecord, ports: RunPorts, tell: Tell) -> None:
    if record.kind == GOLD_KIND:
        labels_at = record.plan["versions"].get(str(LABELS.table))
        publish_gold(record.run, ports, labels_at, SlaTerms.planned(record.plan), unobserved)
        return
    planned = PlannedRun(record.run, RunPlan.of(record.plan))
    found = planned_landings(planned.plan, record.run.tenant, ports.landings)
    if len(found) != len(planned.plan.landings):
        msg = f"{record.run.run_id} read {len(planned.plan.landings)} landings, {len(found)} known"
        raise RawChangedError(msg)
    execute(planned, ports, steps=_STEPS, tell=tell)


def _compared(
    record: RunRecord,
    recorded: Mapping[str, str],
    lake: VersionedTableStore,
    scratch: VersionedTableStore,
) -> tuple[TableOutcome, ...]:
    contracts = [c for c in (*BRONZE, *SILVER, *GOLD) if str(c.table) in recorded]
    held = contents_of(record.run, lake, contracts)
    recomputed = contents_of(record.run, scratch, contracts)
    return tuple(
        TableOutcome(
            table, recomputed[table].rows, recorded[table], held[table].digest, content.digest
        )
        for table, content in recomputed.items()
    )


def _reasons(manifest: Mapping[str, Any], code_version: str) -> list[str]:
    found = []
    if manifest["code_version"] != code_version:
        found.append(f"code: {manifest['code_version']} then, {code_version} now")
    then, here = manifest.get("environment"), Environment.here()
    if then is not None and then["digest"] != here.digest:
        if then["python"] != here.python:
            found.append(f"Python: {then['python']} then, {here.python} now")
        for name in sorted(then["distributions"].keys() | here.distributions.keys()):
            was, now = then["distributions"].get(name), here.distributions.get(name)
            if was != now:
                found.append(f"{name}: {was or 'absent'} then, {now or 'absent'} now")
    return found
