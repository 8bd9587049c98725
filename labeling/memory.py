"""A review queue in memory: what tests of everything but Argilla use, with a reviewer to play."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from labeling.errors import QueueMismatchError
from labeling.queue import (
    Answer,
    CaseId,
    CaseStatus,
    QueuedCase,
    QueueSpec,
    ReviewCase,
    Reviewer,
    require_own,
)
from lakehouse.tenancy import TenantContext, TenantId

Key = tuple[TenantId, str]


class MemoryReviewQueue:
    """`ReviewQueue` over dictionaries. `now` tells when a case is put."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._specs: dict[Key, QueueSpec] = {}
        self._cases: dict[Key, dict[CaseId, QueuedCase]] = {}
        self.shown: dict[CaseId, ReviewCase] = {}
        self.reviewers: dict[TenantId, dict[str, str]] = {}
        self._since: dict[str, datetime] = {}

    def open(self, spec: QueueSpec, tenant: TenantContext) -> str:
        """See `ReviewQueue.open`."""
        key = (tenant.tenant_id, spec.task)
        known = self._specs.get(key, spec)
        if set(known.titles) != set(spec.titles):
            raise QueueMismatchError.of("/".join(key), known.titles, spec.titles)
        self._specs[key] = spec
        self._cases.setdefault(key, {})
        return f"memory://{tenant.tenant_id}/{spec.task}"

    def put(self, cases: Sequence[ReviewCase], spec: QueueSpec, tenant: TenantContext) -> int:
        """See `ReviewQueue.put`."""
        there = self._cases[tenant.tenant_id, spec.task]
        require_own((case.id for case in cases), tenant)
        new = {case.id: case for case in cases if case.id not in there}
        for case in new.values():
            there[case.id] = QueuedCase(
                case.id,
                case.origin,
                spec.guideline.version,
                wanted=case.wanted,
                put_at=self._now(),
            )
            self.shown[case.id] = case
        return len(new)

    def cases(self, task: str, tenant: TenantContext) -> list[QueuedCase]:
        """See `ReviewQueue.cases`."""
        found = self._cases.get((tenant.tenant_id, task), {})
        return sorted(found.values(), key=lambda case: str(case.id))

    def withdraw(self, case_ids: Collection[CaseId], task: str, tenant: TenantContext) -> int:
        """See `ReviewQueue.withdraw`."""
        require_own(case_ids, tenant)
        there = self._cases.get((tenant.tenant_id, task), {})
        idle = [name for name in set(case_ids) & there.keys() if not there[name].answers]
        for name in idle:
            del there[name]
        return len(idle)

    def enrol(self, reviewer: Reviewer, tenant: TenantContext) -> None:
        """See `ReviewQueue.enrol`."""
        self.reviewers.setdefault(tenant.tenant_id, {})[reviewer.username] = reviewer.password
        self._since.setdefault(reviewer.username, self._now())

    def dismiss(self, username: str, tenant: TenantContext) -> None:
        """See `ReviewQueue.dismiss`."""
        self.reviewers.get(tenant.tenant_id, {}).pop(username, None)

    def accounts(self, tenant: TenantContext) -> Mapping[str, datetime]:
        """See `ReviewQueue.accounts`."""
        return dict(self._since)

    def answer(
        self,
        case_id: CaseId,
        reviewer: str,
        label: str | None,
        *,
        at: datetime,
        status: CaseStatus = CaseStatus.SUBMITTED,
    ) -> None:
        """Play a reviewer, whose new answer takes the place of the one before."""
        self._since[reviewer] = min(self._since.get(reviewer, at), at)
        there = self._cases[TenantId(case_id.tenant_id), case_id.task]
        case = there[case_id]
        others = tuple(answer for answer in case.answers if answer.reviewer != reviewer)
        there[case_id] = replace(case, answers=(*others, Answer(reviewer, status, label, None, at)))

    def take_back(self, case_id: CaseId, reviewer: str) -> None:
        """Play a reviewer who deletes an answer."""
        there = self._cases[TenantId(case_id.tenant_id), case_id.task]
        case = there[case_id]
        left = tuple(answer for answer in case.answers if answer.reviewer != reviewer)
        there[case_id] = replace(case, answers=left)

    def remove_account(self, reviewer: str) -> None:
        """Play an owner who deletes an account, whose answers go with it."""
        self._since.pop(reviewer, None)
        for cases in self._cases.values():
            for case_id in cases:
                self.take_back(case_id, reviewer)

    def lose(self, task: str, tenant: TenantContext) -> None:
        """Play an owner who deletes a queue with all that is in it."""
        self._cases.pop((tenant.tenant_id, task), None)
