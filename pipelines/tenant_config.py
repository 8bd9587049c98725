"""A tenant's configuration: a YAML file, checked with care, turned into tasks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from contracts.pqrs import EntityKind
from features.embed import EmbeddingChoice
from labeling.budget import LabelBudget
from labeling.masking import Masking, Pii
from labeling.policy import ReviewPolicy
from lakehouse.control.tenants import TenantConfig
from lakehouse.data.maintenance import CHECKPOINT_EVERY, TidyPolicy
from lakehouse.errors import ConfigurationError, InputError
from lakehouse.tenancy import TenantContext
from models.gates import GatePolicy, read_policy
from models.guarantee import EXPIRES_DAYS, GuaranteeTerms
from models.routing import RoutingPolicy
from models.task import EntityTask, Task
from pipelines.labelled_texts import LabelsFile
from pipelines.retrain_policy import Approve, RetrainPolicy
from pipelines.sla_terms import DEFAULT_DAYS, DEFAULT_TERMS, SlaTerms
from pipelines.upkeep import UpkeepPolicy


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GuaranteeConfig(_Strict):
    """How wrong what is accepted may be, how surely, for how long, and of which labels together."""

    alpha: float = Field(gt=0, lt=1)
    delta: float = Field(default=0.1, gt=0, lt=1)
    expires_days: int = Field(default=EXPIRES_DAYS, ge=1, le=3650)
    groups: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = ()


class RoutingConfig(_Strict):
    """Where doubt begins, and how much of everything is checked all the same.

    With `guarantee` nothing is accepted but what is proven, and `accept_at` decides nothing.
    """

    accept_at: float = Field(ge=0, le=1)
    audit_share: float = Field(default=0.05, ge=0, le=1)
    guarantee: GuaranteeConfig | None = None


class TaskConfig(_Strict):
    """One task. `etiquetas` maps each label as stored to how a reviewer reads it."""

    etiquetas: dict[str, str] = Field(min_length=2)
    text_field: Literal["text", "subject_and_text"] = "text"
    model: str | None = None
    zero_shot_prompt: str | None = None
    routing: RoutingConfig


class EntitiesConfig(_Strict):
    """A task that finds entities; all kinds where none is named."""

    kind: Literal["entities"]
    kinds: tuple[EntityKind, ...] = Field(default=tuple(EntityKind), min_length=1)
    model: str | None = None


_LABELS, _ENTITIES = "labels", "entities"


def _kind_of(values: Any) -> str:
    found = isinstance(values, EntitiesConfig) or (isinstance(values, dict) and "kind" in values)
    return _ENTITIES if found else _LABELS


AnyTask = Annotated[
    Annotated[TaskConfig, Tag(_LABELS)] | Annotated[EntitiesConfig, Tag(_ENTITIES)],
    Discriminator(_kind_of),
]
"""A task is of the kind it says; without a word it has labels."""


TaskName = Annotated[str, Field(pattern=r"^[^\W\d_][\w-]*$", max_length=60)]
"""Letters, digits, `_` and `-`: what follows a dot or a space in the name of a dataset is ours."""


class EmbeddingConfig(_Strict):
    """Names in the registry; without `prompt`, the one that was registered with the model."""

    model: str = Field(min_length=1)
    prompt: str | None = Field(default=None, min_length=1)


class SlaConfig(_Strict):
    """The legal terms that differ from the defaults, in business days by type."""

    business_days: dict[str, Annotated[int, Field(ge=1, le=365)]] = Field(min_length=1)


class CostConfig(_Strict):
    """What an hour of compute costs, in the tenant's own unit."""

    currency: str = Field(min_length=1)
    per_compute_hour: float = Field(ge=0)


class UpkeepConfig(_Strict):
    """When tables are tidied; what is not named keeps its default."""

    merge_files_below_mb: int = Field(default=64, ge=1, le=4096)
    mergeable_files: int = Field(default=64, ge=1)
    checkpoint_every: int = Field(default=CHECKPOINT_EVERY, ge=1, le=CHECKPOINT_EVERY)
    retention_days: int = Field(default=30, ge=1)
    runs_readable_days: int = Field(default=90, ge=1)


