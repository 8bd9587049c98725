"""Enrichment: embed the texts of a run, ask every model about them, decide whom to believe.

Each step works chunk by chunk and stages what a chunk gives; all of it is published with the rest
of Silver. A run that is killed does not ask a model again for what is staged. Equal texts are asked
about once a chunk. Where the champion gives no answer, the baseline answers and a person looks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.tables import (
    CLASSIFICATIONS,
    CLASSIFICATIONS_SHADOW,
    EMBEDDINGS,
    ENTITIES,
    MOMENT,
    NO_PROMPT,
)
from features.embed import EmbeddingSpace
from features.index import EmbeddingIndex
from lakehouse.compute.batches import Cluster, Step, map_batches
from lakehouse.data.tables import TableStore
from lakehouse.errors import ConfigurationError
from lakehouse.run import RunContext
from models.classifier import Classifier, require_labels
from models.classifier import answers as answers_of
from models.entities import entities_step
from models.folder import LLM, family_of
from models.routing import Decision, PinnedRouting, RoutingPolicy, audit_sample, with_audit
from pipelines.answered import CHAMPION, asked_text
from pipelines.steps import OnStep, Progress, own_rows, stage, untold
from registry.bundles import Bundle, EntityPins, TaskPins
from registry.refs import ModelRef, PromptRef, Registry

CHUNK_TICKETS = 2_000
"""Tickets a part. A constant: a resumed run must cut the same way."""

_EXTRACTED_ROWS = 500
"""Texts a batch, where entities are looked for: a millisecond each."""

_CONVERSED_ROWS = 64
"""Texts a batch, where an LLM is asked: between two, a budget may end the run."""

_SILENT = "El modelo principal no respondió."
"""What a reviewer reads before the baseline's own reason."""

COMPARISON = "comparison"
SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Took:
    """What a part of a bundle's own answers took, of wall time."""

    bundle_id: str
    part: str
    task: str
    answers: int
    seconds: float


OnTook = Callable[[Took], None]
"""Told what a part took, before it is staged."""


def uncounted(took: Took) -> None:
    """Be an `OnTook` that does nothing."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Which of a run's answers an enricher gives: by default all, the champion's and those beside.

    `name` sets its parts apart from those of the run's other arms. A bundle of tier `shadow` gives
    no more than its champions' answers, which decide nothing. `embeds` where it reads vectors of
    its own space, which are made on the way and kept nowhere.
    """

    name: str = ""
    tier: str = CHAMPION
    embeds: bool = False

    @property
    def table(self) -> Contract:
        """Where the answers go."""
        return CLASSIFICATIONS_SHADOW if self.tier == SHADOW else CLASSIFICATIONS


WHOLE_RUN = Arm()


@dataclass(frozen=True, slots=True)
class ModelSteps:
    """What is mapped over texts: `features.embed.embed_step`, `models.steps.classify_step` and
    `models.entities.entities_step`.

    `llm` opens what is asked over a network, see `models.llm_desk.LlmDesk.open`: it waits rather
    than computes, so it is asked from this process and not from the workers.
    """

    embed: Callable[..., Step]
    classify: Callable[..., Step]
    extract: Callable[..., Step] = entities_step
    llm: Callable[..., Classifier] | None = None


