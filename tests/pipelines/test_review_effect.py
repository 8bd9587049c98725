"""Labels are credited only with what two guarantees of the same promise differ in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from lakehouse.control.guarantees import GuaranteeRecord, Withdrawal
from models.guarantee import Guarantee, GuaranteeTerms, Promise
from pipelines.review_effect import Effect, Promised, effect, in_force

MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def issued(
    day: int, coverage: float, labels: int = 100, *, alpha: float = 0.05, bundle: str = "b1"
) -> Guarantee:
    promise = Promise((("queja",),), labels + 10, 10, 0.8, 40, 1, coverage, 1_000)
    at = MARCH + timedelta(days=day)
    terms = GuaranteeTerms(alpha)
    return Guarantee(f"g{day}", "tipo", bundle, terms, (promise,), at, at, 1, 1, at)


def promised(day: int, coverage: float, labels: int = 100, **changes: float | str) -> Promised:
    return Promised.of(issued(day, coverage, labels, **changes))  # type: ignore[arg-type]


def record(guarantee: Guarantee) -> GuaranteeRecord:
    return GuaranteeRecord(
        guarantee.guarantee_id,
        guarantee.task,
        guarantee.bundle_id,
        "ana",
        guarantee.issued_at,
        guarantee.expires_at,
        guarantee.as_dict(),
    )


def test_labels_are_those_of_the_sample_that_were_answered() -> None:
    assert promised(1, 0.6, labels=100).labels == 100


def test_the_newest_is_held_against_the_oldest_that_promises_the_same() -> None:
    first, middle, last = promised(1, 0.61), promised(2, 0.64), promised(3, 0.68, labels=220)
    found = effect([last, first, middle])
    assert found == Effect(first, last)
    assert (found.labels, found.same_bundle) == (120, True)


def test_a_looser_promise_is_no_effect_of_labels() -> None:
    assert effect([promised(1, 0.61), promised(2, 0.9, alpha=0.2)]) is None


def test_another_bundle_is_said_to_be_another() -> None:
    found = effect([promised(1, 0.61), promised(2, 0.7, bundle="b2")])
    assert found is not None
    assert not found.same_bundle


def test_one_guarantee_alone_shows_no_effect() -> None:
    assert effect([]) is None
    assert effect([promised(1, 0.61)]) is None


def test_a_promise_that_was_withdrawn_or_has_ended_is_no_effect() -> None:
    first, second = record(issued(1, 0.61)), record(issued(2, 0.68))
    soon, late = MARCH + timedelta(days=3), MARCH + timedelta(days=300)
    assert in_force([second, first], soon) == [promised(1, 0.61), promised(2, 0.68)]
    ended = replace(second, withdrawal=Withdrawal("plata", soon, "errors", "9 of 40 are wrong"))
    assert in_force([ended, first], soon) == [promised(1, 0.61)]
    assert in_force([second, first], late) == []
