"""Answers batch by batch: from what is known, else by asking; each batch is staged as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from contracts.tables import (
    CLASSIFICATIONS_SIDE,
    EMBEDDINGS,
    NO_PROMPT,
)
from lakehouse.data.query import QueryEngine
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.routing import Decision
from pipelines.answered import asked_text
from pipelines.enrich import Enricher, decided, routing_of
from pipelines.known_answers import (
    KNOWN_SCHEMA,
    known_vectors,
    space_of,
)
from pipelines.past_tickets import (
    question_of,
    read_versions,
)
from pipelines.reenrich_plan import ReenrichPlan, find_work, side_rows
from pipelines.run import RunPorts
from pipelines.steps import OnStep, stage
from registry.bundles import TaskPins

BATCH_TEXTS = 256
"""Texts a batch asks about: what a spent budget may overshoot by, and a kill costs at most."""


KNOWN_TICKETS = 4_000
"""Tickets a batch writes whose answers are known: nothing is asked, so it may be larger."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tickets written together. `asks` is how many texts a model has to be asked about."""

    tickets: pl.DataFrame
    asks: int


def cut(tickets: pl.DataFrame, known: pl.DataFrame, tasks: Sequence[TaskPins]) -> Iterator[Batch]:
    """Cut tickets into batches: first those of which all is known, then `BATCH_TEXTS` texts each.

    Tickets that ask the same stand in one batch. The same tickets and knowledge are cut alike.
    """
    ready, asking = parted(tickets, known, tasks)
    for start in range(0, len(ready), KNOWN_TICKETS):
        yield Batch(ready.slice(start, KNOWN_TICKETS), 0)
    for start in range(0, texts_of(asking), BATCH_TEXTS):
        yield stretch(asking, start, BATCH_TEXTS)


