"""The walk between layers: Silver rows to Bronze rows to lines of Raw, at exact versions.

Nothing is stored for it but what every row carries anyway: the run, the event, the file and line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.tables import (
    ATTACHMENTS,
    CLASSIFICATIONS,
    LABELS,
    MESSAGES,
    PQRS_EVENTS,
    SILVER_QUARANTINE,
    STATUS_EVENTS,
    TICKETS,
)
from labeling.ledger import TICKET, Fact, settled, standing, standing_answers
from lakehouse.control.landings import LandingIndex
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.data.storage import FileStore
from lakehouse.data.tables import TableStore
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from pipelines.answered import CHAMPION, CITIZEN
from pipelines.lineage_runs import Versions, asked_about
from pipelines.standing_labels import label_facts

EVENT_TABLES = (TICKETS, MESSAGES, STATUS_EVENTS, ATTACHMENTS)
"""The tables of Silver whose rows are one event of Raw each."""


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line of Raw. `path` is inside the tenant's prefix, `address` is where to open it."""

    path: str
    line: int
    address: str


@dataclass(frozen=True, slots=True)
class EventTrace:
    """One event through the layers. `silver` is None where no row of Silver was made of it.

    `rule` is what it broke, where it waits in Silver's quarantine.
    """

    ticket_id: str
    event_id: str
    event_type: str
    silver: str | None
    silver_run: str | None
    bronze_run: str | None
    raw: RawLine | None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one exact model and prompt answered. `read_event` is the message that it read."""

    ticket_id: str
    task: str
    tier: str
    label: str
    score: float
    decision: str
    model: str
    prompt: str
    bundle_id: str
    run_id: str
    at: datetime
    read_event: str | None


@dataclass(frozen=True, slots=True)
class HumanLabel:
    """What a person answered or decided. `stands` where it is what the ticket counts as."""

    ticket_id: str
    label_id: str
    task: str
    label: str
    reviewer: str
    guideline_version: str
    model: str
    run_id: str
    at: datetime
    stands: bool


@dataclass(frozen=True, slots=True)
class LineagePorts:
    """What lineage reads."""

    store: TableStore
    files: FileStore
    landings: LandingIndex
    log: RunLog
    postgres: Postgres


class Walk:
    """Reads what stands behind tickets, at the versions of Silver that one run counted from."""

    def __init__(self, tenant: TenantContext, versions: Versions, ports: LineagePorts) -> None:
        self._tenant, self._versions, self._ports = tenant, versions, ports

    def events(self, tickets: Sequence[str]) -> list[EventTrace]:
        """Return the events of the tickets that are rows of Silver."""
        return self._traced(
            {**row, "silver": str(contract.table)}
            for contract in EVENT_TABLES
            for row in self._rows(contract, ["ticket_id", "event_id", "run_id"], tickets)
        )

    def refused(self, tickets: Sequence[str]) -> list[EventTrace]:
        """Return the events of the tickets that Silver once refused, accepted since or not."""
        columns = ["ticket_id", "event_id", "run_id", "rule"]
        rows = self._rows(SILVER_QUARANTINE, columns, tickets)
        return self._traced({**row, "silver": str(SILVER_QUARANTINE.table)} for row in rows)

    def answers(self, tickets: Sequence[str], *, champions_only: bool = True) -> list[Answer]:
        """Return the models' answers about the tickets, newest last."""
        rows = self._rows(CLASSIFICATIONS, _ANSWER_COLUMNS, tickets)
        wanted = [row for row in rows if row["tier"] == CHAMPION or not champions_only]
        wanted.sort(key=lambda row: (row["inference_timestamp"], row["run_id"]))
        read = {run: self._read_by(run, tickets) for run in {row["run_id"] for row in wanted}}
        return [_answer(row, read[row["run_id"]].get(row["ticket_id"])) for row in wanted]

    def labels(self, tickets: Sequence[str]) -> list[HumanLabel]:
        """Return what people said about the tickets, newest last."""
        version = self._versions.get(str(LABELS.table))
        if version is None:
            return []
        every = label_facts(self._tenant, self._ports.store, at=version)
        facts = every.filter(pl.col("ticket_id").is_in(list(tickets)))
        said = facts.filter(pl.col("fact").fill_null(Fact.SUBMITTED).is_in(_SAID))
        count = pl.concat([standing_answers(facts).select(_GIVEN), settled(facts).select(_GIVEN)])
        stands = standing(facts).select(*TICKET, "label")
        counted = count.join(stands, on=[*TICKET, "label"], how="semi").unique()
        rows = said.join(counted.with_columns(stands=True), on=_GIVEN, how="left")
        return [_label(row) for row in rows.sort("responded_at", "label_id").to_dicts()]

    def _rows(
        self, contract: Contract, columns: Sequence[str], tickets: Sequence[str]
    ) -> list[dict[str, Any]]:
        version = self._versions.get(str(contract.table))
        if version is None:
            return []
        rows = self._ports.store.scan(contract.table, self._tenant, at=version, columns=columns)
        return [] if rows is None else _among(rows, "ticket_id", tickets).to_pylist()

    def _traced(self, rows: Iterable[Mapping[str, Any]]) -> list[EventTrace]:
        found = list(rows)
        bronze = self._bronze(found)
        return [self._trace(row, bronze.get(row["event_id"])) for row in found]

    def _bronze(self, found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Find events in Bronze: of the runs their rows name, and of any run where that fails.

        It fails where a run took along what an earlier one had left behind or refused.
        """
        wanted = {row["event_id"] for row in found}
        there: dict[str, dict[str, Any]] = {}
        for run_id in [*sorted({RunId(row["run_id"]) for row in found}), None]:
            missing = sorted(wanted - there.keys())
            rows = self._bronze_of(run_id) if missing else None
            if rows is not None:
                mine = _among(rows, "event_id", missing)
                there |= {row["event_id"]: row for row in mine.to_pylist()}
        return there

    def _bronze_of(self, run_id: RunId | None) -> pa.Table | None:
        return self._ports.store.scan(
            PQRS_EVENTS.table, self._tenant, columns=_BRONZE_COLUMNS, run_id=run_id
        )

    def _read_by(self, run_id: str, tickets: Sequence[str]) -> dict[str, str]:
        """Say which message a run's models read of each ticket: the first a citizen had written."""
        record = self._ports.log.find(self._tenant, RunId(run_id))
        if record is None:
            return {}
        then = Walk(self._tenant, asked_about(record, self._ports.store), self._ports)
        rows = then._rows(MESSAGES, ["ticket_id", "event_id", "ts", "role"], tickets)
        said = sorted(
            (row for row in rows if row["role"] == CITIZEN),
            key=lambda row: (row["ts"], row["event_id"]),
            reverse=True,
        )
        return {row["ticket_id"]: row["event_id"] for row in said}

    def _trace(self, row: Mapping[str, Any], bronze: Mapping[str, Any] | None) -> EventTrace:
        return EventTrace(
            ticket_id=row["ticket_id"],
            event_id=row["event_id"],
            event_type="" if bronze is None else bronze["event_type"],
            silver=row["silver"],
            silver_run=row["run_id"],
            bronze_run=None if bronze is None else bronze["run_id"],
            raw=None if bronze is None else raw_line(bronze, self._tenant, self._ports.files),
            rule=row.get("rule"),
        )


_BRONZE_COLUMNS = ["event_id", "ticket_id", "event_type", "run_id", "raw_file", "raw_line"]
_ANSWER_COLUMNS = [
    "ticket_id",
    "task",
    "tier",
    "predicted_label",
    "score",
    "decision",
    "model_name",
    "model_version",
    "prompt_name",
    "prompt_version",
    "bundle_id",
    "run_id",
    "inference_timestamp",
]
_GIVEN = [*TICKET, "label", "reviewer", "responded_at"]
"""What tells an answer from every other, whatever was told of it later."""

_SAID = [Fact.SUBMITTED, Fact.ADJUDICATED]


def raw_line(row: Mapping[str, Any], tenant: TenantContext, files: FileStore) -> RawLine:
    """Return the line of Raw that a row of Bronze, or of its quarantine, was read from."""
    path: str = row["raw_file"]
    return RawLine(path, row["raw_line"], files.address(tenant, path))


def _among(rows: pa.Table, column: str, values: Sequence[str]) -> pa.Table:
    return rows.filter(pc.is_in(rows[column], value_set=pa.array(values, pa.string())))


def _answer(row: Mapping[str, Any], read_event: str | None) -> Answer:
    return Answer(
        ticket_id=row["ticket_id"],
        task=row["task"],
        tier=row["tier"],
        label=row["predicted_label"],
        score=row["score"],
        decision=row["decision"],
        model=f"{row['model_name']}/{row['model_version']}",
        prompt=f"{row['prompt_name']}/{row['prompt_version']}",
        bundle_id=row["bundle_id"],
        run_id=row["run_id"],
        at=row["inference_timestamp"],
        read_event=read_event,
    )


def _label(row: Mapping[str, Any]) -> HumanLabel:
    return HumanLabel(
        ticket_id=row["ticket_id"],
        label_id=row["label_id"],
        task=row["task"],
        label=row["label"],
        reviewer=row["reviewer"],
        guideline_version=row["guideline_version"],
        model=f"{row['model_name']}/{row['model_version']}",
        run_id=row["run_id"],
        at=row["responded_at"],
        stands=bool(row["stands"]),
    )
