"""What need not be asked again: answers and vectors that exact versions gave already.

An answer belongs to a question (the words a model reads, and the text its vector is of), to exact
versions of model and prompt, and to an embedding space. Where all are the same, so is the answer,
whichever run asked and for whichever ticket.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, CLASSIFICATIONS_SIDE, EMBEDDINGS, NO_PROMPT
from features.embed import EmbeddingSpace
from lakehouse.data.history import VersionedTableStore
from lakehouse.tenancy import TenantContext
from pipelines.past_tickets import Versions, question_of
from registry.bundles import Bundle, TaskPins

KNOWN_TABLES = (CLASSIFICATIONS, EMBEDDINGS, CLASSIFICATIONS_SIDE)

_MODEL = ["model_name", "model_version", "prompt_name", "prompt_version"]
_SAID = ["predicted_label", "score", "probabilities", "explanation", "fallback_reason"]
KNOWN_SCHEMA = pl.Schema(
    {
        "task": pl.String(),
        "question_sha256": pl.String(),
        "predicted_label": pl.String(),
        "score": pl.Float64(),
        "probabilities": pl.String(),
        "explanation": pl.String(),
        "fallback_reason": pl.String(),
        "reused_from": pl.String(),
    }
)
"""The columns of answers by task and question; `reused_from` is the run that asked the model.

`fallback_reason` is there where the baseline answered in the champion's place: such an answer holds
for the run that asked, and is asked for again by the next.
"""


def space_of(bundle: Bundle) -> str:
    """Name the space of a bundle's vectors."""
    return EmbeddingSpace.of(bundle.embedding, bundle.embedding_prompt, 0).space_id


def known_answers(
    bundle: Bundle,
    tasks: Sequence[TaskPins],
    tickets: pl.DataFrame,
    versions: Versions,
    tenant: TenantContext,
    store: VersionedTableStore,
) -> pl.DataFrame:
    """Return what is known of the questions of `tickets`, one row a question and task.

    `tickets` are those of `with_questions`. Looks in Silver and in the table beside it, at
    `versions`.
    """
    voices = _voices(tasks)
    wanted = _questions(tickets, tasks)
    aside = _aside(bundle, voices, versions, tenant, store)
    return (
        pl.concat([_published(bundle, voices, tickets, tasks, versions, tenant, store), aside])
        .join(wanted, on=["task", "question_sha256"], how="semi")
        .sort("reused_from")
        .unique(["task", "question_sha256"], keep="first", maintain_order=True)
    )


def known_vectors(
    bundle: Bundle,
    texts: pl.Series,
    versions: Versions,
    tenant: TenantContext,
    store: VersionedTableStore,
) -> pl.DataFrame:
    """Return text_sha256 and embedding of those of `texts` (digests) that Silver has vectors of."""
    columns = ["space_id", "text_sha256", "embedding"]
    rows = _read(EMBEDDINGS, columns, versions, tenant, store)
    return (
        rows.filter(
            pl.col("space_id") == space_of(bundle), pl.col("text_sha256").is_in(texts.implode())
        )
        .unique("text_sha256", keep="any")
        .select("text_sha256", pl.col("embedding").cast(pl.List(pl.Float32())))
    )


def _voices(tasks: Sequence[TaskPins]) -> pl.DataFrame:
    """Name the champions as rows name the model that answered."""
    return pl.DataFrame(
        [
            {
                "task": task.task,
                "model_name": task.champion.name,
                "model_version": task.champion.version,
                "prompt_name": prompt.name if prompt else NO_PROMPT,
                "prompt_version": prompt.version if prompt else NO_PROMPT,
            }
            for task in tasks
            for prompt in [task.champion_prompt]
        ]
    )


def _questions(tickets: pl.DataFrame, tasks: Sequence[TaskPins]) -> pl.DataFrame:
    return pl.concat(
        tickets.select(
            "ticket_id",
            "text_sha256",
            pl.lit(task.task).alias("task"),
            pl.col(question_of(task.task)).alias("question_sha256"),
        )
        for task in tasks
    )


def _published(
    bundle: Bundle,
    voices: pl.DataFrame,
    tickets: pl.DataFrame,
    tasks: Sequence[TaskPins],
    versions: Versions,
    tenant: TenantContext,
    store: VersionedTableStore,
) -> pl.DataFrame:
    """Read answers of Silver. Which text one is about, the vector of the same run says."""
    columns = ["ticket_id", "run_id", "task", *_MODEL, *_SAID]
    answers = _read(CLASSIFICATIONS, columns, versions, tenant, store)
    own = answers.filter(pl.col("fallback_reason").is_null())
    ours = own.join(voices, on=["task", *_MODEL], how="semi")
    if ours.is_empty():
        return pl.DataFrame(schema=KNOWN_SCHEMA)
    marks = ["ticket_id", "run_id", "space_id", "text_sha256"]
    read = _read(EMBEDDINGS, marks, versions, tenant, store)
    return (
        ours.join(read.filter(space_id=space_of(bundle)), on=["ticket_id", "run_id"])
        .join(_questions(tickets, tasks), on=["ticket_id", "text_sha256", "task"])
        .rename({"run_id": "reused_from"})
        .select(KNOWN_SCHEMA.names())
    )


def _aside(
    bundle: Bundle,
    voices: pl.DataFrame,
    versions: Versions,
    tenant: TenantContext,
    store: VersionedTableStore,
) -> pl.DataFrame:
    columns = ["run_id", "reused_from", "task", "question_sha256", "space_id", *_MODEL, *_SAID]
    rows = _read(CLASSIFICATIONS_SIDE, columns, versions, tenant, store)
    return (
        rows.filter(pl.col("fallback_reason").is_null(), space_id=space_of(bundle))
        .join(voices, on=["task", *_MODEL], how="semi")
        .with_columns(pl.coalesce("reused_from", "run_id").alias("reused_from"))
        .select(KNOWN_SCHEMA.names())
    )


def _read(
    contract: Contract,
    columns: Sequence[str],
    versions: Versions,
    tenant: TenantContext,
    store: VersionedTableStore,
) -> pl.DataFrame:
    """Read a table at its version; a column that came to it later is empty."""
    at = versions.get(str(contract.table))
    opened = None if at is None else store.dataset(contract.table, tenant, at=at)
    there = [name for name in columns if opened is not None and name in opened.schema.names]
    rows = store.scan(contract.table, tenant, at=at, columns=there) if there else None
    frame = pl.from_arrow(contract.empty().select(list(columns)) if rows is None else rows)
    assert isinstance(frame, pl.DataFrame)
    absent = [name for name in columns if name not in frame.columns]
    return frame.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)


def as_questions(rows: pa.Table) -> pl.DataFrame:
    """Read rows of the table beside Silver as answers of the run that wrote them."""
    frame = pl.from_arrow(rows.select([n for n in KNOWN_SCHEMA.names() if n != "reused_from"]))
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(reused_from=pl.lit(None, pl.String)).unique(
        ["task", "question_sha256"], keep="first", maintain_order=True
    )
