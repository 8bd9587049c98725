"""A week's labels: never more than people can give, the audit first, and nothing left unused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.budget import FIRST, LabelBudget, committed, split
from labeling.queue import Answer, CaseId, CaseOrigin, CaseStatus, QueuedCase, Reason
from lakehouse.errors import ConfigurationError

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)

counts = st.integers(0, 60)
by_reason = st.fixed_dictionaries(dict.fromkeys(FIRST, counts))
spends = st.fixed_dictionaries(dict.fromkeys(Reason, st.integers(0, 20)))


@st.composite
def budgets(draw: st.DrawFn) -> LabelBudget:
    parts = [draw(st.integers(0, 10)) for _ in range(4)]
    whole = sum(parts) or 1
    audit, disagreement, active, _ = (part / whole for part in parts)
    return LabelBudget(draw(st.integers(1, 120)), audit, disagreement, active)


def labels(
    budget: LabelBudget, waiting: dict[Reason, int], spent: dict[Reason, int], needed: int = 0
) -> dict[Reason, int]:
    return {a.reason: a.labels for a in split(budget, spent=spent, waiting=waiting, needed=needed)}


@given(budgets(), by_reason, spends, counts)
def test_all_that_is_left_is_given_out_and_never_more(
    budget: LabelBudget, waiting: dict[Reason, int], spent: dict[Reason, int], needed: int
) -> None:
    found = labels(budget, waiting, spent, needed)
    left = max(0, budget.weekly_labels - sum(spent.values()))
    assert sum(found.values()) == min(left, sum(waiting.values()))
    assert all(0 <= found[reason] <= waiting[reason] for reason in FIRST)


@given(budgets(), by_reason, spends, counts)
def test_the_audit_has_its_share_and_what_the_guarantee_needs_before_anyone_else(
    budget: LabelBudget, waiting: dict[Reason, int], spent: dict[Reason, int], needed: int
) -> None:
    found = labels(budget, waiting, spent, needed)
    left = max(0, budget.weekly_labels - sum(spent.values()))
    due = max(budget.quota(Reason.AUDIT) - spent[Reason.AUDIT], needed)
    assert found[Reason.AUDIT] >= min(due, waiting[Reason.AUDIT], left)


@given(budgets())
def test_quotas_add_up_to_the_budget(budget: LabelBudget) -> None:
    assert sum(map(budget.quota, FIRST)) == budget.weekly_labels
    assert min(map(budget.quota, FIRST)) >= 0


def test_what_others_leave_goes_to_doubt_first_and_is_told_in_words() -> None:
    waiting = {Reason.AUDIT: 4, Reason.DISAGREEMENT: 0, Reason.ACTIVE: 30, Reason.DOUBT: 40}
    found = split(LabelBudget(50), spent={}, waiting=waiting)
    assert {a.reason: (a.labels, a.why) for a in found} == {
        Reason.AUDIT: (4, "cuota 15; no hay más casos"),
        Reason.DISAGREEMENT: (0, "cuota 10; no hay casos"),
        Reason.ACTIVE: (10, "cuota 10; 20 quedan esperando"),
        Reason.DOUBT: (36, "cuota 15; 21 que otros no usan; 4 quedan esperando"),
    }


def test_the_guarantee_may_need_more_than_the_audits_share() -> None:
    waiting = dict.fromkeys(FIRST, 40)
    audit, *others = split(LabelBudget(50), spent={}, waiting=waiting, needed=40)
    assert (audit.labels, audit.why) == (40, "cuota 15; la garantía necesita 40; no hay más casos")
    assert [a.labels for a in others] == [10, 0, 0]


def case(reason: Reason, *answers: tuple[CaseStatus, datetime], wanted: int = 1) -> QueuedCase:
    given_ = tuple(
        Answer(f"r{place}", status, "queja", None, at) for place, (status, at) in enumerate(answers)
    )
    origin = CaseOrigin("correo", date(2026, 1, 2), reason, "queja", 0.4, "m", "1")
    return QueuedCase(CaseId("norte", "tipo", "t", "b"), origin, "1", given_, wanted)


def test_what_was_asked_this_week_counts_and_what_was_asked_before_and_left() -> None:
    before, now = MONDAY - timedelta(days=1), MONDAY + timedelta(hours=9)
    cases = [
        case(Reason.DOUBT),
        case(Reason.DOUBT, (CaseStatus.SUBMITTED, before)),
        case(Reason.DOUBT, (CaseStatus.SUBMITTED, now)),
        case(Reason.AUDIT, (CaseStatus.DRAFT, now)),
        case(Reason.AUDIT, (CaseStatus.DISCARDED, now)),
        case(Reason.ACTIVE, (CaseStatus.SUBMITTED, before), wanted=3),
    ]
    found = {reason: count for reason, count in committed(cases, since=MONDAY).items() if count}
    assert found == {Reason.DOUBT: 2, Reason.AUDIT: 2, Reason.ACTIVE: 2}


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.1), (-0.1, 0.2, 0.2)])
def test_shares_that_are_no_parts_of_one_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigurationError, match="expected parts of 1"):
        LabelBudget(50, *shares)
