"""Backfill: compute a layer again for some days from the layer below, and add what is missing.

Each chunk is computed by the step a run uses, over the published tables as they are, into a lake of
its own; what the published tables lack is then added under the backfill's run. A row that is there
is never touched, so what is done twice adds nothing, and a table that lacks nothing stays as it is.
On request the models answer too, where the bundle that stands now did not (`backfill_answers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.tables import BRONZE, GOLD, LABELS, PQRS_EVENTS, SILVER
from lakehouse.control.backfills import BackfillLog
from lakehouse.control.catalogue import TableCatalogue
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.data.content import content_of
from lakehouse.data.history import VersionedTableStore
from lakehouse.data.rehearsal import RehearsalStore
from lakehouse.data.tables import Layer, Snapshot
from lakehouse.errors import InputError
from lakehouse.manifest import Environment, RunManifest
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from models.routing import PinnedRouting
from models.task import Task
from pipelines.backfill_answers import Unanswered, answer, day_of, expected, part_of
from pipelines.catalogue import refresh_catalogue
from pipelines.plan import NO_ENRICHMENT, RunPlan
from pipelines.promotion import bundle_to_plan
from pipelines.reproduce import rehearsing
from pipelines.run import (
    PlannedRun,
    RunPorts,
    Step,
    contents_of,
    perform,
    publish_gold,
    routings_now,
    terms_now,
)
from pipelines.sla_terms import SlaTerms
from pipelines.steps import OnStep, unobserved, write
from registry.bundles import Bundle

BACKFILL_KIND = "backfill"

Missing = Mapping[Contract, pa.Table]

Scratch = Callable[[], AbstractContextManager[VersionedTableStore]]
"""Opens an empty lake that goes away with its block."""

Tell = Callable[[int, int], None]
"""Told chunks done and chunks in all."""


def tell_nobody(done: int, total: int) -> None:
    """Be a `Tell` that does nothing."""


@dataclass(frozen=True, slots=True)
class Days:
    """A range of days, both ends in it."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.first > self.last:
            msg = f"the range ends before it begins: {self.first} to {self.last}"
            raise InputError(msg)

    def of(self, rows: pa.Table) -> pa.Table:
        """Keep the rows of these days."""
        day = rows["day"]
        return rows.filter(
            pc.and_(pc.greater_equal(day, self.first), pc.less_equal(day, self.last))
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is computed at once: a landing for Bronze, a run's Bronze rows for Silver, all of Gold;
    and of answers, those about a day's tickets.

    `new` are the rows that were missing when the plan was made, by table.
    """

    name: str
    rows: int
    new: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """A layer, its days, the chunks in which something is missing, and the legal terms of Gold.

    `bundle` is there where models answer too: the exact versions every alias meant; `routings` are
    for its tasks that ask for a guarantee.
    """

    layer: Layer
    days: Days
    chunks: tuple[Chunk, ...]
    sla: SlaTerms = field(default_factory=SlaTerms)
    bundle: Bundle | None = None
    routings: tuple[PinnedRouting, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> BackfillPlan:
        """Read what `as_dict` wrote."""
        return msgspec.convert(values, cls)


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill and how far it is. `paused` where it waits for somebody to say `resume`."""

    run: RunContext
    plan: BackfillPlan
    chunks_done: int = 0
    paused: bool = False

    @property
    def over(self) -> bool:
        """Whether every chunk is done."""
        return self.chunks_done == len(self.plan.chunks)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "run_id": self.run.run_id,
            "chunks_done": self.chunks_done,
            "paused": self.paused,
            "over": self.over,
            **self.plan.as_dict(),
        }


def unfinished(tenant: TenantContext, postgres: Postgres) -> Backfill | None:
    """Return the backfill that is at work, or was paused or killed, if there is one."""
    record = RunLog(postgres).unfinished(tenant, BACKFILL_KIND)
    if record is None:
        return None
    state = BackfillLog(postgres).state(tenant, record.run.run_id)
    plan = BackfillPlan.of(record.plan)
    return Backfill(record.run, plan, state.chunks_done, state.paused)