@dataclass(frozen=True, slots=True)
class Enricher:
    """One run's enrichment and what it works with. `cluster` None computes in this process.

    `routings` are the plan's, for the tasks that ask for a guarantee.
    """

    run: RunContext
    bundle: Bundle
    store: TableStore
    registry: Registry
    models: ModelSteps
    cluster: Cluster | None
    on_step: OnStep
    arm: Arm = WHOLE_RUN
    on_took: OnTook = uncounted
    routings: Sequence[PinnedRouting] = ()

    def embed(self, due: pa.Table, *, progress: Progress = untold) -> None:
        """Stage the vectors of `due` (see `pending_tickets`) for Silver `embeddings`."""
        if self.store.published(EMBEDDINGS.table, self.run):
            progress(len(due))
            return
        done = self._staged(EMBEDDINGS)
        for number, chunk in _chunks(due):
            part = f"embeddings/{number:05d}"
            if part in done:
                progress(len(chunk))
                continue
            rows = self.embedding_rows(chunk, self._vectors_of(chunk, progress))
            stage(self.store, EMBEDDINGS, rows, self.run, part=part, on_step=self.on_step)

    def classify(self, due: pa.Table, *, progress: Progress = untold) -> None:
        """Stage the answers of every task's models for the table of this arm.

        They wait there to be judged and published. Needs the vectors of `due`, staged or in Silver.
        `progress` is told answers, one a ticket and model.
        """
        voices = [voice for task in self.bundle.tasks for voice in self._voices(task)]
        table = self.arm.table
        if self.store.published(table.table, self.run):
            progress(len(due) * len(voices))
            return
        vectors = None if self.arm.embeds else self._vectors()
        done = self._staged(table)
        for number, chunk in _chunks(due):
            left = [voice for voice in voices if self._part(voice, number) not in done]
            progress(len(chunk) * (len(voices) - len(left)))
            if not left:
                continue
            rows = self._with_vectors(chunk, vectors)
            for voice in left:
                asked = self._not_fallen(rows, voice, number)
                progress(len(rows) - len(asked))
                if len(asked) == 0:
                    continue
                part, began = self._part(voice, number), time.perf_counter()
                answers = self._answers(asked, voice, progress)
                if voice.tier != COMPARISON:
                    seconds = time.perf_counter() - began
                    task, bundle_id = voice.task.task, self.bundle.bundle_id
                    self.on_took(Took(bundle_id, part, task, len(answers), seconds))
                if voice.tier == SHADOW:
                    answers = table.enforce(answers)  # judged later, it would stop the run
                stage(self.store, table, answers, self.run, part=part, on_step=self.on_step)

    def vectors(self, texts: pa.Table, *, progress: Progress = untold) -> pa.ChunkedArray:
        """Return the vectors of the column `text`, in its order; writes nothing."""
        arguments = {
            "folder": str(self.registry.fetch(self.bundle.embedding)),
            "template": self.registry.template(self.bundle.embedding_prompt),
        }
        return self._mapped(texts, self.models.embed, arguments, progress)["embedding"]

    def embedding_rows(self, chunk: pa.Table, vectors: pa.ChunkedArray) -> pa.Table:
        """Shape vectors as rows of `embeddings` about the tickets of `chunk`."""
        space = EmbeddingSpace.of(
            self.bundle.embedding, self.bundle.embedding_prompt, len(vectors[0])
        )
        columns = {
            **self._fence(chunk),
            "space_id": space.space_id,
            "text_sha256": chunk["text_sha256"],
            "embedding": vectors.cast(pa.list_(pa.float32())),
            **_versions(self.bundle.embedding, self.bundle.embedding_prompt),
        }
        return _table(EMBEDDINGS, columns, len(chunk))

    def ask(self, questions: pa.Table, task: TaskPins, *, progress: Progress = untold) -> pa.Table:
        """Return the champion's answers to ticket_id, text (as the task asks it) and embedding.

        In the order of the questions; see `models.classifier.answers`. `fallback_reason` says why
        the baseline answered, where it did. Writes nothing.
        """
        champion = next(voice for voice in self._voices(task) if voice.tier == CHAMPION)
        said = self._asked(questions, champion, progress).combine_chunks()
        silent = pc.is_null(said["predicted_label"]).combine_chunks()
        reasons = pc.if_else(silent, said["explanation"], None)
        if pc.any(silent).as_py():
            instead = self._asked(questions.filter(silent), champion.fallback, untold)
            for place, field in enumerate(said.schema):
                own, other = said[field.name].combine_chunks(), instead[field.name].combine_chunks()
                if field.name == "explanation":
                    other = pc.binary_join_element_wise(_SILENT, other, " ")
                filled = pc.replace_with_mask(own, silent, other.cast(field.type))
                said = said.set_column(place, field, filled)
        return said.append_column("fallback_reason", reasons)

    def extract(self, due: pa.Table, *, progress: Progress = untold) -> None:
        """Stage what the texts of `due` name for Silver `entities`: no row where they name nothing.

        `progress` is told tickets, one a ticket and task.
        """
        if self.store.published(ENTITIES.table, self.run):
            progress(len(due) * len(self.bundle.entities))
            return
        done = self._staged(ENTITIES)
        for number, chunk in _chunks(due):
            for pins in self.bundle.entities:
                part = f"entities/{pins.task}/{pins.model.name}/{pins.model.version}/{number:05d}"
                if part in done:
                    progress(len(chunk))
                    continue
                rows = self._entity_rows(chunk, pins, progress)
                stage(self.store, ENTITIES, rows, self.run, part=part, on_step=self.on_step)

    def index(self, index: EmbeddingIndex, due: pa.Table, *, progress: Progress = untold) -> None:
        """Copy the run's vectors to the index, with the champion's answer to the first task."""
        if len(due) == 0:
            return
        vectors = self._vectors()
        labels = self._first_labels()
        space = self._space(vectors)
        index.prepare(space, self.run.tenant)
        for number, chunk in _chunks(due):
            rows = _with_vectors(chunk, vectors).select(["ticket_id", "day", "embedding"])
            named = [labels.get(ticket) for ticket in rows["ticket_id"].to_pylist()]
            place = f"index/{number:05d}"
            self.on_step(f"before {place}")
            index.upsert(rows.append_column("label", pa.array(named, pa.string())), space, self.run)
            self.on_step(f"after {place}")
            progress(len(chunk))
        index.complete(space, self.run.tenant)

    def voices(self) -> int:
        """Return how many answers a ticket gets."""
        return sum(1 for task in self.bundle.tasks for _ in self._voices(task))

    def fallen(self) -> Counter[tuple[str, str]]:
        """Count the staged answers the baseline gave in a champion's place, by task and reason.

        Of this bundle's answers; in an experiment the run has another's as well.
        The baseline does not answer those tickets a second time.
        """
        if not any(self._may_fall(task) for task in self.bundle.tasks):
            return Counter()
        rows = self._own(CLASSIFICATIONS, ["task", "fallback_reason", "bundle_id"])
        ours = pc.equal(rows["bundle_id"], self.bundle.bundle_id)
        rows = rows.filter(pc.and_(pc.is_valid(rows["fallback_reason"]), ours))
        tasks, reasons = rows["task"].to_pylist(), rows["fallback_reason"].to_pylist()
        return Counter(zip(tasks, reasons, strict=True))

    def _entity_rows(self, chunk: pa.Table, pins: EntityPins, progress: Progress) -> pa.Table:
        arguments = {"folder": str(self.registry.fetch(pins.model)), "kinds": list(pins.kinds)}
        texts = chunk.select(["ticket_id", "text"])
        found = map_batches(
            texts,
            self.models.extract,
            arguments,
            cluster=self.cluster,
            batch_rows=_EXTRACTED_ROWS,
            progress=progress,
        )
        places = pc.index_in(found["ticket_id"], value_set=chunk["ticket_id"].combine_chunks())
        rows = chunk.take(places)
        columns = {
            **self._fence(rows),
            "event_id": rows["event_id"],
            "task": pins.task,
            **{name: found[name] for name in found.column_names if name != "ticket_id"},
            "tier": CHAMPION,
            **_versions(pins.model, None),
        }
        return _table(ENTITIES, columns, len(rows))

    def _space(self, vectors: pa.Table) -> EmbeddingSpace:
        dimensions = len(vectors["embedding"][0])
        return EmbeddingSpace.of(self.bundle.embedding, self.bundle.embedding_prompt, dimensions)

    def _voices(self, task: TaskPins) -> Iterator[_Voice]:
        champion = (task.champion, task.champion_prompt)
        yield _Voice(task, self.arm.tier, *champion)
        if self.arm.tier == SHADOW:
            return
        for beside in ((task.baseline, None), (self.bundle.embedding, task.zero_shot)):
            if beside != champion:
                yield _Voice(task, COMPARISON, *beside)

    def _answers(self, rows: pa.Table, voice: _Voice, progress: Progress) -> pa.Table:
        place = rows.schema.get_field_index("text")
        asked = rows.set_column(place, "text", asked_text(rows, voice.task.text_field))
        distinct = _distinct(asked, ["text", "text_sha256"])
        questions = asked.select(["ticket_id", "text", "embedding"]).take(distinct.first)
        told = _told(progress, rows, questions)
        answers = self._asked(questions, voice, told).take(distinct.place)
        silent = pc.is_null(answers["predicted_label"])
        if not pc.any(silent).as_py():
            return self._classification_rows(rows, answers, voice)
        given = pc.invert(silent)
        own = self._classification_rows(rows.filter(given), answers.filter(given), voice)
        left, reasons = asked.filter(silent), answers.filter(silent)["explanation"]
        instead = self._asked(left.select(questions.column_names), voice.fallback, untold)
        return pa.concat_tables([own, self._fallback_rows(left, instead, reasons, voice.fallback)])

    def _asked(self, questions: pa.Table, voice: _Voice, progress: Progress) -> pa.Table:
        """Return what a voice says; see `models.classifier.answers`."""
        folder = self.registry.fetch(voice.model)
        template = None if voice.prompt is None else self.registry.template(voice.prompt)
        if family_of(folder) == LLM:
            return self._conversed(questions, voice, folder, template, progress)
        arguments: dict[str, Any] = {"folder": str(folder), "labels": list(voice.task.labels)}
        if template is not None:
            arguments["template"] = template
        return self._mapped(questions, self.models.classify, arguments, progress)

    def _conversed(
        self,
        questions: pa.Table,
        voice: _Voice,
        folder: Path,
        template: str | None,
        progress: Progress,
    ) -> pa.Table:
        if self.models.llm is None or voice.prompt is None:
            msg = (
                f"{voice.model.uri} is an LLM, and is asked with an endpoint and a prompt; this "
                f"run has {'no prompt' if voice.prompt is None else 'no endpoint'} for it"
            )
            raise ConfigurationError(msg)
        llm = self.models.llm(folder, voice.prompt, template, run=self.run, task=voice.task.task)
        require_labels(llm, voice.task.labels)
        parts = []
        for start in range(0, max(len(questions), 1), _CONVERSED_ROWS):
            batch = questions.slice(start, _CONVERSED_ROWS)
            parts.append(answers_of(llm, batch, voice.task.labels))
            progress(len(batch))
            # What was answered stands in the ledger: who ends the run here loses nothing.
            self.on_step(f"after asking {voice.task.task}")
        return pa.concat_tables(parts).combine_chunks()

    def _may_fall(self, task: TaskPins) -> bool:
        return family_of(self.registry.fetch(task.champion)) == LLM

    def _not_fallen(self, rows: pa.Table, voice: _Voice, number: int) -> pa.Table:
        """Leave out the tickets this voice has answered already, in the champion's place."""
        task = voice.task
        is_baseline = voice.key == voice.fallback.key
        if voice.tier != COMPARISON or not is_baseline or not self._may_fall(task):
            return rows
        champion = _Voice(task, CHAMPION, task.champion, task.champion_prompt)
        part = self._part(champion, number)
        staged = [p for p in self.store.staged(CLASSIFICATIONS.table, self.run) if p.part == part]
        columns = ["ticket_id", "fallback_reason"]
        answered = self.store.preview(
            CLASSIFICATIONS.table, self.run, columns=columns, parts=staged
        )
        if answered is None:
            return rows
        fallen = answered.filter(pc.is_valid(answered["fallback_reason"]))["ticket_id"]
        known = pc.is_in(rows["ticket_id"], value_set=fallen.combine_chunks())
        return rows.filter(pc.invert(known))

    def _mapped(
        self,
        rows: pa.Table,
        make: Callable[..., Step],
        arguments: Mapping[str, Any],
        progress: Progress,
    ) -> pa.Table:
        """Map over rows in the order of their texts' length, which wastes least; order is kept."""
        lengths = pc.utf8_length(rows["text"])
        order = pc.sort_indices(pa.table({"n": lengths}), sort_keys=[("n", "ascending")])
        mapped = map_batches(
            rows.take(order), make, arguments, cluster=self.cluster, progress=progress
        )
        return mapped.take(pc.sort_indices(order))

    def _classification_rows(self, rows: pa.Table, answers: pa.Table, voice: _Voice) -> pa.Table:
        columns = {
            **self._fence(rows),
            "task": voice.task.task,
            "predicted_label": answers["predicted_label"],
            "score": answers["score"],
            "probabilities": answers["probabilities"],
            **self._routed(rows["ticket_id"], answers, voice),
            "tier": voice.tier,
            "explanation": answers["explanation"],
            "fallback_reason": pa.nulls(len(rows), pa.string()),
            **_versions(voice.model, voice.prompt),
        }
        return _table(self.arm.table, columns, len(rows))

    def _fallback_rows(
        self, rows: pa.Table, answers: pa.Table, reasons: pa.ChunkedArray, voice: _Voice
    ) -> pa.Table:
        """Shape what the baseline said in the champion's place: its threshold is another's."""
        made = self._classification_rows(rows, answers, voice)
        decision = Decision.REVIEW if voice.tier == CHAMPION else Decision.NONE
        review = pa.repeat(decision.value, len(rows))
        said = pc.binary_join_element_wise(_SILENT, made["explanation"], " ")
        changes = {"decision": review, "fallback_reason": reasons, "explanation": said}
        for name, values in changes.items():
            place = made.schema.get_field_index(name)
            made = made.set_column(place, made.schema.field(place), values)
        return made

    def _routed(self, tickets: pa.ChunkedArray, answers: pa.Table, voice: _Voice) -> dict[str, Any]:
        """Return the columns that say what becomes of answers: of a champion's only."""
        if voice.tier != CHAMPION:
            return {"decision": Decision.NONE.value, "drawn": None, "guarantee_id": None}
        seed, task, flat = self.bundle.seed, voice.task, tickets.combine_chunks()
        pinned = routing_of(self.routings, self.bundle, task)
        said = answers.select(["predicted_label", "score"])
        return {
            "decision": decided(flat, said, task, seed=seed, pinned=pinned),
            "drawn": sampled(flat, task, seed=seed),
            "guarantee_id": None if pinned is None else pinned.guarantee_id,
        }

    def _fence(self, rows: pa.Table) -> dict[str, Any]:
        return {
            "tenant_id": self.run.tenant.tenant_id,
            "run_id": self.run.run_id,
            "source": rows["source"],
            "day": rows["day"],
            "ticket_id": rows["ticket_id"],
            "bundle_id": self.bundle.bundle_id,
            "inference_timestamp": pa.scalar(self.run.started_at, MOMENT),
        }

    def _staged(self, contract: Contract) -> frozenset[str]:
        """Return the parts this run staged before it was killed."""
        return frozenset(part.part for part in self.store.staged(contract.table, self.run))

    def _part(self, voice: _Voice, number: int) -> str:
        """Name the part of a write: exact, so that two voices or two arms never share a fence."""
        arm = f"{self.arm.name}/" if self.arm.name else ""
        return f"classifications/{arm}{'/'.join(voice.key)}/{number:05d}"

    def _with_vectors(self, chunk: pa.Table, vectors: pa.Table | None) -> pa.Table:
        if vectors is None:
            return chunk.append_column("embedding", self._vectors_of(chunk, untold))
        return _with_vectors(chunk, vectors)

    def _vectors_of(self, chunk: pa.Table, progress: Progress) -> pa.ChunkedArray:
        """Embed the texts of a chunk, equal ones once."""
        distinct = _distinct(chunk, ["text"])
        texts = chunk.select(["text"]).take(distinct.first)
        vectors = self.vectors(texts, progress=_told(progress, chunk, texts))
        return vectors.take(distinct.place)

    def _vectors(self) -> pa.Table:
        return self._own(EMBEDDINGS, ["ticket_id", "embedding"])

    def _first_labels(self) -> dict[str, str]:
        rows = self._own(CLASSIFICATIONS, ["ticket_id", "task", "tier", "predicted_label"])
        first = pc.equal(rows["task"], self.bundle.tasks[0].task)
        chosen = rows.filter(pc.and_(first, pc.equal(rows["tier"], CHAMPION)))
        tickets, labels = chosen["ticket_id"].to_pylist(), chosen["predicted_label"].to_pylist()
        return dict(zip(tickets, labels, strict=True))

    def _own(self, contract: Contract, columns: list[str]) -> pa.Table:
        return own_rows(self.store, contract, self.run, columns=columns)


