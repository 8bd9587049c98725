"""Train a task's model: three candidates, one held-out set, the winner registered with its account.

What a tenant has before anything is trained is registered here too: the rules baseline, the
zero-shot prompt, and the embedding model all of them share.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.embed import (
    EMBEDDING_MODEL,
    EmbeddingChoice,
    embed_step,
    encode_once,
    filled,
    open_embedder,
    own_template,
)
from features.text import describe
from lakehouse.compute.batches import Cluster, map_batches
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.cards import Account, model_card
from models.classifier import Classifier, best
from models.evaluation import Evaluation, evaluate
from models.folder import REFERENCE_FILE, read_config
from models.learned import write_learned
from models.rules import RULES_FILE, default_rules, save_rules
from models.splitting import held_out
from models.task import Task
from models.zero_shot import ZeroShotPrompt, default_prompt
from pipelines.corpus_figures import as_metrics, as_words, corpus_evaluation
from pipelines.labelled_texts import LabelsFile, read_labelled
from pipelines.training_set import HELD_OUT_SHARE, TrainingSet
from registry.errors import UnknownAliasError
from registry.refs import (
    BASELINE,
    CHAMPION,
    ModelPackage,
    ModelRef,
    PromptRef,
    Registry,
    folder_digest,
)

REFERENCE_ROWS = 500

Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


def say_nothing(what: str, done: int, total: int) -> None:
    """Be a `Tell` that does nothing."""


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What came of a training. `candidates` and `beside` were judged on the same held-out texts.

    `beside` are those that needed no training: the rules and the zero-shot prompt of the tenant.
    """

    model: ModelRef
    winner: str
    candidates: Mapping[str, Evaluation]
    beside: Mapping[str, Evaluation]
    trained_on: int
    held_out: int
    dropped: Mapping[str, int]

    @property
    def evaluation(self) -> Evaluation:
        """How the winner did."""
        return self.candidates[self.winner]


def train(
    file: LabelsFile,
    task: Task,
    run: RunContext,
    *,
    registry: Registry,
    cluster: Cluster | None = None,
    tell: Tell = say_nothing,
) -> TrainingReport:
    """Train, compare and register; the new version gets no alias: promoting is a decision.

    The candidate with the best macro-F1 on texts held out wins, and is registered as it was
    measured. Raises `InputError` where the file cannot be used.
    """
    tell("reading the labels", 0, 0)
    given = TrainingSet.of_file(file, read_labelled(file, task), seed=run.seed)
    return train_on(given, task, run, registry=registry, cluster=cluster, tell=tell)


def train_on(
    given: TrainingSet,
    task: Task,
    run: RunContext,
    *,
    registry: Registry,
    cluster: Cluster | None = None,
    tags: Mapping[str, str] | None = None,
    tell: Tell = say_nothing,
) -> TrainingReport:
    """Train on texts that were told apart already; the version gets these `tags` besides."""
    space = _Space.of(task.embedding, registry)
    rows = _embedded((*given.texts, *given.reference), registry, space, cluster, tell)
    part = _Part.of(rows.slice(0, len(given.texts)), given.truth, given.aside)
    later = rows.slice(len(given.texts)) if given.reference else part.judged
    models, choice = _candidates(part, given, task, run, tell)
    candidates = {name: _judged(model, part, task) for name, model in models.items()}
    winner = max(candidates, key=lambda name: candidates[name].macro_f1)
    tell("comparing with rules and zero-shot", 0, 0)
    account = Account(
        task=task,
        winner=winner,
        candidates=candidates,
        beside=_beside(registry, task, part),
        trained_on=int((~given.aside).sum()),
        held_out=int(given.aside.sum()),
        dropped=given.dropped,
        name=given.name,
        sha256=given.digest,
        split=given.split,
        note=given.note,
        space=space.as_dict(),
        seed=run.seed,
        code_version=run.code_version,
        origin=given.origin,
        choice=choice,
    )
    tell("registering the winner", 0, 0)
    model = _registered(models[winner], account, part, later, tags or {}, registry)
    return TrainingReport(
        model=model,
        winner=winner,
        candidates=candidates,
        beside=account.beside,
        trained_on=account.trained_on,
        held_out=account.held_out,
        dropped=given.dropped,
    )