def plan_backfill(
    tenant: TenantContext,
    layer: Layer,
    days: Days,
    ports: RunPorts,
    scratch: Scratch,
    *,
    at: datetime,
    enrich: Sequence[Task] | None = None,
    code_version: str = "unknown",
    tell: Tell = tell_nobody,
) -> Backfill:
    """Compute what is missing, chunk by chunk, and write nothing.

    Where `enrich` has tasks, the tickets of these days that the bundle in force has yet to answer
    are planned too, and no model is asked. A chunk counts what is missing now: where an earlier one
    brings an event back, a later one that repeats it will bring less.
    """
    run = RunContext.begin(tenant, kind=BACKFILL_KIND, at=at, code_version=code_version)
    bundle = None if enrich is None else _bundle_of(enrich, layer, run, ports)
    found: list[Chunk] = []
    coming: dict[Contract, list[pa.Table]] = {}
    candidates = _LAYERS[layer].candidates(run, days, ports)
    for number, (name, rows) in enumerate(candidates):
        tell(number, len(candidates))
        missing = _LAYERS[layer].missing(name, run, days, ports, scratch)
        new = {str(contract.table): len(table) for contract, table in missing.items() if len(table)}
        if new:
            found.append(Chunk(name, rows, new))
        for contract, table in missing.items():
            coming.setdefault(contract, []).append(table)
    if bundle is not None:
        rows_coming = {contract: pa.concat_tables(rows) for contract, rows in coming.items()}
        found += _answers(days, bundle, run, ports, rows_coming)
    tell(len(candidates), len(candidates))
    terms = terms_now(run.tenant, ports)
    deciding = [] if bundle is None else [bundle]
    routings = routings_now(run.tenant, deciding, ports, now=at)
    return Backfill(run, BackfillPlan(layer, days, tuple(found), terms, bundle, routings))


def _bundle_of(tasks: Sequence[Task], layer: Layer, run: RunContext, ports: RunPorts) -> Bundle:
    if layer is not Layer.SILVER:
        msg = f"models answer in Silver, not in {layer}: `--enrich` goes with `--layer silver`"
        raise InputError(msg)
    return bundle_to_plan(run.tenant, tasks, ports.promotion)[0]


def _answers(
    days: Days, bundle: Bundle, run: RunContext, ports: RunPorts, coming: Missing
) -> Iterator[Chunk]:
    found = Unanswered(run, bundle, ports.store, coming).by_day(days.first, days.last)
    for day, tickets in found.items():
        yield Chunk(part_of(day), tickets, expected(tickets, bundle, run, ports))


def carry_out(
    backfill: Backfill,
    ports: RunPorts,
    scratch: Scratch,
    *,
    on_step: OnStep = unobserved,
    tell: Tell = tell_nobody,
) -> Backfill:
    """Store the plan, and do the chunks that are left, until the end or until asked to pause.

    Hold `alone` around it. Killed anywhere, it is done again from its last whole chunk.
    """
    run, plan = backfill.run, backfill.plan
    log = BackfillLog(ports.postgres)
    ports.log.start(run, BACKFILL_KIND, plan.as_dict())
    layer = _LAYERS[plan.layer]
    for number in range(backfill.chunks_done, len(plan.chunks)):
        tell(number, len(plan.chunks))
        if log.state(run.tenant, run.run_id).paused:
            return replace(backfill, chunks_done=number, paused=True)
        chunk = plan.chunks[number]
        day = day_of(chunk.name)
        if plan.bundle is not None and day is not None:
            with scratch() as lake:
                answer(day, plan.bundle, plan.routings, run, ports, lake, on_step=on_step)
        else:
            missing = layer.missing(chunk.name, run, plan.days, ports, scratch)
            layer.add(chunk.name, missing, run, ports, on_step)
        on_step(f"before advance/{number}")
        log.advance(run, number + 1)
    tell(len(plan.chunks), len(plan.chunks))
    _close(run, plan, ports)
    return replace(backfill, chunks_done=len(plan.chunks), paused=False)


def _close(run: RunContext, plan: BackfillPlan, ports: RunPorts) -> None:
    layer, bundle = plan.layer, plan.bundle
    contracts = {Layer.BRONZE: BRONZE, Layer.SILVER: SILVER, Layer.GOLD: GOLD}[layer]
    below = SILVER if layer is Layer.GOLD else BRONZE if layer is Layer.SILVER else ()
    if bundle is not None:
        below = (*below, *SILVER)
    contents = contents_of(run, ports.store, contracts)
    manifest = RunManifest(
        run,
        inputs=_heads(run, ports, below),
        outputs=_heads(run, ports, contracts),
        pins={} if bundle is None else {**bundle.pins(), "bundle": bundle.bundle_id},
        digests={} if bundle is None else bundle.digests(),
        counts={table: content.rows for table, content in contents.items()},
        contents=contents,
        environment=Environment.here(),
    )
    ports.log.finish(run, RunStatus.COMPLETED, manifest=manifest.as_dict())
    refresh_catalogue(run.tenant, store=ports.store, catalogue=TableCatalogue(ports.postgres))


