"""From a line of Raw, an event or a ticket to every row and every number it touched."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.pqrs import EventType
from contracts.tables import (
    CLASSIFICATIONS,
    EMBEDDINGS,
    PQRS_EVENTS,
    QUARANTINE,
    SILVER,
    TICKETS,
)
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from pipelines.gold import KPIS
from pipelines.gold_serving import served_run
from pipelines.gold_view import Counting, Kpi, SilverView, silver_at
from pipelines.lineage_runs import Versions, counted_from
from pipelines.lineage_walk import (
    Answer,
    EventTrace,
    HumanLabel,
    LineagePorts,
    RawLine,
    Walk,
    raw_line,
)
from pipelines.sla_terms import SlaTerms

RAW_FOLDER = "raw/"


class Fate(StrEnum):
    """What became of a line."""

    ROW = "row"
    QUARANTINED = "quarantined"
    WAITING = "waiting"
    BLANK = "blank"


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector of the ticket's text in one embedding space."""

    ticket_id: str
    space_id: str
    model: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a line stays in quarantine, and since which run."""

    raw: RawLine
    reason: str
    run_id: str


class Effect(StrEnum):
    """What an event did to a number."""

    COUNTED = "counted"
    TAKEN_OUT = "taken_out"


@dataclass(frozen=True, slots=True)
class TouchedNumber:
    """A number in which the ticket counts, or would count, or count more often, without the event.

    `served` where it is the one people see now. A `value` of 0 is no row of Gold.
    """

    ticket_id: str
    table: str
    run_id: str
    served: bool
    key: Mapping[str, Any]
    measure: str
    value: int
    effect: Effect = Effect.COUNTED


@dataclass(frozen=True, slots=True)
class Footprint:
    """Everything that a line, an event or a ticket touched."""

    wanted: str
    fate: Fate
    events: tuple[EventTrace, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    answers: tuple[Answer, ...] = ()
    labels: tuple[HumanLabel, ...] = ()
    vectors: tuple[Vector, ...] = ()
    numbers: tuple[TouchedNumber, ...] = ()


def follow(
    wanted: str, tenant: TenantContext, ports: LineagePorts, *, history: bool = False
) -> Footprint:
    """Follow `FILE:LINE`, an event id or a ticket id to all it touched.

    Numbers are those served now, with `history` also those of every earlier run. A message that no
    model read, and an attachment, touch no number but of tables that count them. A number that the
    ticket would be in without the event is told as one it was taken out of, on days that the table
    has; what models would have said without a message is not known, and not told.
    """
    follower = _Follower(tenant, ports)
    place = re.fullmatch(r"(?P<file>.+):(?P<line>\d+)", wanted)
    if place is not None:
        return follower.line(wanted, place["file"], int(place["line"]), history=history)
    return follower.identifier(wanted, history=history)


class _Follower:
    def __init__(self, tenant: TenantContext, ports: LineagePorts) -> None:
        self._tenant, self._ports = tenant, ports
        self._walk = Walk(tenant, _heads(tenant, ports.store), ports)

    def line(self, wanted: str, file: str, line: int, *, history: bool) -> Footprint:
        path = self._path(file)
        here = (pc.field("raw_file") == path) & (pc.field("raw_line") == line)
        rows = self._bronze(here)
        refusals = self._refusals(here)
        if rows:
            return self._touched(wanted, rows, refusals, history=history)
        if refusals:
            return Footprint(wanted, Fate.QUARANTINED, refusals=refusals)
        content = self._read(path, line)
        return Footprint(wanted, Fate.BLANK if content.isspace() else Fate.WAITING)

    def identifier(self, wanted: str, *, history: bool) -> Footprint:
        named = wanted.lower()
        rows = self._bronze((pc.field("event_id") == named) | (pc.field("ticket_id") == named))
        if not rows:
            msg = (
                f"'{wanted}' is neither FILE:LINE nor the id of an event or a ticket in Bronze of "
                f"tenant '{self._tenant.tenant_id}'"
            )
            raise InputError(msg)
        return self._touched(wanted, rows, (), history=history)

    def _path(self, file: str) -> str:
        """Return the path of a landed file, given as it is in the lake or as it is on the disk."""
        start = file.find(f"{RAW_FOLDER}pqrs/")
        path = file[max(start, 0) :]
        address = self._ports.files.address(self._tenant, path) if start >= 0 else ""
        if start > 0 and address != file:
            msg = f"'{file}' is not in Raw of tenant '{self._tenant.tenant_id}', which is {address}"
            raise InputError(msg)
        if start < 0 or self._ports.landings.at_path(self._tenant, path) is None:
            msg = (
                f"no file of tenant '{self._tenant.tenant_id}' landed at '{file}'; name it by its "
                "path in Raw, such as raw/pqrs/source=…/day=…/run_id=…/events.jsonl:12"
            )
            raise InputError(msg)
        return path

    def _read(self, path: str, line: int) -> bytes:
        with self._ports.files.open(self._tenant, path) as stream:
            number = 0
            for number, content in enumerate(stream, start=1):
                if number == line:
                    return content
        msg = f"'{path}' has {number} lines, there is no line {line}"
        raise InputError(msg)

    def _bronze(self, where: pc.Expression) -> list[dict[str, Any]]:
        columns = ["event_id", "ticket_id", "event_type", "ts", "role", "run_id"]
        columns += ["raw_file", "raw_line"]
        rows = self._ports.store.scan(PQRS_EVENTS.table, self._tenant, columns=columns)
        return [] if rows is None else rows.filter(where).to_pylist()

    def _refusals(self, where: pc.Expression) -> tuple[Refusal, ...]:
        columns = ["run_id", "raw_file", "raw_line", "reason"]
        rows = self._ports.store.scan(QUARANTINE.table, self._tenant, columns=columns)
        found = [] if rows is None else rows.filter(where).to_pylist()
        return tuple(
            Refusal(raw_line(row, self._tenant, self._ports.files), row["reason"], row["run_id"])
            for row in found
        )

    def _touched(
        self,
        wanted: str,
        rows: Sequence[Mapping[str, Any]],
        refusals: tuple[Refusal, ...],
        *,
        history: bool,
    ) -> Footprint:
        tickets = sorted({row["ticket_id"] for row in rows})
        traced = [*self._walk.refused(tickets), *self._walk.events(tickets)]
        in_silver = {event.event_id: event for event in traced}
        events = tuple(in_silver.get(row["event_id"]) or self._bronze_only(row) for row in rows)
        answers = self._walk.answers(tickets, champions_only=False)
        reach = _reach(events, answers)
        return Footprint(
            wanted,
            Fate.ROW,
            events=events,
            refusals=refusals,
            answers=tuple(answer for answer in answers if answer.ticket_id in reach.read),
            labels=tuple(x for x in self._walk.labels(tickets) if x.ticket_id in reach.read),
            vectors=tuple(self._vectors(sorted(reach.read))),
            numbers=tuple(self._numbers(rows, reach, history=history)),
        )

    def _bronze_only(self, row: Mapping[str, Any]) -> EventTrace:
        return EventTrace(
            ticket_id=row["ticket_id"],
            event_id=row["event_id"],
            event_type=row["event_type"],
            silver=None,
            silver_run=None,
            bronze_run=row["run_id"],
            raw=raw_line(row, self._tenant, self._ports.files),
        )

    def _vectors(self, tickets: Sequence[str]) -> Iterator[Vector]:
        columns = ["ticket_id", "space_id", "model_name", "model_version", "run_id"]
        rows = self._ports.store.scan(EMBEDDINGS.table, self._tenant, columns=columns)
        if rows is None or not tickets:
            return
        wanted = pa.array(tickets, pa.string())
        mine = rows.filter(pc.is_in(rows["ticket_id"], value_set=wanted))
        for row in mine.sort_by([("ticket_id", "ascending"), ("run_id", "ascending")]).to_pylist():
            model = f"{row['model_name']}/{row['model_version']}"
            yield Vector(row["ticket_id"], row["space_id"], model, row["run_id"])

    def _numbers(
        self, rows: Sequence[Mapping[str, Any]], reach: _Reach, *, history: bool
    ) -> Iterator[TouchedNumber]:
        """Ask of each ticket alone where it counts, with the events and without them."""
        served = served_run(self._tenant, self._ports.postgres)
        tickets = sorted({row["ticket_id"] for row in rows})
        for run_id in self._gold_runs(served, history=history):
            record = self._ports.log.find(self._tenant, run_id)
            if record is None:
                continue
            versions = counted_from(record, self._ports.store)
            terms = SlaTerms.planned(record.plan)
            view = silver_at(versions, self._tenant, self._ports.store, terms=terms)
            for ticket in tickets:
                mine = view.of_ticket(ticket)
                gone = [row for row in rows if row["ticket_id"] == ticket]
                told = _Told(ticket, run_id, run_id == served, Counting.of(mine))
                less = Counting.of(_without(mine, gone))
                since = min(row["ts"] for row in gone).date()
                for contract, kpi in KPIS.items():
                    if reach.touches(ticket, kpi):
                        figures = self._figures(contract, run_id)
                        yield from told.counted(contract, kpi, figures)
                        yield from told.taken_out(contract, kpi, figures, less, since)

    def _figures(self, contract: Contract, run_id: RunId) -> pl.DataFrame:
        rows = self._ports.store.scan(contract.table, self._tenant, run_id=run_id)
        figures = pl.from_arrow(contract.empty() if rows is None else rows)
        assert isinstance(figures, pl.DataFrame)
        return figures

    def _gold_runs(self, served: RunId | None, *, history: bool) -> list[RunId]:
        """Return the runs that counted Gold, the served one first, then the newest."""
        first = [] if served is None else [served]
        if not history:
            return first
        found: set[RunId] = set()
        for contract in KPIS:
            rows = self._ports.store.scan(contract.table, self._tenant, columns=["run_id"])
            if rows is not None:
                found |= set(pc.unique(rows["run_id"]).to_pylist())
        records = [self._ports.log.find(self._tenant, run_id) for run_id in found - {served}]
        known = [record for record in records if record is not None]
        known.sort(key=lambda record: record.run.started_at, reverse=True)
        return [*first, *(record.run.run_id for record in known)]


@dataclass(frozen=True)
class _Told:
    """One ticket in the figures of one run; `counting` is of its rows alone."""

    ticket: str
    run_id: RunId
    served: bool
    counting: Counting

    def counted(
        self, contract: Contract, kpi: Kpi, figures: pl.DataFrame
    ) -> Iterator[TouchedNumber]:
        """Find the rows of one table in which the ticket counts."""
        for day in figures["day"].unique().sort():
            behind = kpi.members(self.counting, day).select(contract.key)
            for row in figures.join(behind, on=list(contract.key), how="semi").to_dicts():
                key = {name: row[name] for name in contract.key}
                yield self._number(contract, kpi, key, row[kpi.measure], Effect.COUNTED)

    def taken_out(
        self, contract: Contract, kpi: Kpi, figures: pl.DataFrame, less: Counting, since: date
    ) -> Iterator[TouchedNumber]:
        """Find the numbers in which `less` has the ticket more often: an event kept it out.

        No event changes a number of a day before its own, `since`.
        """
        key = list(contract.key)
        for day in figures["day"].unique().sort():
            if day < since:
                continue
            now, then = (_times(kpi.members(c, day), key) for c in (self.counting, less))
            lost = (
                then.join(now, on=key, how="left", suffix="_now")
                .filter(pl.col("times") > pl.col("times_now").fill_null(0))
                .join(figures.select(*key, kpi.measure), on=key, how="left")
                .sort(key)
            )
            for row in lost.to_dicts():
                value = row[kpi.measure] or 0
                named = {name: row[name] for name in key}
                yield self._number(contract, kpi, named, value, Effect.TAKEN_OUT)

    def _number(
        self, contract: Contract, kpi: Kpi, key: Mapping[str, Any], value: int, effect: Effect
    ) -> TouchedNumber:
        table, measure = str(contract.table), kpi.measure
        return TouchedNumber(
            self.ticket, table, self.run_id, self.served, key, measure, value, effect
        )


def _times(members: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    return members.group_by(key).agg(pl.len().cast(pl.Int64).alias("times"))


def _without(view: SilverView, gone: Sequence[Mapping[str, Any]]) -> SilverView:
    """Leave out what events became; `gone` are their rows of Bronze, the view is of their ticket.

    A view holds no identifiers of messages: of those said at one moment by one role, as many go as
    there are events.
    """
    ids = [row["event_id"] for row in gone]
    created = any(row["event_type"] == EventType.TICKET_CREATED for row in gone)
    said = Counter(
        (row["ts"], row["role"]) for row in gone if row["event_type"] == EventType.MESSAGE_ADDED
    )
    kept = []
    for message in view.messages.select("ts", "role").iter_rows():
        kept.append(said[message] == 0)
        said[message] -= not kept[-1]
    return replace(
        view,
        tickets=view.tickets.clear() if created else view.tickets,
        messages=view.messages.filter(pl.Series(kept, dtype=pl.Boolean)),
        status_events=view.status_events.filter(~pl.col("event_id").is_in(ids)),
    )


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far events reach: the tickets whose answers rest on them, and the tables they are in."""

    read: frozenset[str]
    tables: frozenset[tuple[str, str]]

    def touches(self, ticket: str, kpi: Kpi) -> bool:
        if ticket in self.read and CLASSIFICATIONS in kpi.reads:
            return True
        return any((ticket, str(contract.table)) in self.tables for contract in kpi.reads)


def _reach(events: Sequence[EventTrace], answers: Sequence[Answer]) -> _Reach:
    ids = {event.event_id for event in events}
    read = {answer.ticket_id for answer in answers if answer.read_event in ids}
    created = {event.ticket_id for event in events if event.silver == str(TICKETS.table)}
    tables = {(event.ticket_id, event.silver) for event in events if event.silver is not None}
    return _Reach(frozenset(read | created), frozenset(tables))


def _heads(tenant: TenantContext, store: TableStore) -> Versions:
    heads = {contract: store.head(contract.table, tenant) for contract in SILVER}
    return {str(c.table): None if head is None else head.version for c, head in heads.items()}