@dataclass(frozen=True, slots=True)
class _Space:
    """The embedding model and prompt the texts are read with."""

    model: ModelRef
    prompt: PromptRef

    @classmethod
    def of(cls, chosen: EmbeddingChoice, registry: Registry) -> _Space:
        return cls(registry.resolve_model(chosen.model), registry.resolve_prompt(chosen.prompt))

    def as_dict(self) -> dict[str, str]:
        return {
            "model": self.model.uri,
            "model_digest": self.model.digest,
            "prompt": self.prompt.uri,
            "prompt_digest": self.prompt.digest,
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """The two parts of the labelled texts: to learn from, and to be judged on."""

    learned: pa.Table
    learned_truth: NDArray[np.int64]
    judged: pa.Table
    judged_truth: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pa.Table, truth: NDArray[np.int64], aside: NDArray[np.bool_]) -> _Part:
        return cls(
            rows.filter(pa.array(~aside)), truth[~aside], rows.filter(pa.array(aside)), truth[aside]
        )


def _embedded(
    texts: tuple[str, ...],
    registry: Registry,
    space: _Space,
    cluster: Cluster | None,
    tell: Tell,
) -> pa.Table:
    total = len(texts)
    done = [0]

    def progress(rows: int) -> None:
        done[0] += rows
        tell("embedding the texts", done[0], total)

    arguments = {
        "folder": str(registry.fetch(space.model)),
        "template": registry.template(space.prompt),
    }
    rows = pa.table({"text": pa.array(texts, pa.string())})
    return map_batches(rows, embed_step, arguments, cluster=cluster, progress=progress)


def _candidates(
    part: _Part, given: TrainingSet, task: Task, run: RunContext, tell: Tell
) -> tuple[dict[str, Classifier], dict[str, float]]:
    """Fit the models to be judged, and say what each kind reached where one was chosen before."""
    if not given.choose_apart:
        return _fitted(part, task, run, tell), {}
    from models.fitting import fit
    from models.linear import Features

    texts, truth = part.learned["text"].to_pylist(), part.learned_truth
    aside = held_out(texts, truth, share=HELD_OUT_SHARE, seed=run.seed)
    inner = _Part.of(part.learned, truth, aside)
    choice = {
        name: _judged(model, inner, task).macro_f1
        for name, model in _fitted(inner, task, run, tell).items()
    }
    winner = Features(max(choice, key=lambda name: choice[name]))
    tell(f"fitting '{winner.value}' on all there is to learn from", 0, 0)
    model = fit(part.learned, truth, task.labels, features=winner, seed=run.seed)
    return {winner.value: model}, choice


def _fitted(part: _Part, task: Task, run: RunContext, tell: Tell) -> dict[str, Classifier]:
    from models.fitting import fit
    from models.linear import Features

    models: dict[str, Classifier] = {}
    for number, features in enumerate(Features):
        tell(f"fitting '{features.value}'", number, len(Features))
        models[features.value] = fit(
            part.learned, part.learned_truth, task.labels, features=features, seed=run.seed
        )
    return models


def _judged(model: Classifier, part: _Part, task: Task) -> Evaluation:
    order = [model.labels.index(label) for label in task.labels]
    return evaluate(model.predict_proba(part.judged)[:, order], part.judged_truth, task.labels)


def _beside(registry: Registry, task: Task, part: _Part) -> dict[str, Evaluation]:
    """Judge what the tenant has untrained; what is not there, or answers otherwise, is left out."""
    from models.artifacts import load, load_zero_shot

    found: dict[str, Classifier] = {}
    with suppress(UnknownAliasError):
        found["rules"] = load(registry.fetch(registry.resolve_model(task.model, BASELINE)))
    with suppress(UnknownAliasError):
        template = registry.template(registry.resolve_prompt(task.zero_shot_prompt))
        folder = registry.fetch(registry.resolve_model(task.embedding.model))
        found["zero-shot"] = load_zero_shot(folder, template)
    return {
        name: _judged(model, part, task)
        for name, model in found.items()
        if set(model.labels) == set(task.labels)
    }


