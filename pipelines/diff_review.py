"""The flips most worth a look, put before people through the review queue that is there."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from labeling.accounts import ReviewerAccounts
from labeling.policy import ReviewPolicy
from labeling.queue import ReviewQueue
from lakehouse.control.runs import RunLog
from lakehouse.data.tables import TableStore
from lakehouse.tenancy import TenantContext
from models.routing import Decision
from models.task import Task
from pipelines.answer_diff import Flip, TaskDiff
from pipelines.answered import standing_answers
from pipelines.diff_pictures import percent
from pipelines.review import (
    DEFAULT_POLICY,
    PUSH_KIND,
    ModelPage,
    Pushed,
    enrol,
    no_page,
    put_chosen,
)
from registry.bundles import Bundle


def send_flips(
    diffs: Sequence[TaskDiff],
    new: Bundle,
    tenant: TenantContext,
    tasks: Sequence[Task],
    count: int,
    *,
    store: TableStore,
    queue: ReviewQueue,
    log: RunLog,
    accounts: ReviewerAccounts,
    page: ModelPage = no_page,
    policy: ReviewPolicy = DEFAULT_POLICY,
) -> list[Pushed]:
    """Put the `count` flips of each task that are most worth a look into its queue.

    The suggestion is the new bundle's label. Doing it twice adds nothing, and a ticket that has a
    label or waits already is left out.
    """
    wanted = {diff.task: diff.worth_a_look[:count] for diff in diffs}
    with log.exclusive(tenant, PUSH_KIND):
        enrol(tenant, queue=queue, accounts=accounts)
        return [
            put_chosen(
                tenant,
                task,
                _as_answers(wanted[task.name], task, new, tenant, store),
                store=store,
                queue=queue,
                page=page,
                policy=policy,
            )
            for task in tasks
            if wanted.get(task.name)
        ]


def _as_answers(
    flips: Sequence[Flip], task: Task, new: Bundle, tenant: TenantContext, store: TableStore
) -> pa.Table:
    """Say the flips as answers to be reviewed; their vectors are those of the standing answers."""
    standing = standing_answers(task.name, tenant, store)
    champion = next(pins.champion for pins in new.tasks if pins.task == task.name)
    rows = pl.DataFrame(
        [
            {
                "ticket_id": flip.ticket_id,
                "source": flip.source,
                "day": flip.day,
                "predicted_label": flip.new,
                "score": flip.new_score,
                "decision": Decision.REVIEW.value,
                "drawn": False,
                "explanation": _explained(flip, task.titles),
                "model_name": champion.name,
                "model_version": champion.version,
                "bundle_id": new.bundle_id,
            }
            for flip in flips
        ]
    )
    kept = pl.DataFrame(standing).select("ticket_id", "run_id", "inference_timestamp")
    whole = rows.join(kept, on="ticket_id", maintain_order="left")
    return whole.select(standing.column_names).to_arrow().cast(standing.schema)


def _explained(flip: Flip, titles: dict[str, str]) -> str:
    old, new = (titles.get(label, label) for label in (flip.old, flip.new))
    return (
        f"Dos versiones no coinciden: la nueva dice {new} ({percent(flip.new_score)}), "
        f"la otra decía {old} ({percent(flip.old_score)})."
    )
