"""Reenrich: ask any bundle about tickets as they were at a past point in time, aside.

Answers go to Silver `classifications_side`, which no run reads; published Silver is not touched
unless the work was planned to publish. What exact versions answered already is not asked again.
Work goes batch by batch: what is staged is done, so that a kill or a spent budget costs at most one
batch, and the next attempt goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import polars as pl

from contracts.tables import (
    CLASSIFICATIONS_SIDE,
    GOLD,
    LABELS,
    SIDE,
    SILVER,
)
from lakehouse.control.catalogue import TableCatalogue
from lakehouse.control.runs import RunStatus
from lakehouse.data.query import QueryEngine
from lakehouse.data.tables import Snapshot
from lakehouse.errors import InputError
from lakehouse.manifest import Environment, RunManifest
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.answer_batches import Answerer, cut
from pipelines.budget import Budget
from pipelines.catalogue import refresh_catalogue
from pipelines.known_answers import (
    KNOWN_SCHEMA,
    as_questions,
)
from pipelines.past_tickets import (
    Versions,
)
from pipelines.plan import REENRICH_KIND
from pipelines.quality import publish_layer
from pipelines.reenrich_plan import Reenrich, ReenrichPlan, Work, find_work, heads_of
from pipelines.reenrich_publish import publish_answers
from pipelines.run import RunPorts, written_by
from pipelines.steps import OnStep, own_rows, unobserved

ASKING, PUBLISHING = "asking", "publishing"
"""What is told to be done."""


Tell = Callable[[str, int, int], None]
"""Told what is being done, tickets done and tickets in all."""


def tell_nobody(what: str, done: int, total: int) -> None:
    """Be a `Tell` that does nothing."""


def carry_out(
    reenrich: Reenrich,
    ports: RunPorts,
    engine: QueryEngine,
    *,
    budget: Budget | None = None,
    on_step: OnStep = unobserved,
    tell: Tell = tell_nobody,
) -> Reenrich:
    """Ask what is not known, write all of it aside, and publish it where that was planned.

    Stops at the end of a batch where the budget is spent; the run stays open then, as it does when
    it is killed. A critical check that fails closes it as FAILED.
    """
    run, plan = reenrich.run, reenrich.plan
    allowed = budget or Budget()
    allowed.begin()
    with ports.log.exclusive(run.tenant, REENRICH_KIND):
        _require_no_other(reenrich, ports)
        began = time.perf_counter()
        work = find_work(plan, run.tenant, ports, engine)
        ports.log.start(run, REENRICH_KIND, plan.as_dict())
        found = replace(reenrich, tickets=len(work.tickets), there=work.there)
        done = _answer(found, work, ports, allowed, on_step, tell)
        if done < len(work.tickets):
            return replace(found, done=done)
        publish_layer(run, SIDE, store=ports.store, on_step=on_step)
        if plan.publish:
            tell(PUBLISHING, done, done)
            publish_answers(found, ports, on_step)
        _close(run, plan, ports, time.perf_counter() - began)
        return replace(found, done=done, over=True)


def _require_no_other(reenrich: Reenrich, ports: RunPorts) -> None:
    tenant = reenrich.run.tenant
    left = ports.log.unfinished(tenant, REENRICH_KIND)
    if left is not None and left.run.run_id != reenrich.run.run_id:
        msg = (
            f"'{left.run.run_id}' is not over: go on with `plata reenrich --resume --tenant "
            f"{tenant.tenant_id}`, or give it up with `plata runs abandon {left.run.run_id}`"
        )
        raise InputError(msg)


def _answer(
    reenrich: Reenrich,
    work: Work,
    ports: RunPorts,
    allowed: Budget,
    on_step: OnStep,
    tell: Tell,
) -> int:
    """Stage batch after batch; return how many tickets are done."""
    run, plan = reenrich.run, reenrich.plan
    total = len(work.tickets)
    if ports.store.published(CLASSIFICATIONS_SIDE.table, run):
        return total
    columns = [name for name in KNOWN_SCHEMA.names() if name != "reused_from"]
    marks = ["ticket_id", *columns]
    staged = own_rows(ports.store, CLASSIFICATIONS_SIDE, run, columns=marks)
    answerer = Answerer.of(run, plan, ports, work.known, on_step)
    answerer.remember(_news(as_questions(staged), work.known))
    over = pl.Series(staged["ticket_id"].unique().to_pylist(), dtype=pl.String)
    left = work.tickets.filter(~pl.col("ticket_id").is_in(over.implode()))
    number, done = len(ports.store.staged(CLASSIFICATIONS_SIDE.table, run)), total - len(left)
    batches = list(cut(left, answerer.known, plan.request.asked))
    if plan.publish or any(batch.asks for batch in batches):
        answerer.look_up_vectors(left, ports)
    tell(ASKING, done, total)
    for batch in batches:
        if allowed.spent():
            return done
        answerer.stage(batch, number, ports)
        number, done = number + 1, done + len(batch.tickets)
        tell(ASKING, done, total)
    return done


def _news(answers: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    return answers.join(known, on=["task", "question_sha256"], how="anti")


def _close(run: RunContext, plan: ReenrichPlan, ports: RunPorts, seconds: float) -> None:
    bundle, tenant = plan.request.bundle, run.tenant
    wrote = (*SIDE, *SILVER, *GOLD) if plan.publish else SIDE
    contents = written_by(run, ports.store, wrote)
    heads = heads_of(wrote, tenant, ports)
    if plan.publish:
        heads[str(LABELS.table)] = plan.known[str(LABELS.table)]
    manifest = RunManifest(
        run,
        inputs=_snapshots({**plan.known, **plan.versions}, tenant),
        outputs=_snapshots(heads, tenant),
        pins={**bundle.pins(), "bundle": bundle.bundle_id},
        digests=bundle.digests(),
        counts={table: content.rows for table, content in contents.items() if content.rows},
        contents=contents,
        environment=Environment.here(),
        seconds={REENRICH_KIND: seconds},
    )
    refresh_catalogue(tenant, store=ports.store, catalogue=TableCatalogue(ports.postgres))
    results = ports.log.quality(tenant, run.run_id)
    well = all(result.passed for result in results)
    status = RunStatus.COMPLETED if well else RunStatus.DEGRADED
    ports.log.finish(run, status, manifest=manifest.as_dict())


def _snapshots(versions: Versions, tenant: TenantContext) -> tuple[Snapshot, ...]:
    return tuple(
        Snapshot(_BY_NAME[name].table, tenant.tenant_id, version)
        for name, version in versions.items()
        if version is not None
    )


_BY_NAME = {str(contract.table): contract for contract in (*SIDE, *SILVER, *GOLD)}
