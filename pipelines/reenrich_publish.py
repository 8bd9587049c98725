"""Answers from the table beside Silver made official: as a new run, history kept, Gold counted."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from contracts.tables import (
    CLASSIFICATIONS,
    CLASSIFICATIONS_SIDE,
    EMBEDDINGS,
    LABELS,
)
from lakehouse.control.runs import RunStatus
from lakehouse.run import RunContext
from pipelines.alone import alone
from pipelines.answered import CHAMPION, with_columns
from pipelines.enrich import Enricher
from pipelines.errors import RunFailedError
from pipelines.quality import audit_staged, layer_begun, publish_layer, require
from pipelines.reenrich_plan import Reenrich, ReenrichPlan
from pipelines.run import RunPorts, every_answer, publish_gold
from pipelines.steps import OnStep, own_rows, stage

_PUBLISHED_ROWS = 20_000
_EVERY_ANSWER = "every ticket has every answer that was asked for"


def publish_answers(reenrich: Reenrich, ports: RunPorts, on_step: OnStep) -> None:
    """Append the answers to Silver, and bring index, Gold and what is served up to date."""
    run, plan = reenrich.run, reenrich.plan
    with alone(run.tenant, ports):
        try:
            if not layer_begun(run, APPLIED, store=ports.store):
                rows = _stage_answers(run, ports, on_step)
                results = audit_staged(run, APPLIED, store=ports.store, log=ports.log)
                expected = reenrich.tickets * len(plan.request.asked)
                every = every_answer(rows, expected)
                judged = [*results, replace(every, check=_EVERY_ANSWER)]
                ports.log.record_quality(run, judged)
                require(judged)
            publish_layer(run, APPLIED, store=ports.store, on_step=on_step)
            _index(run, plan, ports, on_step)
            labels_at = plan.known[str(LABELS.table)]
            publish_gold(run, ports, labels_at, plan.sla, on_step)
        except RunFailedError as error:
            for contract in APPLIED:
                ports.store.discard(contract.table, run)
            ports.log.finish(run, RunStatus.FAILED, error=str(error))
            raise


APPLIED = (EMBEDDINGS, CLASSIFICATIONS)
"""What publishing appends to; vectors first, an answer never stands without what it read."""


def _stage_answers(run: RunContext, ports: RunPorts, on_step: OnStep) -> int:
    own = CLASSIFICATIONS_SIDE.schema.names
    names = [name for name in CLASSIFICATIONS.schema.names if name in own]
    rows = own_rows(ports.store, CLASSIFICATIONS_SIDE, run, columns=names)
    ordered = rows.sort_by([(name, "ascending") for name in ("day", "ticket_id", "task")])
    tier = pa.repeat(CHAMPION, len(ordered))
    # Answers given again are in no audit sample: their tickets may have taught the model.
    champions = ordered.append_column("tier", tier)
    whole = with_columns(champions, CLASSIFICATIONS, CLASSIFICATIONS.schema.names)
    for number, start in enumerate(range(0, len(whole), _PUBLISHED_ROWS)):
        piece = whole.slice(start, _PUBLISHED_ROWS)
        part = f"reenrich/{number:05d}"
        stage(ports.store, CLASSIFICATIONS, piece, run, part=part, on_step=on_step)
    return len(whole)


def _index(run: RunContext, plan: ReenrichPlan, ports: RunPorts, on_step: OnStep) -> None:
    """Bring the index up to date, which keeps the answer to the bundle's first task."""
    bundle = plan.request.bundle
    if bundle.tasks[0] not in plan.request.asked:
        return
    due = own_rows(ports.store, EMBEDDINGS, run, columns=["ticket_id", "day"])
    ordered = due.sort_by("ticket_id")
    Enricher(run, bundle, ports.store, ports.registry, ports.models, ports.cluster, on_step).index(
        ports.index, ordered
    )