def decided(
    tickets: pa.Array,
    answers: pa.Table,
    task: TaskPins,
    *,
    seed: int,
    pinned: PinnedRouting | None,
) -> pa.Array:
    """Route a champion's answers (predicted_label, score), and mark what a person checks too.

    By the bundle's own threshold, or by what is `pinned` where the task asks for a guarantee.
    """
    scores = answers["score"].combine_chunks()
    if pinned is None:
        decisions = RoutingPolicy(task.accept_at).decide(scores)
    else:
        decisions = pinned.decide(scores, answers["predicted_label"].combine_chunks())
    return with_audit(decisions, sampled(tickets, task, seed=seed))


def routing_of(
    routings: Sequence[PinnedRouting], bundle: Bundle, task: TaskPins
) -> PinnedRouting | None:
    """Return what a plan says about a bundle's task; None where it asks for no guarantee."""
    key = (task.task, bundle.bundle_id)
    return next((one for one in routings if (one.task, one.bundle_id) == key), None)


def sampled(tickets: pa.Array, task: TaskPins, *, seed: int) -> pa.Array:
    """Say which tickets the audit of a task draws: as many of the doubtful as of the sure."""
    return audit_sample(tickets, task=task.task, seed=seed, share=task.audit_share)


_VOICE_KEY = ["task", "model_name", "model_version", "prompt_name", "prompt_version"]


