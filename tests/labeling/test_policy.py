"""How many people answer a case: drawn by hash, at the share the tenant asked for."""

from __future__ import annotations

import pytest

from labeling.policy import ReviewPolicy
from lakehouse.errors import ConfigurationError

TICKETS = [f"t{number}" for number in range(4_000)]


def shared(policy: ReviewPolicy, task: str = "tipo") -> set[str]:
    return {ticket for ticket in TICKETS if policy.wanted(ticket, task) > 1}


def test_one_person_answers_where_nothing_is_said() -> None:
    assert shared(ReviewPolicy()) == set()


def test_the_share_that_is_asked_for_is_answered_by_several() -> None:
    policy = ReviewPolicy(overlap_share=0.2, overlap_reviewers=3)
    assert {policy.wanted(ticket, "tipo") for ticket in TICKETS} == {1, 3}
    assert 0.17 < len(shared(policy)) / len(TICKETS) < 0.23


def test_a_larger_share_keeps_the_cases_of_a_smaller_one() -> None:
    assert shared(ReviewPolicy(overlap_share=0.1)) < shared(ReviewPolicy(overlap_share=0.3))


def test_tasks_are_drawn_apart() -> None:
    policy = ReviewPolicy(overlap_share=0.3)
    assert shared(policy, "tipo") != shared(policy, "prioridad")


@pytest.mark.parametrize("wrong", [{"overlap_share": 1.2}, {"overlap_reviewers": 1}])
def test_a_policy_that_cannot_hold_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} is"):
        ReviewPolicy(**wrong)  # type: ignore[arg-type]
