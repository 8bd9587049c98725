"""The review queue: where doubtful tickets wait for a person, and what the person answered.

A queue belongs to one tenant and one task. Cases are put there once; answers are read as often as
one likes. Which cases to put and where answers go is not decided here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Protocol

from labeling.errors import ForeignCaseError
from labeling.guidelines import Guideline
from lakehouse.errors import InputError, TenantMismatchError
from lakehouse.tenancy import TenantContext


class Reason(StrEnum):
    """Why a ticket is with a person.

    The model doubts; the ticket was drawn to check the model; people answered it differently;
    champion and challenger do; or its label would teach the next model most. Only what was drawn is
    a fair sample.
    """

    DOUBT = "doubt"
    AUDIT = "audit"
    DISPUTE = "dispute"
    DISAGREEMENT = "disagreement"
    ACTIVE = "active"


class CaseStatus(StrEnum):
    """How far a case is. Of several reviewers' answers, the furthest counts."""

    PENDING = "pending"
    DRAFT = "draft"
    DISCARDED = "discarded"
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class CaseId:
    """A case's name: the same ticket answered by the same bundle is the same case."""

    tenant_id: str
    task: str
    ticket_id: str
    bundle_id: str

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.task}/{self.ticket_id}/{self.bundle_id}"

    @classmethod
    def parse(cls, text: str) -> CaseId:
        """Read a case's name back. Raises `ForeignCaseError`."""
        parts = text.split("/")
        if len(parts) != 4 or not all(parts):
            msg = (
                f"record '{text}' is not one of Plata's, whose names are "
                "tenant/task/ticket/bundle; remove it from the dataset in Argilla"
            )
            raise ForeignCaseError(msg)
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """What a task's queue asks. `titles` are the labels as read; `dimensions` those of vectors."""

    task: str
    titles: dict[str, str]
    guideline: Guideline
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class CaseOrigin:
    """What a label must still know when it comes back: where the case came from."""

    source: str
    day: date
    reason: Reason
    suggestion: str
    score: float
    model_name: str
    model_version: str


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """One ticket for a person. `text` is the citizen's own, masked by whoever puts it here.

    `run_id` is the run that answered, `masking` says what was covered. `link` leads to a page about
    the model's version. `vector` finds similar cases. `wanted` is how many people are to answer,
    each without seeing what the others said.
    """

    id: CaseId
    text: str
    origin: CaseOrigin
    explanation: str = ""
    channel: str | None = None
    region: str | None = None
    link: str | None = None
    run_id: str | None = None
    masking: str | None = None
    vector: tuple[float, ...] | None = None
    wanted: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What one reviewer said of a case, and when. `label` is None in a draft or a discard."""

    reviewer: str
    status: CaseStatus
    label: str | None
    comment: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class QueuedCase:
    """A case as it stands in the queue, with every answer it has.

    `put_at` is None where the queue does not know since when it is there.
    """

    id: CaseId
    origin: CaseOrigin
    guideline_version: str
    answers: tuple[Answer, ...] = ()
    wanted: int = 1
    put_at: datetime | None = None

    @property
    def status(self) -> CaseStatus:
        """How far the case is."""
        order = list(CaseStatus)
        return max((answer.status for answer in self.answers), key=order.index, default=order[0])

    @property
    def missing(self) -> int:
        """How many answers are still to be submitted."""
        given = sum(answer.status is CaseStatus.SUBMITTED for answer in self.answers)
        return max(0, self.wanted - given)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A submitted answer: a label in the making."""

    case: QueuedCase
    label: str
    reviewer: str
    at: datetime

    @property
    def label_id(self) -> str:
        """A digest of case, reviewer, label and time: an answer that is changed is another."""
        moment = self.at.astimezone(UTC).isoformat()
        mark = f"{self.case.id}\n{self.reviewer}\n{self.label}\n{moment}"
        return hashlib.sha256(mark.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Reviewer:
    """An account to review with, in one tenant's queues only."""

    username: str
    password: str

    def __post_init__(self) -> None:
        if len(self.password) < 8:
            msg = f"the password of '{self.username}' is shorter than 8 characters"
            raise InputError(msg)


class ReviewQueue(Protocol):
    """Queues of tenants: opened once, filled by machines, emptied by people."""

    def open(self, spec: QueueSpec, tenant: TenantContext) -> str:
        """Make a task's queue ready, where it is not yet, and return the address of its page.

        Raises `QueueMismatchError` where it is open for other labels.
        """
        ...

    def put(self, cases: Sequence[ReviewCase], spec: QueueSpec, tenant: TenantContext) -> int:
        """Add the cases that are not there yet and return how many; those there keep answers.

        Raises `TenantMismatchError` for a case of another tenant.
        """
        ...

    def cases(self, task: str, tenant: TenantContext) -> list[QueuedCase]:
        """Return every case, in the order of its name; none where the queue was never opened."""
        ...

    def withdraw(self, case_ids: Collection[CaseId], task: str, tenant: TenantContext) -> int:
        """Take out the cases that nobody answered yet and return how many.

        A case with any answer stays, a draft or a discard included: what a person did is never
        undone from here. Names that are not there are passed over; a case that was taken out may be
        put again. Raises `TenantMismatchError` for a case of another tenant.
        """
        ...

    def enrol(self, reviewer: Reviewer, tenant: TenantContext) -> None:
        """Let a reviewer into the tenant's queues with that password, and into no other's."""
        ...

    def dismiss(self, username: str, tenant: TenantContext) -> None:
        """Let a reviewer into the tenant's queues no longer. What they answered stays."""
        ...

    def accounts(self, tenant: TenantContext) -> Mapping[str, datetime]:
        """Return since when everybody has an account whose answers the tenant's queues can hold.

        Where an account goes, its answers may go with it: nobody took those back. So it is with an
        answer older than its account, which was given from an earlier one of that name.
        """
        ...


def verdicts(cases: Sequence[QueuedCase]) -> list[Verdict]:
    """Return the submitted answers; a draft or a discard is none."""
    return [
        Verdict(case, answer.label, answer.reviewer, answer.at)
        for case in cases
        for answer in case.answers
        if answer.status is CaseStatus.SUBMITTED and answer.label is not None
    ]


def tally(cases: Sequence[QueuedCase]) -> dict[Reason, dict[CaseStatus, int]]:
    """Count cases by reason and status, zeros included."""
    counts = {reason: dict.fromkeys(CaseStatus, 0) for reason in Reason}
    for case in cases:
        counts[case.origin.reason][case.status] += 1
    return counts


def require_own(case_ids: Iterable[CaseId], tenant: TenantContext) -> None:
    """Refuse cases of another tenant. Raises `TenantMismatchError`."""
    foreign = {case_id.tenant_id for case_id in case_ids} - {tenant.tenant_id}
    if foreign:
        msg = f"cases for tenant '{tenant.tenant_id}' carry {sorted(foreign)}"
        raise TenantMismatchError(msg)
