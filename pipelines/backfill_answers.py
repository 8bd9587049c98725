"""The answers a backfill brings: those of one bundle about the tickets of some days it never read.

A ticket that the bundle has answered is not asked about again, nor is one that a run answered after
the backfill was planned: that answer is newer, and counts. What was answered before stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, EMBEDDINGS, ENTITIES, MESSAGES, TICKETS
from lakehouse.data.history import VersionedTableStore
from lakehouse.run import RunContext
from models.routing import PinnedRouting
from pipelines.answered import CITIZEN
from pipelines.enrich import Enricher
from pipelines.pending import with_digest
from pipelines.quality import audit_rows, require
from pipelines.run import RunPorts, every_answer
from pipelines.steps import OnStep, own_rows, unobserved, write
from registry.bundles import Bundle

_PREFIX = "answers/"
_TICKET = ["ticket_id", "source", "day", "subject"]
_NOTHING: Mapping[Contract, pa.Table] = {}


def part_of(day: date) -> str:
    """Name the chunk, and the part of its writes, that holds the answers about a day's tickets.

    >>> part_of(date(2026, 1, 4))
    'answers/2026-01-04'
    """
    return f"{_PREFIX}{day.isoformat()}"


def day_of(part: str) -> date | None:
    """Return the day a chunk of answers is about, None where it is no such chunk.

    >>> day_of("answers/2026-01-04")
    datetime.date(2026, 1, 4)
    >>> day_of("run-20260104T120000-cfb36bd5")
    """
    return date.fromisoformat(part[len(_PREFIX) :]) if part.startswith(_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Finds the tickets a bundle has yet to answer, as `run` sees them.

    `coming` are rows of Silver that the same backfill is about to bring back.
    """

    run: RunContext
    bundle: Bundle
    store: VersionedTableStore
    coming: Mapping[Contract, pa.Table] = field(default_factory=lambda: _NOTHING)

    def by_day(self, first: date, last: date) -> dict[date, int]:
        """Count the tickets of each day, earliest first; reads no text."""
        due = self._tickets(first, last).join(
            self._said(first, last, ["ticket_id"]).unique("ticket_id"), on="ticket_id", how="semi"
        )
        counts = due.group_by("day").len().sort("day")
        return dict(zip(counts["day"].to_list(), counts["len"].to_list(), strict=True))

    def on(self, day: date) -> pa.Table:
        """Return a day's tickets as `pending_tickets` returns those of a run."""
        texts = (
            self._said(day, day, ["ticket_id", "event_id", "ts", "text"])
            .sort("ts", "event_id")
            .unique("ticket_id", keep="first", maintain_order=True)
            .select("ticket_id", "event_id", "text")
        )
        return with_digest(self._tickets(day, day).join(texts, on="ticket_id"))

    def _tickets(self, first: date, last: date) -> pl.DataFrame:
        there = self._read(TICKETS, _TICKET, _between(first, last))
        answered = self._read(CLASSIFICATIONS, ["ticket_id"], _between(first, last) & self._by_us())
        return there.unique("ticket_id", keep="first").join(answered, on="ticket_id", how="anti")

    def _by_us(self) -> pc.Expression:
        """Say which answers count as given: not those of a killed attempt, which come out again."""
        of_bundle = pc.field("bundle_id") == self.bundle.bundle_id
        since = pc.field("inference_timestamp") > pa.scalar(self.run.started_at)
        return (pc.field("run_id") != self.run.run_id) & (of_bundle | since)

    def _said(self, first: date, last: date, columns: Sequence[str]) -> pl.DataFrame:
        tickets = self._tickets(first, last)["ticket_id"].to_list()
        wanted = pc.field("ticket_id").isin(pa.array(tickets, pa.string()))
        return self._read(MESSAGES, columns, wanted & (pc.field("role") == CITIZEN))

    def _read(
        self, contract: Contract, columns: Sequence[str], wanted: pc.Expression
    ) -> pl.DataFrame:
        found = [contract.empty(), self.coming.get(contract, contract.empty()).filter(wanted)]
        lazy = self.store.dataset(contract.table, self.run.tenant)
        if lazy is not None:
            found.append(lazy.to_table(columns=list(columns), filter=wanted))
        frames = [pl.from_arrow(rows.select(list(columns))) for rows in found]
        return pl.concat(frame for frame in frames if isinstance(frame, pl.DataFrame))


def expected(tickets: int, bundle: Bundle, run: RunContext, ports: RunPorts) -> dict[str, int]:
    """Say how many rows the answers about so many tickets are, by table."""
    voices = _enricher(run, bundle, ports.store, ports).voices()
    return {str(EMBEDDINGS.table): tickets, str(CLASSIFICATIONS.table): tickets * voices}


def answer(
    day: date,
    bundle: Bundle,
    routings: Sequence[PinnedRouting],
    run: RunContext,
    ports: RunPorts,
    scratch: VersionedTableStore,
    *,
    on_step: OnStep,
) -> None:
    """Ask the models about a day's tickets, judge what they say, and add it to Silver.

    `scratch` is an empty lake. Idempotent by run and day: killed on the way and done again, the
    models are asked again, and nothing is there twice.
    """
    due = Unanswered(run, bundle, ports.store).on(day)
    if len(due) == 0:
        return
    aside = replace(_enricher(run, bundle, scratch, ports), routings=routings)
    aside.embed(due)
    aside.extract(due)
    aside.classify(due)
    found = {
        contract: own_rows(scratch, contract, run, columns=contract.schema.names)
        for contract in (EMBEDDINGS, ENTITIES, CLASSIFICATIONS)
    }
    given = len(found[CLASSIFICATIONS])
    wanted = len(due) * aside.voices() - aside.fallen().total()
    require([*audit_rows(run, found, log=ports.log), every_answer(given, wanted)])
    for contract, rows in found.items():
        write(ports.store, contract, rows, run, part=part_of(day), on_step=on_step)
    replace(aside, on_step=on_step).index(ports.index, due)


def _enricher(
    run: RunContext, bundle: Bundle, store: VersionedTableStore, ports: RunPorts
) -> Enricher:
    return Enricher(run, bundle, store, ports.registry, ports.models, ports.cluster, unobserved)


def _between(first: date, last: date) -> pc.Expression:
    return (pc.field("day") >= first) & (pc.field("day") <= last)
