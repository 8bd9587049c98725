"""Guarantees: how wrong the accepted part may be, proven from what people said of a fair sample.

A guarantee says, of one bundle and task: among the answers it accepts of each group of labels, at
most `alpha` are wrong, with confidence `1 - delta` for each group by itself. It is proven by
`models.learn_then_test` from the audit's draw alone, which asks about tickets whatever was said of
them. A group with too few labels is put together with the other small ones, and where that is not
enough with larger ones: the promise is then about all of them together, and says so.

A drawn ticket that nobody answered, or that people did not agree on, counts as wrong. What is
promised then holds whatever its answer would have been, and whatever made people leave it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.errors import ConfigurationError
from models.learn_then_test import (
    Floats,
    Limit,
    at_least,
    at_most,
    counted,
    lowest_proven,
    order_of,
)
from models.routing import PinnedRouting

EXPIRES_DAYS = 90
FALSE_ALARM = 0.01
"""How often a look at the audit withdraws a guarantee whose error is just what it may be."""

WINDOW = 200
"""The newest accepted answers with a label that a look takes by themselves, beside all since."""


@dataclass(frozen=True, slots=True)
class GuaranteeTerms:
    """What a task's operator asks for. `groups` are labels to be promised about together.

    Labels that no group names are each promised about alone.
    """

    alpha: float
    delta: float = 0.1
    expires_days: int = EXPIRES_DAYS
    groups: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        Limit(self.alpha, self.delta)
        if self.expires_days < 1:
            msg = f"expires_days is {self.expires_days}, expected a day at least"
            raise ConfigurationError(msg)
        named = Counter(label for group in self.groups for label in group)
        twice = sorted(label for label, count in named.items() if count > 1)
        if twice:
            msg = f"label '{twice[0]}' stands in two groups of a guarantee, expected one"
            raise ConfigurationError(msg)

    @property
    def limit(self) -> Limit:
        """What each group is tested against."""
        return Limit(self.alpha, self.delta)

    def groups_of(self, labels: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return every label of a task in its group.

        >>> GuaranteeTerms(0.05, groups=(("queja", "reclamo"),)).groups_of(["queja", "otra"])
        (('queja', 'reclamo'), ('otra',))
        """
        named = {label for group in self.groups for label in group}
        return (*self.groups, *((label,) for label in labels if label not in named))


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised about the answers with some labels, and what it was proven from.

    `groups` are more than one where they were too small alone. `drawn` counts the sample, `missing`
    those of it without a label, `accepted` and `errors` what lies above `accept_at`, which is None
    where nothing could be proven. `coverage` is the share of the group's answers that are accepted.
    """

    groups: tuple[tuple[str, ...], ...]
    drawn: int
    missing: int
    accept_at: float | None
    accepted: int
    errors: int
    coverage: float
    answers: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it is about."""
        return tuple(label for group in self.groups for label in group)

    @property
    def pooled(self) -> bool:
        """Whether it is about groups together that were asked about alone."""
        return len(self.groups) > 1


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A promise about a bundle's answers to a task, with all that it rests on.

    `first` and `last` are the moments of the runs whose answers were sampled; `labels_version` and
    `answers_version` the tables as they were read.
    """

    guarantee_id: str
    task: str
    bundle_id: str
    terms: GuaranteeTerms
    promises: tuple[Promise, ...]
    first: datetime
    last: datetime
    labels_version: int | None
    answers_version: int | None
    issued_at: datetime

    @property
    def expires_at(self) -> datetime:
        """When it is too old."""
        return self.issued_at + timedelta(days=self.terms.expires_days)

    @property
    def coverage(self) -> float:
        """The share of all answers it accepts."""
        whole = sum(promise.answers for promise in self.promises)
        taken = sum(promise.coverage * promise.answers for promise in self.promises)
        return taken / whole if whole else 0.0

    @property
    def accept_at(self) -> dict[str, float]:
        """From which score on a label is accepted; one that is not here never is."""
        return {
            label: promise.accept_at
            for promise in self.promises
            if promise.accept_at is not None
            for label in promise.labels
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with what follows from them for those who ask in SQL."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {**values, "expires_at": self.expires_at.isoformat(), "coverage": self.coverage}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Guarantee:
        """Read what `as_dict` wrote."""
        return msgspec.convert(dict(values), cls)


class Lapse(StrEnum):
    """Why a guarantee does not hold."""

    NONE = "never issued"
    BUNDLE = "another bundle"
    TERMS = "other terms"
    AGE = "age"
    DRIFT = "drift"
    ERRORS = "errors"
    PERSON = "withdrawn"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a guarantee holds now. `lapse` is None where it does; `why` says more."""

    guarantee: Guarantee | None
    lapse: Lapse | None = None
    why: str = ""

    @property
    def valid(self) -> bool:
        """Whether routing may go by it."""
        return self.lapse is None

    def routing(self, task: str, bundle_id: str) -> PinnedRouting:
        """Say what a run may accept: what is promised about, else nothing."""
        if self.guarantee is None or self.lapse is not None:
            said = f"{self.lapse}: {self.why}" if self.why else str(self.lapse)
            return PinnedRouting(task, bundle_id, None, {}, said)
        found = self.guarantee
        return PinnedRouting(task, bundle_id, found.guarantee_id, found.accept_at)


@dataclass(frozen=True, slots=True)
class Looked:
    """Accepted answers of one promise that the audit checked since: so many, so many wrong."""

    labels: tuple[str, ...]
    checked: int
    wrong: int
    newest: int
    newest_wrong: int


