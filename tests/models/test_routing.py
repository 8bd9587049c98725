from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import ConfigurationError
from models.routing import RoutingPolicy, audit_sample, drawn_for_audit, with_audit
from models.task import Task


def test_a_cut_off_belongs_to_what_is_accepted() -> None:
    scores = pa.array([1.0, 0.8, 0.79, None, float("nan")])
    assert RoutingPolicy(0.8).decide(scores).to_pylist() == [
        "accept",
        "accept",
        "review",
        "review",
        "review",
    ]


def test_only_accepted_answers_are_audited_and_the_draw_is_repeatable() -> None:
    tickets = pa.array([f"t{n}" for n in range(1000)])
    decisions = pa.array(["accept", "review"] * 500)
    drawn = audit_sample(tickets, task="tipo", seed=1, share=0.2)
    assert drawn == audit_sample(tickets, task="tipo", seed=1, share=0.2)
    audited = with_audit(decisions, drawn).to_pylist()
    assert audited[1::2] == ["review"] * 500
    assert 70 < audited.count("audit") < 130


def test_the_doubtful_are_drawn_as_often_as_the_sure() -> None:
    tickets = pa.array([f"t{n}" for n in range(4000)])
    drawn = audit_sample(tickets, task="tipo", seed=1, share=0.2).to_pylist()
    assert abs(sum(drawn[::2]) - sum(drawn[1::2])) < 100


@given(st.text(), st.integers(), st.floats(0, 1), st.floats(0, 1))
def test_a_ticket_in_a_smaller_audit_is_in_every_larger_one(
    ticket: str, seed: int, one: float, other: float
) -> None:
    small, large = sorted([one, other])
    if drawn_for_audit(ticket, task="t", seed=seed, share=small):
        assert drawn_for_audit(ticket, task="t", seed=seed, share=large)


@pytest.mark.parametrize("accept_at", [-0.1, 1.1, float("nan")])
def test_a_cut_off_that_is_no_probability_is_refused(accept_at: float) -> None:
    with pytest.raises(ConfigurationError, match="accept_at"):
        RoutingPolicy(accept_at)


def test_a_task_needs_two_labels() -> None:
    with pytest.raises(ConfigurationError, match="at least two labels"):
        Task("tipo", {"a": "A"}, "text", "m", "p", RoutingPolicy(0.5))