def _heads(
    run: RunContext, ports: RunPorts, contracts: tuple[Contract, ...]
) -> tuple[Snapshot, ...]:
    heads = (ports.store.head(contract.table, run.tenant) for contract in contracts)
    return tuple(head for head in heads if head is not None)


class _Layer(Protocol):
    """How one layer is cut into chunks, what a chunk lacks, and how that is added."""

    def candidates(self, run: RunContext, days: Days, ports: RunPorts) -> list[tuple[str, int]]:
        """Return the chunks that may lack something, with the rows each is computed from."""
        ...

    def missing(
        self, name: str, run: RunContext, days: Days, ports: RunPorts, scratch: Scratch
    ) -> Missing:
        """Compute a chunk and return what the published tables lack, as rows of `run`."""
        ...

    def add(
        self, name: str, missing: Missing, run: RunContext, ports: RunPorts, on_step: OnStep
    ) -> None:
        """Add it to the published tables. Idempotent by run and chunk."""
        ...


def _append(name: str, missing: Missing, run: RunContext, ports: RunPorts, on_step: OnStep) -> None:
    for contract, rows in missing.items():
        write(ports.store, contract, rows, run, part=name, on_step=on_step)


class _Bronze:
    """Bronze from Raw, a landing a chunk. A line is there where either table has a row of it."""

    def candidates(self, run: RunContext, days: Days, ports: RunPorts) -> list[tuple[str, int]]:
        # No event is younger than a day after its file landed: older landings cannot hold one.
        since = days.first - timedelta(days=1)
        taken = ports.landings.taken(run.tenant)
        return [(x.content_sha256, x.events or 0) for x in taken if x.landed_at.date() >= since]

    def missing(
        self, name: str, run: RunContext, days: Days, ports: RunPorts, scratch: Scratch
    ) -> Missing:
        (landing,) = ports.landings.named(run.tenant, [name])
        found = _computed(Step.BRONZE, BRONZE, run, ports, scratch, landings=(name,))
        lines = [_lines(contract, landing.path, run, ports) for contract in BRONZE]
        there = pa.chunked_array([chunk for column in lines for chunk in column.chunks], pa.int64())
        return {
            contract: days.of(rows.filter(pc.invert(pc.is_in(rows["raw_line"], value_set=there))))
            for contract, rows in found.items()
        }

    def add(
        self, name: str, missing: Missing, run: RunContext, ports: RunPorts, on_step: OnStep
    ) -> None:
        _append(name, missing, run, ports, on_step)


def _lines(contract: Contract, path: str, run: RunContext, ports: RunPorts) -> pa.ChunkedArray:
    columns = ["raw_file", "raw_line"]
    rows = ports.store.scan(contract.table, run.tenant, columns=columns)
    rows = contract.empty().select(columns) if rows is None else rows
    return rows.filter(pc.equal(rows["raw_file"], path))["raw_line"]


class _Silver:
    """Silver's structure from Bronze, the rows of one run a chunk, in the order they came."""

    def candidates(self, run: RunContext, days: Days, ports: RunPorts) -> list[tuple[str, int]]:
        rows = ports.store.scan(PQRS_EVENTS.table, run.tenant, columns=["run_id", "day"])
        if rows is None:
            return []
        counts = days.of(rows)["run_id"].value_counts().to_pylist()
        found = {count["values"]: count["counts"] for count in counts}
        order = _order_of_runs(PQRS_EVENTS, run, ports)
        return sorted(found.items(), key=lambda pair: (order.get(pair[0], -1), pair[0]))

    def missing(
        self, name: str, run: RunContext, days: Days, ports: RunPorts, scratch: Scratch
    ) -> Missing:
        found = _computed(Step.SILVER, SILVER, run, ports, scratch, carried=(name,))
        return {contract: days.of(rows) for contract, rows in found.items()}

    def add(
        self, name: str, missing: Missing, run: RunContext, ports: RunPorts, on_step: OnStep
    ) -> None:
        _append(name, missing, run, ports, on_step)


