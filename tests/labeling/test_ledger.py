"""The ledger counts facts in any order, however often they came, to the same standing labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from labeling.ledger import RULE, Fact, known_at, standing, standing_answers

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MOMENT = pl.Datetime("us", "UTC")
SCHEMA: dict[str, Any] = {
    "label_id": pl.String,
    "ticket_id": pl.String,
    "task": pl.String,
    "label": pl.String,
    "reviewer": pl.String,
    "reason": pl.String,
    "responded_at": MOMENT,
    "fact": pl.String,
    "observed_at": MOMENT,
}


def fact(
    reviewer: str,
    label: str,
    minute: int,
    kind: Fact | None = None,
    *,
    ticket: str = "t1",
    reason: str = "doubt",
    seen: int | None = None,
) -> dict[str, Any]:
    observed = None if seen is None else NOON + timedelta(minutes=seen)
    return {
        "label_id": f"{ticket}/{reviewer}/{label}/{minute}/{kind}/{seen}",
        "ticket_id": ticket,
        "task": "tipo",
        "label": label,
        "reviewer": reviewer,
        "reason": reason,
        "responded_at": NOON + timedelta(minutes=minute),
        "fact": None if kind is None else kind.value,
        "observed_at": observed,
    }


def ledger(*facts: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(facts), schema=SCHEMA)


def stands(*facts: dict[str, Any]) -> dict[str, str]:
    rows = standing(ledger(*facts))
    return dict(rows.select("ticket_id", "label").iter_rows())


def test_the_label_most_reviewers_stand_for_stands() -> None:
    said = [fact("ana", "queja", 1), fact("eva", "queja", 2), fact("luis", "reclamo", 3)]
    (row,) = standing(ledger(*said)).to_dicts()
    assert (row["label"], row["reviewers"], row["rule"]) == ("queja", 3, RULE)
    assert row["responded_at"] == NOON + timedelta(minutes=3)


def test_a_tie_gives_no_label() -> None:
    assert stands(fact("ana", "queja", 1), fact("luis", "reclamo", 2)) == {}


def test_two_equal_answers_beat_two_that_differ() -> None:
    said = [fact("a", "x", 1), fact("b", "x", 2), fact("c", "y", 3), fact("d", "z", 4)]
    assert stands(*said) == {"t1": "x"}


def test_a_reviewers_last_word_counts_however_late_the_one_before_it_came() -> None:
    new, old = fact("ana", "reclamo", 5, seen=6), fact("ana", "queja", 1, seen=9)
    assert stands(new, old) == stands(old, new) == {"t1": "reclamo"}


def test_a_discard_takes_the_answer_before_it_away() -> None:
    assert stands(fact("ana", "queja", 1), fact("ana", "", 2, Fact.DISCARDED)) == {}


def test_a_withdrawal_takes_its_answer_and_none_given_later() -> None:
    gone = fact("ana", "queja", 1, Fact.WITHDRAWN, seen=9)
    assert stands(fact("ana", "queja", 1, seen=2), gone) == {}
    assert stands(fact("ana", "queja", 1, seen=2), gone, fact("ana", "x", 3)) == {"t1": "x"}


def test_a_revoked_answer_counts_again_once_it_is_restored() -> None:
    said = [fact("ana", "queja", 1, seen=2), fact("ana", "queja", 1, Fact.REVOKED, seen=3)]
    assert stands(*said) == {}
    assert stands(*said, fact("ana", "queja", 1, Fact.RESTORED, seen=4)) == {"t1": "queja"}


def test_an_account_that_is_removed_takes_none_of_its_answers_along() -> None:
    said = [fact("ana", "queja", 1), fact("ana", "queja", 1, Fact.REVIEWER_REMOVED, seen=3)]
    assert stands(*said) == {"t1": "queja"}


def test_a_decision_settles_a_dispute_until_it_is_reopened() -> None:
    said = [fact("ana", "queja", 1), fact("luis", "reclamo", 2)]
    settled = [*said, fact("eva", "reclamo", 3, Fact.ADJUDICATED)]
    (row,) = standing(ledger(*settled)).to_dicts()
    assert (row["label"], row["reviewers"], row["reviewer"]) == ("reclamo", 2, "luis")
    assert stands(*settled, fact("eva", "reclamo", 4, Fact.REOPENED)) == {}


def test_a_ticket_drawn_for_audit_stays_so_whatever_was_asked_of_it_later() -> None:
    said = [
        fact("ana", "queja", 1, reason="audit"),
        fact("luis", "reclamo", 2),
        fact("eva", "reclamo", 3),
    ]
    (row,) = standing(ledger(*said)).to_dicts()
    assert (row["label"], row["reason"], row["reviewers"]) == ("reclamo", "audit", 3)


def test_a_moment_in_the_past_knows_what_had_been_seen_by_then() -> None:
    facts = ledger(
        fact("ana", "queja", 1, seen=2),
        fact("ana", "reclamo", 3, seen=30),
        fact("luis", "queja", 4),
    )
    known = known_at(facts, NOON + timedelta(minutes=10))
    answers = standing_answers(known).select("reviewer", "label")
    assert list(answers.iter_rows()) == [("ana", "queja"), ("luis", "queja")]
    assert standing(known_at(facts, NOON)).is_empty()
