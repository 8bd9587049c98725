"""Routing: which answers of the machine count as they are, and which a person must see.

Routing only reads scores and ticket identifiers; it calls no model, so a run can be routed again
from its stored scores with another policy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.errors import ConfigurationError


class Decision(StrEnum):
    """What becomes of an answer. NONE stands on the rows of models that only run beside."""

    ACCEPT = "accept"
    AUDIT = "audit"
    REVIEW = "review"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """Accept from `accept_at` on, inclusive; doubt goes to a person.

    >>> RoutingPolicy(accept_at=0.8).decide(pa.array([0.9, 0.8, 0.7, None])).to_pylist()
    ['accept', 'accept', 'review', 'review']
    """

    accept_at: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.accept_at <= 1.0:
            msg = f"accept_at is {self.accept_at}, expected a probability from 0 to 1"
            raise ConfigurationError(msg)

    def decide(self, scores: pa.Array) -> pa.Array:
        """Give every score its decision; one that is null or NaN is reviewed."""
        known = pc.fill_null(scores, float("nan"))
        sure = pc.greater_equal(known, self.accept_at)
        return pc.if_else(sure, Decision.ACCEPT.value, Decision.REVIEW.value)


def drawn_for_audit(ticket_id: str, *, task: str, seed: int, share: float) -> bool:
    """Draw a ticket with probability `share`, the same way however often it is asked.

    The draw depends on nothing the model said, so the sample is fair to every answer.
    """
    mark = hashlib.sha256(f"{seed}/{task}/{ticket_id}".encode()).digest()
    return int.from_bytes(mark[:8], "big") < share * 2**64


def audit_sample(ticket_ids: pa.Array, *, task: str, seed: int, share: float) -> pa.Array:
    """Say of each ticket whether it is drawn: of all tickets, whatever becomes of their answers."""
    return pa.array(
        [drawn_for_audit(t, task=task, seed=seed, share=share) for t in ticket_ids.to_pylist()],
        pa.bool_(),
    )


def with_audit(decisions: pa.Array, drawn: pa.Array) -> pa.Array:
    """Turn the accepted answers that were drawn into `audit`: they count, and are checked."""
    accepted = pc.equal(decisions, Decision.ACCEPT.value)
    return pc.if_else(pc.and_(accepted, drawn), Decision.AUDIT.value, decisions)


@dataclass(frozen=True, slots=True)
class PinnedRouting:
    """What may be accepted of a bundle's answers to a task that asks for a guarantee.

    Decided when a run is planned. `accept_at` is by label; a label that is not there is reviewed
    whatever its score. Where no guarantee holds there is none, and `reason` says why.
    """

    task: str
    bundle_id: str
    guarantee_id: str | None
    accept_at: Mapping[str, float]
    reason: str = ""

    def decide(self, scores: pa.Array, labels: pa.Array) -> pa.Array:
        """Give every answer its decision; doubt, and what is not promised about, is reviewed."""
        named = pa.array(list(self.accept_at), pa.string())
        cuts = pa.array(list(self.accept_at.values()), pa.float64())
        cut = pc.fill_null(cuts.take(pc.index_in(labels, value_set=named)), float("nan"))
        known = pc.fill_null(scores, float("nan"))
        sure = pc.greater_equal(known, cut)
        return pc.if_else(sure, Decision.ACCEPT.value, Decision.REVIEW.value)
