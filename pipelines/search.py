"""Semantic search: the tickets of one tenant that mean what a text means."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

import pyarrow as pa

from features.embed import EmbeddingSpace, as_matrix
from features.index import EmbeddingIndex, Neighbour
from labeling.masking import masked
from lakehouse.compute.batches import map_batches
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines.answered import first_words
from pipelines.classifications_current import classifications_current
from pipelines.enrich import ModelSteps
from pipelines.errors import NothingToDoError
from pipelines.plan import RUN_KIND, RunPlan
from registry.bundles import Bundle
from registry.refs import Registry


def search_tickets(
    text: str,
    tenant: TenantContext,
    *,
    log: RunLog,
    registry: Registry,
    models: ModelSteps,
    index: EmbeddingIndex,
    k: int = 10,
) -> tuple[Neighbour, ...]:
    """Return the `k` nearest tickets, nearest first.

    The text is embedded as the tenant's newest run embedded its tickets, so that the two can be
    compared. Raises `NothingToDoError` where no run has ended yet.
    """
    if not text.strip():
        msg = "the text to search for is blank; give a few words"
        raise InputError(msg)
    bundle = newest_bundle(tenant, log)
    arguments = {
        "folder": str(registry.fetch(bundle.embedding)),
        "template": registry.template(bundle.embedding_prompt),
    }
    question = map_batches(pa.table({"text": [text]}), models.embed, arguments)
    vector = as_matrix(question["embedding"])[0]
    space = EmbeddingSpace.of(bundle.embedding, bundle.embedding_prompt, len(vector))
    return index.search(vector, space, tenant, k=k)


def openings(
    found: Sequence[Neighbour], tenant: TenantContext, store: TableStore, *, letters: int = 90
) -> dict[str, str]:
    """Return, by ticket, the first `letters` of what the citizen wrote, personal data masked."""
    tickets = pa.chunked_array([[neighbour.ticket_id for neighbour in found]], pa.string())
    words = first_words(tickets, tenant, store)
    return {
        row["ticket_id"]: shorten(masked(row["text"]), letters, placeholder=" …")
        for row in words.select(["ticket_id", "text"]).to_pylist()
    }


def labels_now(
    found: Sequence[Neighbour], task: str, tenant: TenantContext, store: TableStore
) -> dict[str, tuple[str, str]]:
    """Return, by ticket, what it counts as now in a task and who says so: `human` or `machine`."""
    tickets = [neighbour.ticket_id for neighbour in found]
    rows = classifications_current(tenant, store, tickets=tickets).to_pylist()
    return {row["ticket_id"]: (row["label"], row["source"]) for row in rows if row["task"] == task}


def newest_bundle(tenant: TenantContext, log: RunLog) -> Bundle:
    """Return how the newest run that ended well enriched its tickets."""
    ended = (RunStatus.COMPLETED, RunStatus.DEGRADED)
    for record in log.recent(tenant, limit=100):
        if record.kind == RUN_KIND and record.status in ended:
            return RunPlan.of(record.plan).bundle
    msg = (
        f"tenant '{tenant.tenant_id}' has no finished run to search in; "
        f"make one with `plata run --tenant {tenant.tenant_id}`"
    )
    raise NothingToDoError(msg)
