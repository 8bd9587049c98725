"""How much waits for people, for how long, and how fast they answer: counted from a queue's cases.

What is asked of the ledger (labels, agreement) is not counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from statistics import median

from labeling.queue import Answer, CaseStatus, QueuedCase, Reason

AGES = (("0–23 h", 1), ("1–2 días", 3), ("3–7 días", 8), ("8–30 días", 31), ("más de 30", None))
"""How ages are put together: a name, and the days below which a case is of that age."""


@dataclass(frozen=True, slots=True)
class Load:
    """The cases of one reason: each is in one of the counts, by how far it is.

    `partly` were answered by some of the people who are to. `waiting` is everything that still
    needs an answer: pending, drafts and `partly`. Ages are of those; None where nothing waits.
    """

    reason: Reason
    pending: int
    draft: int
    partly: int
    discarded: int
    done: int
    oldest: timedelta | None
    median: timedelta | None
    ages: tuple[int, ...]

    @property
    def waiting(self) -> int:
        """How many still need an answer."""
        return self.pending + self.draft + self.partly


@dataclass(frozen=True, slots=True)
class Pace:
    """What one person answered, day by day, and how often the model had suggested the same."""

    reviewer: str
    by_day: tuple[int, ...]
    answers: int
    as_suggested: int


def loads(cases: Sequence[QueuedCase], now: datetime) -> tuple[Load, ...]:
    """Count the cases of each reason that has any, in the order of reasons."""
    by_reason = {
        reason: [case for case in cases if case.origin.reason is reason] for reason in Reason
    }
    return tuple(_load(reason, own, now) for reason, own in by_reason.items() if own)


def _load(reason: Reason, cases: Sequence[QueuedCase], now: datetime) -> Load:
    stands = Counter(_stands(case) for case in cases)
    ages = [
        max(now - case.put_at, timedelta())
        for case in cases
        if case.put_at is not None and _stands(case) in _WAITING
    ]
    return Load(
        reason,
        pending=stands["pending"],
        draft=stands["draft"],
        partly=stands["partly"],
        discarded=stands["discarded"],
        done=stands["done"],
        oldest=max(ages, default=None),
        median=_middle(ages),
        ages=_by_age(ages),
    )


def _middle(ages: Sequence[timedelta]) -> timedelta | None:
    return timedelta(seconds=median(age.total_seconds() for age in ages)) if ages else None


_WAITING = ("pending", "draft", "partly")


def _stands(case: QueuedCase) -> str:
    if case.status is not CaseStatus.SUBMITTED:
        return case.status.value
    return "partly" if case.missing else "done"


def _by_age(ages: Sequence[timedelta]) -> tuple[int, ...]:
    counts = [0] * len(AGES)
    for age in ages:
        counts[next(n for n, (_, days) in enumerate(AGES) if days is None or age.days < days)] += 1
    return tuple(counts)


def paces(cases: Sequence[QueuedCase], days: Sequence[date], zone: tzinfo) -> tuple[Pace, ...]:
    """Count each person's submitted answers on the given days, those of most answers first."""
    given = [(case, answer) for case in cases for answer in _submitted(case)]
    named = sorted({answer.reviewer for _, answer in given})
    found = [
        _pace(name, [(c, a) for c, a in given if a.reviewer == name], days, zone) for name in named
    ]
    return tuple(sorted((p for p in found if p.answers), key=lambda pace: -pace.answers))


def _pace(
    reviewer: str,
    given: Sequence[tuple[QueuedCase, Answer]],
    days: Collection[date],
    zone: tzinfo,
) -> Pace:
    dated = [(answer.at.astimezone(zone).date(), case, answer) for case, answer in given]
    counted = [(day, case, answer) for day, case, answer in dated if day in days]
    by_day = Counter(day for day, _, _ in counted)
    same = sum(answer.label == case.origin.suggestion for _, case, answer in counted)
    return Pace(reviewer, tuple(by_day[day] for day in days), len(counted), same)


def _submitted(case: QueuedCase) -> list[Answer]:
    return [answer for answer in case.answers if answer.status is CaseStatus.SUBMITTED]


def last_days(now: datetime, zone: tzinfo, count: int = 7) -> tuple[date, ...]:
    """Return the last days up to today, as the calendar of the place has them."""
    today = now.astimezone(zone).date()
    return tuple(today - timedelta(days=back) for back in reversed(range(count)))