class ReviewConfig(_Strict):
    """How cases are reviewed; what is not named keeps its default. `mask` names what is covered.

    `weekly_labels` are the answers people can give in a week; the shares are of them.
    """

    overlap_share: float = Field(default=0.0, ge=0, le=1)
    overlap_reviewers: int = Field(default=2, ge=2, le=10)
    mask: tuple[Pii, ...] = tuple(Pii)
    weekly_labels: int | None = Field(default=None, ge=1)
    audit_share: float = Field(default=0.3, ge=0, le=1)
    disagreement_share: float = Field(default=0.2, ge=0, le=1)
    active_share: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _shares(self) -> ReviewConfig:
        if self.audit_share + self.disagreement_share + self.active_share > 1 + 1e-9:
            msg = "audit_share, disagreement_share and active_share add up to more than 1"
            raise ValueError(msg)
        return self

    @property
    def budget(self) -> LabelBudget | None:
        """What a week's labels are spent on, None where nobody said how many there are."""
        if self.weekly_labels is None:
            return None
        return LabelBudget(
            self.weekly_labels, self.audit_share, self.disagreement_share, self.active_share
        )


class RetrainLabels(_Strict):
    """A file of labelled texts that is learned from beside what reviewers labelled."""

    path: str = Field(min_length=1)
    text_column: str = "text"
    label_column: str = "label"


class RetrainConfig(_Strict):
    """When models are retrained, and who approves; see `RetrainPolicy`."""

    every_days: int | None = Field(default=None, ge=1)
    new_labels: int | None = Field(default=None, ge=1)
    on_drift: int | None = Field(default=None, ge=1)
    shadow_runs: int = Field(default=1, ge=0)
    approve: Literal["person", "policy"] = "person"
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)
    labels: dict[str, RetrainLabels] = Field(default_factory=dict)


