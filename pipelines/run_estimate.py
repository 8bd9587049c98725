"""What a run over the files that wait will take: told before it is begun."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.data.history import VersionedTableStore
from lakehouse.data.rehearsal import RehearsalStore
from lakehouse.run import RunContext, RunId
from pipelines.answer_batches import BATCH_TEXTS
from pipelines.budget import Price, charges_of
from pipelines.enrich import CHUNK_TICKETS, Enricher
from pipelines.estimates import (
    NOT_TRIED,
    Scratch,
    Tell,
    WorkEstimate,
    last_run,
    loading_of,
    measure,
    peak_memory,
    tell_nobody,
    total_of,
)
from pipelines.pending import pending_tickets
from pipelines.pilot import pilot_sizes
from pipelines.reproduce import rehearsing
from pipelines.run import PlannedRun, RunPorts, Step, perform
from pipelines.shadow import arms_of, ask_shadow, shadow_of
from pipelines.steps import unobserved

PILOT_KIND = "pilot"


def estimate_run(
    planned: PlannedRun,
    ports: RunPorts,
    scratch: Scratch,
    *,
    price: Price,
    clock: Callable[[], float] = time.perf_counter,
    tell: Tell = tell_nobody,
) -> WorkEstimate:
    """Take the files to Silver's structure aside, and try the models out on some of its texts.

    What the index and Gold will take is what they took the last run; nothing that stays is written.
    """
    run, plan = planned.run, planned.plan
    with scratch() as lake:
        store = RehearsalStore(ports.store, lake, run.run_id, plan.versions)
        aside, began = rehearsing(ports, store), clock()
        for step in (Step.BRONZE, Step.SILVER):
            perform(step, planned, aside)
        due = pending_tickets(run, plan, store)
        fixed = clock() - began + _as_last_time(run, len(due), ports)
        measured, chunks = None, -(-len(due) // CHUNK_TICKETS)
        if len(due) and plan.bundle.tasks:
            sizes = pilot_sizes(len(due), BATCH_TEXTS, seed=run.seed)
            trial = _Trial(planned, ports, lake)
            measured = measure(
                sizes,
                lambda number, start, count: trial.take(number, due.slice(start, count)),
                whole=sizes.texts * chunks >= len(due),
                clock=clock,
                charges=lambda: trial.charged(price),
                tell=tell,
            )
    seconds, cost = total_of(measured, len(due), chunks, fixed=fixed, price=price)
    return WorkEstimate(
        tickets=len(due),
        there=0,
        known=0,
        asks=pc.count_distinct(due["text_sha256"]).as_py(),
        batches=chunks,
        seconds=seconds,
        cost=cost,
        currency=price.currency,
        fixed_seconds=fixed,
        loading_seconds=loading_of(measured),
        memory_bytes=peak_memory(),
        pilot=measured or NOT_TRIED,
    )


def _as_last_time(run: RunContext, tickets: int, ports: RunPorts) -> float:
    """Say what Gold took the last run, and the index for as many tickets; 0 where none ended."""
    took, counts = last_run(run.tenant, ports.log)
    indexed = counts.get("silver_embeddings", 0)
    index = took.get(Step.INDEX.value, 0.0) * tickets / indexed if indexed else 0.0
    return took.get(Step.GOLD.value, 0.0) + index


@dataclass(slots=True)
class _Trial:
    """Enriches stretches of tickets in a lake of its own, each as a run of its own."""

    planned: PlannedRun
    ports: RunPorts
    lake: VersionedTableStore
    runs: list[RunId] = field(default_factory=list)

    def charged(self, price: Price) -> float:
        """Say what all of its runs were charged by others."""
        tenant, postgres = self.planned.run.tenant, self.ports.postgres
        return sum(charges_of(run, tenant, postgres, price)() for run in self.runs)

    def take(self, number: int, rows: pa.Table) -> None:
        """Do with `rows` what the run will do: every task, and the challenger's part."""
        run, ports = self.planned.run, self.ports
        own = RunContext.begin(
            run.tenant,
            kind=PILOT_KIND,
            at=run.started_at + timedelta(microseconds=number),
            seed=run.seed,
        )
        self.runs.append(own.run_id)
        enricher = Enricher(
            own,
            self.planned.plan.bundle,
            self.lake,
            ports.registry,
            ports.models,
            ports.cluster,
            unobserved,
        )
        challenge = self.planned.plan.challenge
        enricher.embed(rows)
        enricher.extract(rows)
        for arm, own_rows in arms_of(enricher, challenge, rows):
            arm.classify(own_rows)
        shadow = shadow_of(enricher, challenge)
        if shadow is not None:
            ask_shadow(shadow, rows)
