"""What a plan will take, measured on a pilot that asks the real models and keeps nothing."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.data.history import VersionedTableStore
from lakehouse.data.query import QueryEngine
from lakehouse.tenancy import TenantContext
from pipelines import answer_batches
from pipelines.answer_batches import Answerer, parted, stretch, texts_of
from pipelines.budget import Charges, Price, charges_of
from pipelines.catalogue import measure as measure_tables
from pipelines.pilot import (
    Estimate,
    Sizes,
    pilot_sizes,
    predicted,
    predicted_work,
    warm_up_seconds,
    with_fixed,
)
from pipelines.plan import RUN_KIND
from pipelines.reenrich_plan import ReenrichPlan, begin, find_work
from pipelines.run import RunPorts, Step
from pipelines.steps import unobserved

Scratch = Callable[[], AbstractContextManager[VersionedTableStore]]
"""Opens an empty lake that goes away with its block."""

Tell = Callable[[int, int], None]
"""Told batches tried and batches in all."""

_KILOBYTE = 1024


def tell_nobody(done: int, total: int) -> None:
    """Be a `Tell` that does nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Stretches that were tried: seconds and charges of each after the first, which warms up.

    `ones` are the seconds of stretches of one text, where the others are no whole batches.
    """

    texts: int
    first: float
    seconds: tuple[float, ...]
    charges: tuple[float, ...]
    ones: tuple[float, ...] = ()


NOT_TRIED = Measured(0, 0.0, (), ())
"""The pilot of work that asks nobody."""


@dataclass(frozen=True, slots=True)
class WorkEstimate:
    """What a plan will take. `cost` is compute and what others charge, in `currency`.

    `tickets` will be written, of which `known` ask nobody; `there` need not even be written. `asks`
    texts are new to the models, after equal texts and known answers are left out. `fixed_seconds`
    are those that do not grow with the texts, measured or, for Gold, as the last run took them.
    `loading_seconds` are not in it: the models are loaded now, and stay so while the workers do.
    `memory_bytes` is the most this process held while it tried; a worker holds its models beside.
    """

    tickets: int
    there: int
    known: int
    asks: int
    batches: int
    seconds: Estimate
    cost: Estimate
    currency: str
    fixed_seconds: float
    loading_seconds: float
    memory_bytes: int
    pilot: Measured

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


def measure(
    sizes: Sizes,
    work: Callable[[int, int, int], None],
    *,
    whole: bool,
    clock: Callable[[], float],
    charges: Charges,
    tell: Tell = tell_nobody,
) -> Measured:
    """Time `work(number, start, texts)` over every stretch of a pilot.

    Where they are not `whole` batches of the work, stretches of one text are timed as well, each
    right after one of the others: both are then of one mood of the machine, and their difference,
    which is what texts take, is of the texts.
    """

    def timed(number: int, start: int, texts: int) -> float:
        began = clock()
        work(number, start, texts)
        return clock() - began

    seconds, charged, ones, count = [], [], [], len(sizes.starts)
    for number, start in enumerate(sizes.starts):
        tell(number, count)
        spent = charges()
        seconds.append(timed(number, start, sizes.texts))
        charged.append(charges() - spent)
        if number and not whole:
            ones.append(timed(count + number - 1, start, 1))
    tell(count, count)
    return Measured(sizes.texts, seconds[0], tuple(seconds[1:]), tuple(charged[1:]), tuple(ones))


def total_of(
    measured: Measured | None, texts: int, batches: int, *, fixed: float, price: Price
) -> tuple[Estimate, Estimate]:
    """Predict the seconds and the cost of `texts` texts in `batches`, with what is fixed."""
    if measured is None:
        seconds, charged = Estimate.exactly(0.0), Estimate.exactly(0.0)
    else:
        stretch, ones = measured.texts, measured.ones
        seconds = predicted_work(
            measured.seconds, ones, stretch=stretch, texts=texts, batches=batches
        )
        charged = predicted(measured.charges, texts / stretch)
    whole = with_fixed(seconds, fixed, () if measured is None else measured.seconds)
    compute = whole * price.of(1.0)
    cost = Estimate(*(getattr(compute, end) + getattr(charged, end) for end in _ENDS))
    return whole, cost


_ENDS = ("expected", "low", "high")


def estimate_reenrich(
    plan: ReenrichPlan,
    tenant: TenantContext,
    ports: RunPorts,
    engine: QueryEngine,
    scratch: Scratch,
    *,
    at: datetime,
    price: Price,
    clock: Callable[[], float] = time.perf_counter,
    tell: Tell = tell_nobody,
) -> WorkEstimate:
    """Try a plan out on some of its batches, chosen by its seed; writes nothing that stays.

    Tickets whose answers are known are tried on one batch, and take what that took a ticket.
    """
    run = begin(plan, tenant, ports, at=at).run
    began = clock()
    work = find_work(plan, tenant, ports, engine)
    ready, asking = parted(work.tickets, work.known, plan.request.asked)
    texts = texts_of(asking)
    batches = -(-texts // answer_batches.BATCH_TEXTS)
    answerer = Answerer.of(run, plan, ports, work.known, unobserved)
    if texts or plan.publish:
        answerer.look_up_vectors(work.tickets, ports)
    measure_tables(tenant, ports.store)
    fixed = clock() - began + (_gold_seconds(tenant, ports.log) if plan.publish else 0.0)
    measured = None
    with scratch() as lake:
        aside = replace(ports, store=lake)
        known = answer_batches.Batch(ready.head(answer_batches.KNOWN_TICKETS), 0)
        if len(ready):
            began = clock()
            answerer.stage(known, 0, aside)
            fixed += (clock() - began) * len(ready) / len(known.tickets)
        if texts:
            sizes = pilot_sizes(texts, answer_batches.BATCH_TEXTS, seed=plan.request.bundle.seed)

            def try_out(number: int, start: int, count: int) -> None:
                fresh = replace(answerer, known=work.known)
                fresh.stage(stretch(asking, start, count), number + 1, aside)

            measured = measure(
                sizes,
                try_out,
                whole=sizes.texts * batches >= texts,
                clock=clock,
                charges=charges_of(run.run_id, tenant, ports.postgres, price),
                tell=tell,
            )
    seconds, cost = total_of(measured, texts, batches, fixed=fixed, price=price)
    return WorkEstimate(
        tickets=len(work.tickets),
        there=work.there,
        known=len(ready),
        asks=texts,
        batches=batches + -(-len(ready) // answer_batches.KNOWN_TICKETS),
        seconds=seconds,
        cost=cost,
        currency=price.currency,
        fixed_seconds=fixed,
        loading_seconds=loading_of(measured),
        memory_bytes=peak_memory(),
        pilot=measured or NOT_TRIED,
    )


def loading_of(measured: Measured | None) -> float:
    """Say what loading the models took in a pilot."""
    return 0.0 if measured is None else warm_up_seconds(measured.first, measured.seconds)


def peak_memory() -> int:
    """Return the most bytes this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KILOBYTE


def last_run(tenant: TenantContext, log: RunLog) -> tuple[Mapping[str, float], Mapping[str, int]]:
    """Return what each step of the last run that ended took, and how many rows it wrote."""
    ended = {RunStatus.COMPLETED, RunStatus.DEGRADED}
    runs = [r for r in log.recent(tenant) if r.kind == RUN_KIND and r.status in ended]
    manifest = runs[0].manifest if runs else None
    return ({}, {}) if manifest is None else (manifest["seconds"], manifest["counts"])


def _gold_seconds(tenant: TenantContext, log: RunLog) -> float:
    return last_run(tenant, log)[0].get(Step.GOLD.value, 0.0)


def price_in(config: Mapping[str, Any] | None) -> Price:
    """Read what an hour of compute costs in a tenant's configuration."""
    cost = (config or {}).get("cost") or {}
    return Price(float(cost.get("per_compute_hour", 0.0)), str(cost.get("currency", "COP")))
