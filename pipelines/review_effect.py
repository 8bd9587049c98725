"""What labels bought: how much more the machine may do alone under the same promise about errors.

Two guarantees of a task are compared only where they promise the same: as many errors at most, with
as much confidence. The newest is held against the oldest like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lakehouse.control.guarantees import GuaranteeRecord
from models.guarantee import Guarantee


@dataclass(frozen=True, slots=True)
class Promised:
    """One guarantee: at most `alpha` of what is accepted is wrong, proven from `labels`.

    `labels` are of the audit's sample. `coverage` is the share of all answers that it accepts;
    `groups` are the labels it promises about together.
    """

    at: datetime
    bundle_id: str
    alpha: float
    delta: float
    groups: tuple[tuple[str, ...], ...]
    labels: int
    coverage: float

    @classmethod
    def of(cls, found: Guarantee) -> Promised:
        """Read what was promised, and from how much."""
        return cls(
            found.issued_at,
            found.bundle_id,
            found.terms.alpha,
            found.terms.delta,
            found.terms.groups,
            sum(promise.drawn - promise.missing for promise in found.promises),
            found.coverage,
        )


def in_force(records: Sequence[GuaranteeRecord], now: datetime) -> list[Promised]:
    """Return what was promised and never withdrawn; nothing where the newest has expired."""
    kept = sorted((r for r in records if r.withdrawal is None), key=lambda record: record.issued_at)
    if not kept or kept[-1].expires_at <= now:
        return []
    return [Promised.of(Guarantee.of(record.content)) for record in kept]


@dataclass(frozen=True, slots=True)
class Effect:
    """Two guarantees that promise the same, in the order in which they were issued."""

    before: Promised
    after: Promised

    @property
    def labels(self) -> int:
        """How many more labels the later one rests on; negative where they are fewer."""
        return self.after.labels - self.before.labels

    @property
    def same_bundle(self) -> bool:
        """Whether the same versions answered, so that only labels can have made the difference."""
        return self.before.bundle_id == self.after.bundle_id


def effect(history: Sequence[Promised]) -> Effect | None:
    """Compare the newest guarantee with the oldest that promises the same; None without one."""
    rising = sorted(history, key=lambda found: found.at)
    if not rising:
        return None
    last = rising[-1]
    like = [found for found in rising[:-1] if _promise(found) == _promise(last)]
    return Effect(like[0], last) if like else None


def _promise(found: Promised) -> tuple[object, ...]:
    return found.alpha, found.delta, found.groups