def _registered(
    model: Classifier,
    account: Account,
    part: _Part,
    later: pa.Table,
    tags: Mapping[str, str],
    registry: Registry,
) -> ModelRef:
    from models.artifacts import save_linear
    from models.figures import draw_confusion
    from models.linear import LinearClassifier

    assert isinstance(model, LinearClassifier)
    evaluation = account.candidates[account.winner]
    with tempfile.TemporaryDirectory(prefix="plata-train-") as made:
        folder, picture = Path(made) / "model", Path(made) / "confusion.png"
        folder.mkdir()
        save_linear(model, folder, space=account.space)
        reference = _reference(model, later)
        pq.write_table(reference, folder / REFERENCE_FILE, compression="zstd")
        write_learned(folder, part.learned["text"].to_pylist())
        draw_confusion(evaluation, account.task.titles, picture)
        return registry.register_model(
            ModelPackage(
                name=account.task.model,
                folder=folder,
                family="linear",
                card=model_card(account),
                labels=account.task.labels,
                metrics=account.metrics(),
                parameters=account.parameters(),
                figures={"confusion.png": picture},
                data=account.data(),
                tags={**account.tags(), **tags},
                inputs=("text", "embedding") if model.features.vectors else ("text",),
                example=_example(model.features.vectors, part.judged),
                note=account.headline(),
            )
        )


def _reference(model: Classifier, rows: pa.Table) -> pa.Table:
    """Return what drift compares against: descriptors and answers of unseen texts, and no text."""
    rows = rows.slice(0, REFERENCE_ROWS)
    probabilities = model.predict_proba(rows)
    table = describe(rows["text"].combine_chunks())
    table = table.append_column(
        "predicted_label", pa.array([model.labels[n] for n in best(probabilities)])
    )
    table = table.append_column("score", pa.array(probabilities.max(axis=1)))
    return table.append_column("embedding", rows["embedding"].combine_chunks())


def _example(vectors: bool, rows: pa.Table) -> dict[str, object]:
    example: dict[str, object] = {"text": "Solicito información sobre un trámite."}
    if vectors:
        example["embedding"] = [0.0] * len(rows["embedding"][0])
    return example


def register_baseline(registry: Registry, tenant: TenantContext, task: Task) -> ModelRef:
    """Give a task its rules: alias `baseline`, and `champion` where there is none yet.

    Rules that answer the task's labels stay as they are, whoever wrote them.
    """
    known = _resolved(registry, task.model, BASELINE)
    if known is not None and set(read_config(registry.fetch(known))["labels"]) == set(task.labels):
        baseline = known
    else:
        with tempfile.TemporaryDirectory(prefix="plata-rules-") as made:
            folder, rules = Path(made), default_rules(task.name, task.titles)
            save_rules(rules, folder)
            found = corpus_evaluation(rules, task)
            made_ref = registry.register_model(
                ModelPackage(
                    name=task.model,
                    folder=folder,
                    family="rules",
                    card=_rules_card(tenant, task) + f"\n## How it does\n\n{as_words(found)}",
                    labels=task.labels,
                    metrics=as_metrics(found),
                    parameters={"family": "rules"},
                    data=_rules_data(folder),
                    example={"text": "Solicito información sobre un trámite."},
                    note="keyword rules",
                )
            )
        baseline = registry.promote_model(made_ref.name, made_ref.version, BASELINE)
    if _resolved(registry, task.model, CHAMPION) is None:
        registry.promote_model(baseline.name, baseline.version, CHAMPION)
    return baseline


def _rules_data(folder: Path) -> dict[str, str]:
    digest = hashlib.sha256((folder / RULES_FILE).read_bytes()).hexdigest()
    note = "nothing was trained: the keywords are all there is"
    return {"name": RULES_FILE, "digest": digest, "rows": "0", "note": note}