def standing(
    guarantee: Guarantee | None,
    *,
    now: datetime,
    bundle_id: str,
    terms: GuaranteeTerms,
    drifted: str | None = None,
    since: Sequence[Looked] = (),
) -> Standing:
    """Judge a guarantee. `drifted` says what drift was found after it was issued, if any was;
    `since` what the audit found of what it accepted.
    """
    if guarantee is None:
        return Standing(None, Lapse.NONE)
    if guarantee.bundle_id != bundle_id:
        why = f"it is about {guarantee.bundle_id}, {bundle_id} answers"
        return Standing(guarantee, Lapse.BUNDLE, why)
    if (guarantee.terms.limit, guarantee.terms.groups) != (terms.limit, terms.groups):
        return Standing(guarantee, Lapse.TERMS, "what is asked for was changed since")
    if now >= guarantee.expires_at:
        return Standing(guarantee, Lapse.AGE, f"it ended on {guarantee.expires_at:%Y-%m-%d}")
    if drifted is not None:
        return Standing(guarantee, Lapse.DRIFT, drifted)
    broken = broken_by(since, terms.alpha)
    return Standing(guarantee, Lapse.ERRORS if broken else None, broken or "")


def broken_by(since: Sequence[Looked], alpha: float) -> str | None:
    """Say which promise the audit speaks against, None where it speaks against none.

    For each the newest answers and all since are tested, exactly, against an error rate of `alpha`.
    All of them together withdraw what just holds with probability `FALSE_ALARM` a look at most.
    """
    risk = FALSE_ALARM / max(2 * len(since), 1)
    for look in since:
        for checked, wrong in ((look.newest, look.newest_wrong), (look.checked, look.wrong)):
            if at_least(wrong, checked, alpha) <= risk:
                return f"{wrong} of {checked} accepted answers ({', '.join(look.labels)}) are wrong"
    return None


def promises_of(
    answers: pa.Table, terms: GuaranteeTerms, labels: Sequence[str]
) -> tuple[Promise, ...]:
    """Prove what can be proven about a bundle's answers to a task.

    `answers` has predicted_label, score, drawn and right (null where a drawn ticket has no label).
    Those that were not drawn only say where thresholds may lie, and how much they accept.
    """
    groups = terms.groups_of(labels)
    drawn = answers.filter(answers["drawn"])
    counts = Counter(drawn["predicted_label"].to_pylist())
    sizes = [sum(counts[label] for label in group) for group in groups]
    return tuple(
        _proven(tuple(groups[place] for place in pool), answers, terms.limit)
        for pool in pools_of(sizes, enough_for(terms.limit))
    )


def enough_for(limit: Limit) -> int:
    """Return the sample from which a group is promised about alone.

    With as many, half of its answers can be accepted where half of the errors are made that may be.

    >>> enough_for(Limit(alpha=0.05, delta=0.1))
    154
    """
    accepted = limit.fewest
    while True:
        allowed = np.array([int(accepted * limit.alpha / 2)])
        if at_most(allowed, np.array([accepted]), limit.alpha)[0] <= limit.delta:
            return 2 * accepted
        accepted += 1


def pools_of(sizes: Sequence[int], enough: int) -> list[tuple[int, ...]]:
    """Put groups together, by place, so that each pool has enough: those that have not, then the
    smallest of the others. Where all together have not, they are one pool.

    A group of which nothing was drawn stays alone: nothing is known of it, so nothing is accepted.

    >>> pools_of([400, 90, 350, 80, 0], 300)
    [(0,), (1, 2, 3), (4,)]
    """
    unseen = [(place,) for place, size in enumerate(sizes) if size == 0]
    rising = sorted((size, place) for place, size in enumerate(sizes) if size > 0)
    small: list[int] = []
    held = 0
    while rising and (rising[0][0] < enough or 0 < held < enough):
        size, place = rising.pop(0)
        small.append(place)
        held += size
    pooled = [tuple(sorted(small))] if small else []
    return sorted([*unseen, *((place,) for _, place in rising), *pooled])


def _proven(groups: tuple[tuple[str, ...], ...], answers: pa.Table, limit: Limit) -> Promise:
    named = pa.array([label for group in groups for label in group], pa.string())
    own = answers.filter(pc.is_in(answers["predicted_label"], value_set=named))
    drawn = own.filter(own["drawn"])
    others = own.filter(pc.invert(own["drawn"]))
    scores = _scores(drawn)
    wrong = np.asarray(pc.invert(pc.fill_null(drawn["right"], False)), dtype=np.bool_)
    order = order_of(_scores(others), len(drawn), limit)
    accepted, errors = counted(scores, wrong, order)
    place = int(lowest_proven(accepted, errors, order.shares, limit))
    lowest = None if place < 0 else float(order.thresholds[place])
    taken = 0 if lowest is None else int((_scores(own) >= lowest).sum())
    return Promise(
        groups=groups,
        drawn=len(drawn),
        missing=drawn["right"].null_count,
        accept_at=lowest,
        accepted=0 if lowest is None else int(accepted[place]),
        errors=0 if lowest is None else int(errors[place]),
        coverage=taken / len(own) if len(own) else 0.0,
        answers=len(own),
    )


def _scores(rows: pa.Table) -> Floats:
    """Return scores; one that is missing is accepted nowhere."""
    known = pc.fill_null(rows["score"], -1.0)
    found: Floats = np.nan_to_num(np.asarray(known, dtype=np.float64), nan=-1.0)
    return found
