"""The plan of a run: every alias and every table resolved once, before the first step.

It is stored with the run. A run that is killed goes on from its plan, whatever was promoted or
landed in the meantime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from contracts.tables import BRONZE, SILVER
from features.embed import EmbeddingChoice
from lakehouse.control.landings import Landing, LandingIndex
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.data.tables import TableRef, TableStore
from lakehouse.errors import ConfigurationError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.folder import EMBEDDING, LLM, family_of, pinned_prompt, read_config
from models.task import Task
from pipelines.errors import SpaceMismatchError
from pipelines.sla_terms import DEFAULT_TERMS, SlaTerms
from registry.bundles import Bundle, TaskPins
from registry.refs import BASELINE, ModelRef, PromptRef, Registry

RUN_KIND = "run"
REENRICH_KIND = "reenrich"
"""Work on the past, aside; it may be published as a run of its own."""

_REMEMBERED_RUNS = 10_000


NO_ENRICHMENT = Bundle(
    embedding=ModelRef("none", "0", ""),
    embedding_prompt=PromptRef("none", "0", ""),
    tasks=(),
    seed=0,
)
"""Of work that ends with Silver's structure, and asks no model."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will read, and with which versions.

    `landings` are digests of files in Raw. `versions` are those of the tables as they were, None
    where a table was not there. `carried` are failed runs whose Bronze rows this run takes along.
    """

    landings: tuple[str, ...]
    versions: Mapping[str, int | None]
    carried: tuple[str, ...]
    bundle: Bundle
    sla: SlaTerms = field(default_factory=SlaTerms)

    def version(self, table: TableRef) -> int | None:
        """Return the version of a table when the run was planned."""
        return self.versions[str(table)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunPlan:
        """Read what `as_dict` wrote, also where a plan still called its bundle an enrichment."""
        given = dict(values)
        given.setdefault("bundle", given.pop("enrichment", None))
        return msgspec.convert(given, cls)


def plan_enrichment(tasks: Sequence[Task], registry: Registry, *, seed: int) -> Bundle:
    """Resolve every alias once, and see that the models fit together.

    Raises `UnknownAliasError` with the command that mends it, and `SpaceMismatchError` where a
    model learned from vectors of another embedding space than the plan's: its answers would be
    noise, with scores that do not tell.
    """
    embedding = _the_embedding(tasks)
    bundle = Bundle(
        embedding=registry.resolve_model(embedding.model),
        embedding_prompt=registry.resolve_prompt(embedding.prompt),
        tasks=tuple(_plan_task(task, registry) for task in tasks),
        seed=seed,
    )
    for task in bundle.tasks:
        for model in dict.fromkeys((task.champion, task.baseline)):
            _check_space(model, task.task, bundle, registry)
        _check_baseline(task, registry)
    return bundle


def _check_space(model: ModelRef, task: str, bundle: Bundle, registry: Registry) -> None:
    folder = registry.fetch(model)
    learned = None if family_of(folder) == EMBEDDING else read_config(folder).get("embedding")
    if learned is None:
        return
    given = (bundle.embedding.digest, bundle.embedding_prompt.digest)
    if (learned["model_digest"], learned["prompt_digest"]) == given:
        return
    msg = (
        f"{model.uri} was trained on vectors of {learned['model']} read through "
        f"{learned['prompt']}, and would be given those of {bundle.embedding.uri} read through "
        f"{bundle.embedding_prompt.uri}; train it again (`plata models train --task {task} …`), or "
        f"promote a version that fits (`plata models list`, `plata models promote {model.name} "
        "VERSION`)"
    )
    raise SpaceMismatchError(msg)


def _check_baseline(task: TaskPins, registry: Registry) -> None:
    """Raise unless the baseline answers by itself: it stands in where an endpoint is down."""
    if family_of(registry.fetch(task.baseline)) != LLM:
        return
    msg = (
        f"{task.baseline.uri}, the baseline of '{task.task}', is an LLM; a baseline answers where "
        "an endpoint does not. Promote rules or a trained version: `plata models promote "
        f"{task.baseline.name} VERSION --alias {BASELINE}`"
    )
    raise ConfigurationError(msg)


def _the_embedding(tasks: Sequence[Task]) -> EmbeddingChoice:
    chosen = sorted({task.embedding for task in tasks}, key=str)
    if len(chosen) > 1:
        msg = f"the tasks of a run share one embedding, these have {len(chosen)}: {chosen}"
        raise ConfigurationError(msg)
    return chosen[0] if chosen else EmbeddingChoice()


def _plan_task(task: Task, registry: Registry) -> TaskPins:
    champion = registry.resolve_model(task.model)
    return TaskPins(
        task=task.name,
        labels=task.labels,
        text_field=task.text_field,
        champion=champion,
        baseline=registry.resolve_model(task.model, BASELINE),
        zero_shot=registry.resolve_prompt(task.zero_shot_prompt),
        accept_at=task.routing.accept_at,
        audit_share=task.audit_share,
        champion_prompt=pinned_prompt(registry.fetch(champion)),
    )


def plan_run(
    run: RunContext,
    tasks: Sequence[Task],
    waiting: Sequence[Landing],
    *,
    store: TableStore,
    log: RunLog,
    registry: Registry,
    terms: SlaTerms = DEFAULT_TERMS,
) -> RunPlan:
    """Plan a run over the landings that wait; reads, writes nothing."""
    tables = [contract.table for contract in (*BRONZE, *SILVER)]
    heads = {str(table): store.head(table, run.tenant) for table in tables}
    return RunPlan(
        landings=tuple(landing.content_sha256 for landing in waiting),
        versions={name: None if head is None else head.version for name, head in heads.items()},
        carried=stranded_runs(run.tenant, log),
        bundle=plan_enrichment(tasks, registry, seed=run.seed),
        sla=terms,
    )


def stranded_runs(tenant: TenantContext, log: RunLog) -> tuple[str, ...]:
    """Return failed runs that no later run took along, oldest first: their rows are in Bronze."""
    records = [r for r in log.recent(tenant, limit=_REMEMBERED_RUNS) if r.kind == RUN_KIND]
    ended = {RunStatus.COMPLETED, RunStatus.DEGRADED}
    taken = {name for r in records if r.status in ended for name in r.plan.get("carried", ())}
    failed = (r.run.run_id for r in reversed(records) if r.status is RunStatus.FAILED)
    return tuple(run_id for run_id in failed if run_id not in taken)


def planned_landings(plan: RunPlan, tenant: TenantContext, index: LandingIndex) -> list[Landing]:
    """Return the files of the plan, oldest first."""
    return index.named(tenant, plan.landings) if plan.landings else []
