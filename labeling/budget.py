"""The week's labels: how many a tenant's people can give, and what each of them is spent on.

What people still have to answer counts like what they answered this week: a queue is never filled
beyond what they can do. What was drawn for the audit comes first, because what is promised about
the machine's answers rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from labeling.queue import CaseStatus, QueuedCase, Reason
from lakehouse.errors import ConfigurationError

RULE = "presupuesto-1"
"""The rule by which labels are split, see `split`. Another rule has another name."""

FIRST = (Reason.AUDIT, Reason.DISAGREEMENT, Reason.ACTIVE, Reason.DOUBT)
"""Who takes first, each up to its own share."""
LEFT_TO = (Reason.DOUBT, Reason.ACTIVE, Reason.DISAGREEMENT, Reason.AUDIT)
"""To whom goes, in this order, what others leave."""

_DONE = {CaseStatus.SUBMITTED, CaseStatus.DISCARDED}


@dataclass(frozen=True, slots=True)
class LabelBudget:
    """How many answers people can give in a week, and how they are shared; doubt has the rest."""

    weekly_labels: int
    audit_share: float = 0.3
    disagreement_share: float = 0.2
    active_share: float = 0.2

    def __post_init__(self) -> None:
        if self.weekly_labels < 1:
            msg = f"weekly_labels is {self.weekly_labels}, expected one at least"
            raise ConfigurationError(msg)
        shares = (self.audit_share, self.disagreement_share, self.active_share)
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            msg = (
                "audit_share, disagreement_share and active_share are "
                f"{', '.join(map(str, shares))}, expected parts of 1 that leave doubt the rest"
            )
            raise ConfigurationError(msg)

    def quota(self, reason: Reason) -> int:
        """Return a reason's share in whole labels.

        >>> [LabelBudget(50).quota(reason) for reason in FIRST]
        [15, 10, 10, 15]
        """
        shares = {
            Reason.AUDIT: self.audit_share,
            Reason.DISAGREEMENT: self.disagreement_share,
            Reason.ACTIVE: self.active_share,
        }
        counts = {name: int(share * self.weekly_labels + 1e-9) for name, share in shares.items()}
        rest = {Reason.DOUBT: self.weekly_labels - sum(counts.values())}
        return {**counts, **rest}.get(reason, 0)


@dataclass(frozen=True, slots=True)
class Allotment:
    """What one reason gets of the labels that are left this week, and all that made it so.

    `spent` was asked for already, `waiting` is what could be asked for, `needed` what the guarantee
    rests on, `passed_on` the part of `labels` that others left.
    """

    reason: Reason
    labels: int
    quota: int
    spent: int
    waiting: int
    needed: int = 0
    passed_on: int = 0

    @property
    def why(self) -> str:
        """Say in words where the number comes from, as operators read it.

        >>> Allotment(Reason.DOUBT, 20, quota=15, spent=5, waiting=40, passed_on=10).why
        'cuota 15, ya pedidas 5; 10 que otros no usan; 20 quedan esperando'
        """
        taken = f"cuota {self.quota}" + (f", ya pedidas {self.spent}" if self.spent else "")
        said = [taken]
        if self.needed > max(0, self.quota - self.spent):
            said.append(f"la garantía necesita {self.needed}")
        if self.passed_on:
            said.append(f"{self.passed_on} que otros no usan")
        if not self.waiting:
            said.append("no hay casos")
        elif self.waiting > self.labels:
            said.append(f"{self.waiting - self.labels} quedan esperando")
        else:
            said.append("no hay más casos")
        return "; ".join(said)


def split(
    budget: LabelBudget,
    *,
    spent: Mapping[Reason, int],
    waiting: Mapping[Reason, int],
    needed: int = 0,
) -> tuple[Allotment, ...]:
    """Split what is left of the week's labels, in the order of `FIRST`.

    Each reason gets its quota less what was spent on it, the audit what the guarantee needs where
    that is more. What a reason has no cases for goes on in the order of `LEFT_TO`.
    """
    left = max(0, budget.weekly_labels - sum(spent.values()))
    own: dict[Reason, int] = {}
    for reason in FIRST:
        due = budget.quota(reason) - spent.get(reason, 0)
        wanted = max(due, needed) if reason is Reason.AUDIT else due
        own[reason] = max(0, min(wanted, waiting.get(reason, 0), left))
        left -= own[reason]
    more: dict[Reason, int] = {}
    for reason in LEFT_TO:
        more[reason] = min(waiting.get(reason, 0) - own[reason], left)
        left -= more[reason]
    return tuple(
        Allotment(
            reason=reason,
            labels=own[reason] + more[reason],
            quota=budget.quota(reason),
            spent=spent.get(reason, 0),
            waiting=waiting.get(reason, 0),
            needed=needed if reason is Reason.AUDIT else 0,
            passed_on=more[reason],
        )
        for reason in FIRST
    )


def week_of(moment: datetime) -> datetime:
    """Return when the week began: on Monday at midnight, UTC.

    >>> week_of(datetime(2026, 1, 8, 15, 30, tzinfo=UTC)).isoformat()
    '2026-01-05T00:00:00+00:00'
    """
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def committed(cases: Iterable[QueuedCase], *, since: datetime) -> dict[Reason, int]:
    """Count the answers people gave since then, and those the queue still wants, by reason.

    A discard is an answer: it took as long. So what was asked this week counts, and what was asked
    before and left.
    """
    counts = dict.fromkeys(Reason, 0)
    for case in cases:
        done = [answer for answer in case.answers if answer.status in _DONE]
        given = sum(answer.at >= since for answer in done)
        counts[case.origin.reason] += given + max(0, case.wanted - len(done))
    return counts