def parted(
    tickets: pl.DataFrame, known: pl.DataFrame, tasks: Sequence[TaskPins]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part tickets into those of which all is known, and those to ask about.

    These have `text_number`: the same for tickets that ask the same, counted by day and text.
    """
    questions = [question_of(task.task) for task in tasks]
    told = {t.task: known.filter(task=t.task)["question_sha256"].implode() for t in tasks}
    of_all = pl.all_horizontal(
        pl.col(question_of(task.task)).is_in(told[task.task]) for task in tasks
    )
    asking = tickets.filter(~of_all)
    numbers = asking.select(questions).unique(maintain_order=True).with_row_index("text_number")
    return tickets.filter(of_all), asking.join(numbers, on=questions, maintain_order="left")


def texts_of(asking: pl.DataFrame) -> int:
    """Count the texts to ask about."""
    return asking["text_number"].n_unique()


def stretch(asking: pl.DataFrame, start: int, texts: int) -> Batch:
    """Take the tickets of `texts` texts, from the text with the number `start` on."""
    own = asking.filter(pl.col("text_number").is_between(start, start + texts, closed="left"))
    return Batch(own.drop("text_number").sort("day", "text_sha256", "ticket_id"), texts_of(own))


@dataclass(slots=True)
class Answerer:
    """Answers batches: from what is known, else by asking; and remembers what was said."""

    run: RunContext
    plan: ReenrichPlan
    enricher: Enricher
    known: pl.DataFrame
    vectors: pl.DataFrame

    @classmethod
    def of(
        cls,
        run: RunContext,
        plan: ReenrichPlan,
        ports: RunPorts,
        known: pl.DataFrame,
        on_step: OnStep,
    ) -> Answerer:
        """Begin with what is known."""
        enricher = Enricher(
            run,
            plan.request.bundle,
            ports.store,
            ports.registry,
            ports.models,
            ports.cluster,
            on_step,
        )
        nothing = pl.DataFrame(
            schema={"text_sha256": pl.String(), "embedding": pl.List(pl.Float32())}
        )
        return cls(run, plan, enricher, known, nothing)

    def remember(self, answers: pl.DataFrame) -> None:
        """Know these answers too, to questions that were not known."""
        self.known = pl.concat([self.known, answers.select(KNOWN_SCHEMA.names())], rechunk=False)

    def look_up_vectors(self, tickets: pl.DataFrame, ports: RunPorts) -> None:
        """Read the vectors Silver has of these texts, once for all batches."""
        bundle, tenant = self.plan.request.bundle, self.run.tenant
        texts = tickets["text_sha256"].unique()
        self.vectors = known_vectors(bundle, texts, self.plan.known, tenant, ports.store)

    def stage(self, batch: Batch, number: int, ports: RunPorts) -> None:
        """Answer a batch, and stage its rows; of its vectors too, where the plan is to publish."""
        on_step, part = self.enricher.on_step, f"batch/{number:06d}"
        vectors = self._vectors(batch) if batch.asks or self.plan.publish else None
        if vectors is not None and self.plan.publish:
            due = batch.tickets.select("ticket_id", "source", "day", "text_sha256").to_arrow()
            places = _places(batch.tickets["text_sha256"], vectors["text_sha256"])
            column = vectors["embedding"].to_arrow().take(places)
            rows = self.enricher.embedding_rows(due, pa.chunked_array([column]))
            stage(ports.store, EMBEDDINGS, rows, self.run, part=part, on_step=on_step)
        for task in self.plan.request.asked:
            if vectors is not None:
                self._ask(batch, task, vectors)
        rows = self.rows(batch)
        stage(ports.store, CLASSIFICATIONS_SIDE, rows, self.run, part=part, on_step=on_step)

    def rows(self, batch: Batch) -> pa.Table:
        """Shape what is known of a batch as rows of the table beside Silver."""
        tasks, bundle = self.plan.request.asked, self.plan.request.bundle
        fence = {
            "tenant_id": self.run.tenant.tenant_id,
            "run_id": self.run.run_id,
            "as_of": read_versions(self.plan.versions),
            "space_id": space_of(bundle),
            "bundle_id": bundle.bundle_id,
        }
        parts = [
            routed(batch.tickets, self.known, task, self.plan).with_columns(_named(task))
            for task in tasks
        ]
        whole = pl.concat(parts).with_columns(
            pl.lit(self.run.started_at, pl.Datetime("us", "UTC")).alias("inference_timestamp"),
            *(pl.lit(value).alias(name) for name, value in fence.items()),
        )
        schema = CLASSIFICATIONS_SIDE.schema
        return whole.sort("day", "ticket_id", "task").select(schema.names).to_arrow().cast(schema)

    def _ask(self, batch: Batch, task: TaskPins, vectors: pl.DataFrame) -> None:
        column = question_of(task.task)
        told = self.known.filter(task=task.task)["question_sha256"]
        new = batch.tickets.filter(~pl.col(column).is_in(told.implode())).unique(
            column, keep="first", maintain_order=True
        )
        if new.is_empty():
            return
        asked = asked_text(new.to_arrow(), task.text_field)
        places = _places(new["text_sha256"], vectors["text_sha256"])
        questions = pa.table(
            {
                "ticket_id": new["ticket_id"].to_arrow().cast(pa.string()),
                "text": asked,
                "embedding": vectors["embedding"].to_arrow().take(places).cast(_VECTOR),
            }
        )
        said = pl.from_arrow(self.enricher.ask(questions, task))
        assert isinstance(said, pl.DataFrame)
        self.remember(
            said.with_columns(
                pl.lit(task.task).alias("task"),
                new[column].alias("question_sha256"),
                pl.lit(None, pl.String).alias("reused_from"),
            )
        )

    def _vectors(self, batch: Batch) -> pl.DataFrame:
        """Return text_sha256 and embedding of every text of a batch, computing those not known."""
        texts = batch.tickets.select("text_sha256", "text").unique(
            "text_sha256", keep="first", maintain_order=True
        )
        found = self.vectors.join(texts, on="text_sha256", how="semi")
        missing = texts.join(found, on="text_sha256", how="anti", maintain_order="left")
        if missing.is_empty():
            return found
        words = pa.table({"text": missing["text"].to_arrow().cast(pa.string())})
        computed = self.enricher.vectors(words).combine_chunks().cast(_VECTOR)
        new = missing.select("text_sha256").with_columns(
            pl.Series("embedding", computed, pl.List(pl.Float32()))
        )
        return pl.concat([found.select(new.columns), new])


_VECTOR = pa.list_(pa.float32())


def _named(task: TaskPins) -> list[pl.Expr]:
    """Name who answered: the champion, or the baseline where that stood in for it."""
    prompt, fell = task.champion_prompt, pl.col("fallback_reason").is_not_null()
    champion = {
        "model_name": task.champion.name,
        "model_version": task.champion.version,
        "prompt_name": NO_PROMPT if prompt is None else prompt.name,
        "prompt_version": NO_PROMPT if prompt is None else prompt.version,
    }
    baseline = {
        "model_name": task.baseline.name,
        "model_version": task.baseline.version,
        "prompt_name": NO_PROMPT,
        "prompt_version": NO_PROMPT,
    }
    return [
        pl.when(fell).then(pl.lit(baseline[name])).otherwise(pl.lit(champion[name])).alias(name)
        for name in champion
    ]


def _places(wanted: pl.Series, among: pl.Series) -> pa.Array:
    places = {value: place for place, value in enumerate(among)}
    return pa.array([places[value] for value in wanted], pa.int64())


def routed(
    tickets: pl.DataFrame, known: pl.DataFrame, task: TaskPins, plan: ReenrichPlan
) -> pl.DataFrame:
    """Give tickets the answers that are known, and what the plan's bundle decides about them.

    A ticket whose answer is not known has none.
    """
    answers = known.filter(task=task.task)
    rows = tickets.rename({question_of(task.task): "question_sha256"}).join(
        answers, on="question_sha256", how="left", maintain_order="left"
    )
    tickets_of = rows["ticket_id"].to_arrow().cast(pa.string())
    said, bundle = rows.select("predicted_label", "score").to_arrow(), plan.request.bundle
    pinned = routing_of(plan.routings, bundle, task)
    decisions = decided(tickets_of, said, task, seed=bundle.seed, pinned=pinned)
    fell = pl.col("fallback_reason").is_not_null()
    return (
        rows.with_columns(
            pl.lit(task.task).alias("task"), pl.Series("decision", decisions, pl.String)
        )
        .with_columns(
            pl.when(fell)
            .then(pl.lit(Decision.REVIEW.value))
            .otherwise("decision")
            .alias("decision")
        )
        .select(_ROUTED)
    )


_ROUTED = ["ticket_id", "source", "day", "text_sha256", *KNOWN_SCHEMA.names(), "decision"]


def answers_to(
    plan: ReenrichPlan, tenant: TenantContext, ports: RunPorts, engine: QueryEngine
) -> pl.DataFrame | None:
    """Return every answer to a plan's questions, one row a ticket and task, without asking anybody.

    ticket_id, task, predicted_label, score, decision, probabilities; what the baseline said, where
    a champion gave none. None where an answer is not known.
    """
    work = find_work(replace(plan, publish=True), tenant, ports, engine)
    request, columns = plan.request, ["predicted_label", "score", "decision", "probabilities"]
    pair = ["ticket_id", "task"]
    whole = pl.concat(
        routed(work.tickets, work.known, task, plan) for task in request.asked
    ).select(*pair, *columns)
    silent = pl.col("predicted_label").is_null()
    given = whole.filter(~silent)
    left = whole.filter(silent).select(pair)
    if left.is_empty():
        return given
    aside = side_rows(plan, tenant, ports, [*pair, *columns, "inference_timestamp"])
    newest = aside.sort("inference_timestamp").unique(pair, keep="last")
    found = left.join(newest, on=pair).select(whole.columns)
    return None if len(found) < len(left) else pl.concat([given, found]).sort(pair)
