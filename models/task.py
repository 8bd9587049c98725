"""A task: what is asked of a text, and which answers there are. Each tenant has its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from features.embed import EmbeddingChoice
from lakehouse.errors import ConfigurationError
from models.guarantee import GuaranteeTerms
from models.routing import RoutingPolicy


@dataclass(frozen=True, slots=True)
class Task:
    """One classification a tenant wants of each ticket.

    `model` and `zero_shot_prompt` are names in the registry; `text_field` is `text` (the citizen's
    first message) or `subject_and_text`. `titles` are the labels as a reviewer reads them.
    `audit_share` is the share of accepted tickets that a person checks all the same. `embedding`
    makes the vectors its models read: the tenant's, so the same for all of a tenant's tasks.
    With a `guarantee`, nothing is accepted but what is proven: `routing` then decides nothing.
    """

    name: str
    titles: dict[str, str]
    text_field: str
    model: str
    zero_shot_prompt: str
    routing: RoutingPolicy
    audit_share: float = 0.05
    embedding: EmbeddingChoice = field(default_factory=EmbeddingChoice)
    guarantee: GuaranteeTerms | None = None

    def __post_init__(self) -> None:
        if len(self.titles) < 2:
            msg = f"task '{self.name}' needs at least two labels, found {list(self.titles)}"
            raise ConfigurationError(msg)
        if not 0.0 <= self.audit_share <= 1.0:
            msg = f"task '{self.name}': audit_share is {self.audit_share}, expected 0 to 1"
            raise ConfigurationError(msg)
        groups = () if self.guarantee is None else self.guarantee.groups
        strange = [label for group in groups for label in group if label not in self.titles]
        if strange:
            msg = (
                f"task '{self.name}': its guarantee names the label '{strange[0]}', "
                f"expected some of {list(self.titles)}"
            )
            raise ConfigurationError(msg)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels as stored, in the order of the configuration."""
        return tuple(self.titles)


@dataclass(frozen=True, slots=True)
class EntityTask:
    """One extraction a tenant wants of each ticket: what kinds of entities its text names.

    `model` is a name in the registry.
    """

    name: str
    kinds: tuple[str, ...]
    model: str
