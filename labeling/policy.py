"""How a tenant's cases are reviewed: which of them several people answer, and what is covered."""

from __future__ import annotations

from dataclasses import dataclass, field

from labeling.budget import LabelBudget
from labeling.masking import Masking
from lakehouse.errors import ConfigurationError
from models.routing import drawn_for_audit


@dataclass(frozen=True, slots=True)
class ReviewPolicy:
    """`overlap_share` of the cases are answered by `overlap_reviewers` people, others by one.

    Without a `budget`, a push fills each queue up to a limit.
    """

    overlap_share: float = 0.0
    overlap_reviewers: int = 2
    masking: Masking = field(default_factory=Masking)
    budget: LabelBudget | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.overlap_share <= 1.0:
            msg = f"overlap_share is {self.overlap_share}, expected 0 to 1"
            raise ConfigurationError(msg)
        if self.overlap_reviewers < 2:
            msg = f"overlap_reviewers is {self.overlap_reviewers}, expected 2 or more"
            raise ConfigurationError(msg)

    def wanted(self, ticket_id: str, task: str) -> int:
        """How many people are to answer: drawn by hash, so the same however often it is asked.

        The draw knows nothing of the audit's, so agreement is measured on both kinds of case.

        >>> ReviewPolicy(overlap_share=1.0, overlap_reviewers=3).wanted("t1", "tipo")
        3
        """
        shared = drawn_for_audit(
            ticket_id, task=f"{task}/overlap", seed=0, share=self.overlap_share
        )
        return self.overlap_reviewers if shared else 1