def _rules_card(tenant: TenantContext, task: Task) -> str:
    return (
        f"# {task.model}: keyword rules\n\n"
        f"The baseline of task `{task.name}` for tenant `{tenant.tenant_id}`, and its fallback. "
        "Keywords are counted as whole words, without case, accents and punctuation; a label's "
        "probability is its share of the keywords found, and all labels are as likely where none "
        "is found. Nothing was trained: see the versions that were, which are compared with "
        "these rules.\n\n"
        "The keywords are in `plata/rules.yaml` among the model's artifacts.\n"
    )


def register_zero_shot_prompt(
    registry: Registry,
    tenant: TenantContext,
    task: Task,
    prompt: ZeroShotPrompt | None = None,
) -> PromptRef:
    """Give a task its zero-shot prompt; without `prompt`, one that describes the labels stays."""
    name = task.zero_shot_prompt
    try:
        known: PromptRef | None = registry.resolve_prompt(name)
    except UnknownAliasError:
        known = None
    if known is not None and prompt is None:
        described = ZeroShotPrompt.parse(registry.template(known)).etiquetas
        if set(described) == set(task.labels):
            return known
    text = (prompt or default_prompt(task.name, task.titles)).text()
    note = f"label descriptions of '{task.name}' for {tenant.tenant_id}"
    ref = registry.register_prompt(name, text, note=note)
    return registry.promote_prompt(ref.name, ref.version)


def register_embedding_model(
    registry: Registry, folder: Path, *, name: str = EMBEDDING_MODEL, template: str | None = None
) -> ModelRef:
    """Register an embedding model and how texts are put to it; the same files are one version.

    Without `template`, the prompt in use stays, and the first one is what the folder itself asks
    for. Raises `InputError` where the folder cannot be opened.
    """
    if not folder.is_dir():
        msg = f"'{folder}' is not a folder; expected one that sentence-transformers can open"
        raise InputError(msg)
    known = _resolved(registry, name, CHAMPION)
    if known is None or known.digest != folder_digest(folder) or template is not None:
        text = pa.array(["Solicito información sobre un trámite."])
        encode_once(open_embedder(folder), filled(template or own_template(folder), text))
    if known is None or known.digest != folder_digest(folder):
        ref = registry.register_model(
            ModelPackage(
                name=name,
                folder=folder,
                family="embedding",
                card=_embedding_card(name),
                parameters={"family": "embedding"},
                example={"text": "Solicito información sobre un trámite."},
                note="sentence-transformers folder",
            )
        )
        known = registry.promote_model(ref.name, ref.version)
    _register_query_prompt(registry, folder, name, template)
    return known


def _register_query_prompt(
    registry: Registry, folder: Path, model: str, template: str | None
) -> None:
    name = EmbeddingChoice.of(model).prompt
    with suppress(UnknownAliasError):
        if template in (None, registry.template(registry.resolve_prompt(name))):
            return
    text = template or own_template(folder)
    prompt = registry.register_prompt(name, text, note=f"how {model} reads a text")
    registry.promote_prompt(prompt.name, prompt.version)


def _embedding_card(name: str) -> str:
    about = _ABOUT_E5 if name == EMBEDDING_MODEL else ""
    return _EMBEDDING_CARD.format(name=name, prompt=EmbeddingChoice.of(name).prompt, about=about)


_EMBEDDING_CARD = """# {name}

Turns a text into a vector; texts of like meaning lie near each other. Texts are put to it with the
prompt `{prompt}`, and vectors are compared only within one version of model and prompt.
{about}"""

_ABOUT_E5 = """
Unrelated texts have a cosine of 0.75 to 0.80: nearness is to be calibrated.

`multilingual-e5-small-dq4` is multilingual-e5-small (MIT licence) from a copy with four-bit
weights, unpacked: its vectors are near the original's, not equal. The folder opens with
sentence-transformers; `onnx/model_int8.onnx` is what Plata's workers run. Between the two the
cosine is 0.996 on average over 200 Spanish requests, 0.992 at worst.

A text is cut after 512 tokens.
"""


def _resolved(registry: Registry, name: str, alias: str) -> ModelRef | None:
    try:
        return registry.resolve_model(name, alias)
    except UnknownAliasError:
        return None