class _Gold:
    """Gold from Silver. It is one picture: where a figure of the days is not what Silver says now,
    all of it is counted again, and served as the figures of one run.
    """

    def candidates(self, run: RunContext, days: Days, ports: RunPorts) -> list[tuple[str, int]]:
        states = (ports.store.state(contract.table, run.tenant) for contract in SILVER)
        return [("gold", sum(state.rows for state in states if state is not None))]

    def missing(
        self, name: str, run: RunContext, days: Days, ports: RunPorts, scratch: Scratch
    ) -> Missing:
        versions = _versions(run, ports)
        with scratch() as lake:
            store = RehearsalStore(ports.store, lake, run.run_id, versions)
            labels_at, terms = versions[str(LABELS.table)], terms_now(run.tenant, ports)
            publish_gold(run, rehearsing(ports, store), labels_at, terms, unobserved)
            counted = {contract: _own_rows(contract, run, lake) for contract in GOLD}
        return {
            contract: _changed(days.of(rows), days.of(_newest(contract, run, ports)))
            for contract, rows in counted.items()
        }

    def add(
        self, name: str, missing: Missing, run: RunContext, ports: RunPorts, on_step: OnStep
    ) -> None:
        labels_at = _versions(run, ports)[str(LABELS.table)]
        publish_gold(run, ports, labels_at, terms_now(run.tenant, ports), on_step)


_LAYERS: Mapping[Layer, _Layer] = {
    Layer.BRONZE: _Bronze(),
    Layer.SILVER: _Silver(),
    Layer.GOLD: _Gold(),
}


def _computed(
    step: Step,
    contracts: tuple[Contract, ...],
    run: RunContext,
    ports: RunPorts,
    scratch: Scratch,
    *,
    landings: tuple[str, ...] = (),
    carried: tuple[str, ...] = (),
) -> Missing:
    """Perform a step as a run would that began now, aside, and return what it wrote."""
    versions = _versions(run, ports)
    plan = RunPlan(landings, versions, carried, NO_ENRICHMENT)
    with scratch() as lake:
        store = RehearsalStore(ports.store, lake, run.run_id, versions)
        perform(step, PlannedRun(run, plan), rehearsing(ports, store))
        return {contract: _own_rows(contract, run, lake) for contract in contracts}


def _versions(run: RunContext, ports: RunPorts) -> dict[str, int | None]:
    heads = {c: ports.store.head(c.table, run.tenant) for c in (*BRONZE, *SILVER)}
    return {str(c.table): None if head is None else head.version for c, head in heads.items()}


def _own_rows(contract: Contract, run: RunContext, lake: VersionedTableStore) -> pa.Table:
    """Read what a step wrote, published or staged."""
    names = contract.schema.names
    found = [lake.scan(contract.table, run.tenant), lake.preview(contract.table, run)]
    rows = [rows.select(names).cast(contract.schema) for rows in found if rows is not None]
    return pa.concat_tables([contract.empty(), *rows]).combine_chunks()


def _order_of_runs(contract: Contract, run: RunContext, ports: RunPorts) -> dict[str, int]:
    """Say in which version of the table each run's last rows came."""
    commits = ports.store.commits(contract.table, run.tenant)
    return {c.run_id: c.version for c in commits if c.run_id is not None and c.rows_added}


def _newest(contract: Contract, run: RunContext, ports: RunPorts) -> pa.Table:
    """Read the figures that count now: those of the run that wrote last."""
    order = _order_of_runs(contract, run, ports)
    if not order:
        return contract.empty()
    last = RunId(max(order, key=lambda run_id: order[run_id]))
    rows = ports.store.scan(contract.table, run.tenant, run_id=last)
    return contract.empty() if rows is None else rows.select(contract.schema.names)


def _changed(counted: pa.Table, newest: pa.Table) -> pa.Table:
    """Keep the days whose figures are not those that count now, those that would go among them.

    Who counted does not matter.
    """

    def by_day(rows: pa.Table) -> dict[date, str]:
        days = rows["day"].unique().to_pylist()
        return {
            day: content_of(rows.filter(pc.equal(rows["day"], day)), but=["run_id"]).digest
            for day in days
        }

    before, now = by_day(newest), by_day(counted)
    changed = [day for day, digest in now.items() if before.get(day) != digest]
    gone = [day for day in before if day not in now]
    return pa.concat_tables(
        rows.filter(pc.is_in(rows["day"], value_set=pa.array(days, pa.date32())))
        for rows, days in ((counted, changed), (newest, gone))
    )