class TenantConfigFile(_Strict):
    """The whole file. `embedding` is the packaged model where it is left out; `gates` holds what a
    policy file of gates holds.
    """

    embedding: EmbeddingConfig | None = None
    sla: SlaConfig | None = None
    cost: CostConfig | None = None
    upkeep: UpkeepConfig | None = None
    retrain: RetrainConfig | None = None
    review: ReviewConfig | None = None
    gates: dict[str, Any] | None = None
    tasks: dict[TaskName, AnyTask] = Field(min_length=1)

    @field_validator("gates")
    @classmethod
    def _can_be_asked(cls, values: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            GatePolicy.of({} if values is None else values)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return values

    @model_validator(mode="after")
    def _classifies(self) -> TenantConfigFile:
        if not any(isinstance(task, TaskConfig) for task in self.tasks.values()):
            msg = "tasks: at least one task has labels (`etiquetas`)"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _retrains_what_is_there(self) -> TenantConfigFile:
        asked = self.retrain and (*(self.retrain.tasks or ()), *self.retrain.labels)
        known = [name for name, task in self.tasks.items() if isinstance(task, TaskConfig)]
        if unknown := [name for name in asked or () if name not in known]:
            msg = f"retrain: no task with labels is called {', '.join(unknown)}; there are: "
            raise ValueError(msg + ", ".join(known))
        return self


def default_config() -> dict[str, Any]:
    """Return the template for a tenant of PQRS: the tasks `tipo` and `prioridad`."""
    template = resources.files("pipelines").joinpath("templates", "pqrs.yaml")
    values: dict[str, Any] = yaml.safe_load(template.read_text(encoding="utf-8"))
    return values


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file. Raises `InputError` or `ConfigurationError` in one line."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"no configuration file at '{path}'"
        raise InputError(msg) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"'{path}' is not YAML in UTF-8: {' '.join(str(error).split())}"
        raise InputError(msg) from error
    return _checked(values).model_dump(exclude_none=True)


def tasks_of(values: Mapping[str, Any], tenant: TenantContext) -> tuple[Task, ...]:
    """Return the tasks, with the names their models and prompts have by default."""
    checked = _checked(values)
    chosen = checked.embedding
    embedding = EmbeddingChoice.of(chosen.model, chosen.prompt) if chosen else EmbeddingChoice()
    return tuple(
        _task(name, config, tenant, embedding)
        for name, config in checked.tasks.items()
        if isinstance(config, TaskConfig)
    )


def entity_tasks_of(values: Mapping[str, Any], tenant: TenantContext) -> tuple[EntityTask, ...]:
    """Return the tasks that find entities."""
    return tuple(
        _entity_task(name, config, tenant)
        for name, config in _checked(values).tasks.items()
        if isinstance(config, EntitiesConfig)
    )


def _entity_task(name: str, config: EntitiesConfig, tenant: TenantContext) -> EntityTask:
    kinds = tuple(kind.value for kind in config.kinds)
    return EntityTask(name, kinds, config.model or f"{tenant.tenant_id}.{name}")


def terms_of(config: TenantConfig | None) -> SlaTerms:
    """Return the legal terms: the tenant's own, else those of DEFAULT_DAYS, with their version."""
    chosen = None if config is None else _checked(config.values).sla
    if config is None or chosen is None:
        return DEFAULT_TERMS
    return SlaTerms({**DEFAULT_DAYS, **chosen.business_days}, config.version)


def upkeep_of(config: TenantConfig | None) -> UpkeepPolicy:
    """Return when the tenant's tables are tidied: as it says, else as `UpkeepPolicy` has it."""
    chosen = None if config is None else _checked(config.values).upkeep
    if chosen is None:
        return UpkeepPolicy()
    tidy = TidyPolicy(
        target_bytes=chosen.merge_files_below_mb << 20,
        mergeable_files=chosen.mergeable_files,
        checkpoint_every=chosen.checkpoint_every,
        retention=timedelta(days=chosen.retention_days),
    )
    return UpkeepPolicy(tidy, pinned_for=timedelta(days=chosen.runs_readable_days))


def review_of(config: TenantConfig | None) -> ReviewPolicy:
    """Return how the tenant's cases are reviewed: as it says, else as `ReviewPolicy` has it."""
    chosen = None if config is None else _checked(config.values).review
    if chosen is None:
        return ReviewPolicy()
    return ReviewPolicy(
        chosen.overlap_share,
        chosen.overlap_reviewers,
        Masking(frozenset(chosen.mask)),
        chosen.budget,
    )


def price_of(config: TenantConfig | None) -> CostConfig | None:
    """Return what compute costs the tenant, None where the configuration gives no price."""
    return None if config is None else _checked(config.values).cost


def gates_of(config: TenantConfig | None) -> GatePolicy:
    """Return what a promotion must show: what the tenant asks, else the packaged policy."""
    chosen = None if config is None else _checked(config.values).gates
    return read_policy() if chosen is None else GatePolicy.of(chosen)


def gates_said(config: TenantConfig | None) -> str:
    """Say whose gates `gates_of` returns."""
    if config is None or _checked(config.values).gates is None:
        return "the packaged policy"
    return f"the tenant's configuration, version {config.version}"


def retrain_of(config: TenantConfig | None) -> RetrainPolicy:
    """Return when the tenant's models are retrained: never by themselves where it does not say."""
    chosen = None if config is None else _checked(config.values).retrain
    if chosen is None:
        return RetrainPolicy()
    return RetrainPolicy(
        every_days=chosen.every_days,
        new_labels=chosen.new_labels,
        on_drift=chosen.on_drift,
        shadow_runs=chosen.shadow_runs,
        approve=Approve(chosen.approve),
        tasks=chosen.tasks,
        labels={
            task: LabelsFile(Path(file.path), file.text_column, file.label_column)
            for task, file in chosen.labels.items()
        },
    )


def _task(name: str, config: TaskConfig, tenant: TenantContext, embedding: EmbeddingChoice) -> Task:
    default = f"{tenant.tenant_id}.{name}"
    return Task(
        name=name,
        titles=dict(config.etiquetas),
        text_field=config.text_field,
        model=config.model or default,
        zero_shot_prompt=config.zero_shot_prompt or f"{default}.zero-shot",
        routing=RoutingPolicy(accept_at=config.routing.accept_at),
        audit_share=config.routing.audit_share,
        embedding=embedding,
        guarantee=_terms(config.routing.guarantee),
    )


def _terms(asked: GuaranteeConfig | None) -> GuaranteeTerms | None:
    if asked is None:
        return None
    return GuaranteeTerms(asked.alpha, asked.delta, asked.expires_days, asked.groups)


def _checked(values: object) -> TenantConfigFile:
    try:
        return TenantConfigFile.model_validate(values)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(str(part) for part in _place(e['loc'])) or 'file'}: {e['msg']}"
            for e in error.errors()
        )
        msg = f"the tenant configuration cannot be used: {found}"
        raise ConfigurationError(msg) from error


def _place(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return where an error is in the file, without the kind of task pydantic puts in between."""
    return (*loc[:2], *loc[3:]) if loc[:1] == ("tasks",) and len(loc) > 2 else loc