@dataclass(frozen=True, slots=True)
class _Voice:
    """One model that answers one task: the champion, or one that only runs beside it."""

    task: TaskPins
    tier: str
    model: ModelRef
    prompt: PromptRef | None

    @property
    def fallback(self) -> _Voice:
        """Who answers where this voice gives no answer."""
        return _Voice(self.task, self.tier, self.task.baseline, None)

    @property
    def key(self) -> tuple[str, ...]:
        versions = _versions(self.model, self.prompt)
        return (self.task.task, *(versions[name] for name in _VOICE_KEY[1:]))


@dataclass(frozen=True, slots=True)
class _Distinct:
    """Rows made distinct: `first` picks one row of each kind, `place` puts answers back."""

    first: pa.Array
    place: pa.Array


def _distinct(rows: pa.Table, columns: list[str]) -> _Distinct:
    seen: dict[Any, int] = {}
    first: list[int] = []
    place: list[int] = []
    for number, value in enumerate(zip(*(rows[c].to_pylist() for c in columns), strict=True)):
        if value not in seen:
            seen[value] = len(first)
            first.append(number)
        place.append(seen[value])
    return _Distinct(pa.array(first, pa.int64()), pa.array(place, pa.int64()))


def _chunks(due: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    for number, start in enumerate(range(0, len(due), CHUNK_TICKETS)):
        yield number, due.slice(start, CHUNK_TICKETS).combine_chunks()


def _with_vectors(chunk: pa.Table, vectors: pa.Table) -> pa.Table:
    places = pc.index_in(chunk["ticket_id"], value_set=vectors["ticket_id"].combine_chunks())
    return chunk.append_column("embedding", vectors["embedding"].take(places))


def _told(progress: Progress, rows: pa.Table, asked: pa.Table) -> Progress:
    """Report in rows though only distinct texts are asked; the repeats count with the last."""
    left = {"asked": len(asked)}

    def tell(done: int) -> None:
        left["asked"] -= done
        progress(done if left["asked"] else done + len(rows) - len(asked))

    return tell


def _versions(model: ModelRef, prompt: PromptRef | None) -> dict[str, str]:
    return {
        "model_name": model.name,
        "model_version": model.version,
        "prompt_name": NO_PROMPT if prompt is None else prompt.name,
        "prompt_version": NO_PROMPT if prompt is None else prompt.version,
    }


def _table(contract: Contract, columns: Mapping[str, Any], count: int) -> pa.Table:
    arrays = []
    for field in contract.schema:
        value = columns[field.name]
        if not isinstance(value, pa.Array | pa.ChunkedArray):
            given = value if isinstance(value, pa.Scalar) else pa.scalar(value, field.type)
            value = pa.repeat(given, count)
        arrays.append(value.cast(field.type))
    return pa.table(arrays, schema=contract.schema)
