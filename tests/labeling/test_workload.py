"""What waits is counted by how far it is and how old; who answers, by day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

from labeling.queue import Answer, CaseId, CaseOrigin, CaseStatus, QueuedCase, Reason
from labeling.workload import Pace, last_days, loads, paces

NOW = datetime(2026, 3, 12, 2, tzinfo=UTC)
BOGOTA = timezone(timedelta(hours=-5))
HOUR = timedelta(hours=1)


def case(
    *answers: Answer, age: timedelta = HOUR, wanted: int = 1, reason: Reason = Reason.DOUBT
) -> QueuedCase:
    origin = CaseOrigin("correo", date(2026, 3, 1), reason, "queja", 0.4, "norte.tipo", "2")
    case_id = CaseId("norte", "tipo", "t1", "b")
    return QueuedCase(case_id, origin, "tipo.v1", answers, wanted=wanted, put_at=NOW - age)


def said(
    label: str,
    *,
    by: str = "ana",
    ago: timedelta = HOUR,
    status: CaseStatus = CaseStatus.SUBMITTED,
) -> Answer:
    return Answer(by, status, label, None, NOW - ago)


def test_a_case_is_counted_once_by_how_far_it_is() -> None:
    (load,) = loads(
        [
            case(),
            case(said("queja", status=CaseStatus.DRAFT)),
            case(said("queja", status=CaseStatus.DISCARDED)),
            case(said("queja")),
            case(said("queja"), wanted=2),
            case(said("queja"), said("reclamo", by="luis"), wanted=2),
        ],
        NOW,
    )
    counts = (load.pending, load.draft, load.partly, load.discarded, load.done)
    assert (counts, load.waiting) == ((1, 1, 1, 1, 2), 3)


def test_ages_are_of_what_still_waits() -> None:
    days = [timedelta(days=n) for n in (0, 2, 40)]
    waiting = [case(age=age) for age in days]
    (load,) = loads([*waiting, case(said("queja"), age=timedelta(days=99))], NOW)
    assert (load.oldest, load.median) == (timedelta(days=40), timedelta(days=2))
    assert load.ages == (1, 1, 0, 0, 1)


def test_reasons_are_counted_apart_and_one_without_cases_is_left_out() -> None:
    found = loads([case(), case(reason=Reason.DISPUTE), case()], NOW)
    assert [(load.reason, load.waiting) for load in found] == [
        (Reason.DOUBT, 2),
        (Reason.DISPUTE, 1),
    ]
    assert loads([], NOW) == ()


def test_nothing_that_waits_has_no_age() -> None:
    (load,) = loads([case(said("queja"))], NOW)
    assert (load.oldest, load.median, load.waiting) == (None, None, 0)


def test_a_case_put_by_a_clock_ahead_of_ours_is_no_age_below_zero() -> None:
    (load,) = loads([case(age=-HOUR)], NOW)
    assert load.oldest == timedelta()


def test_answers_are_counted_on_the_reviewers_days() -> None:
    days = last_days(NOW, BOGOTA, 3)
    assert days == (date(2026, 3, 9), date(2026, 3, 10), date(2026, 3, 11))
    found = paces(
        [
            case(said("queja", ago=HOUR)),
            case(said("reclamo", ago=timedelta(hours=22))),
            case(said("queja", ago=timedelta(days=5))),
            case(said("queja", by="luis", ago=HOUR), said("queja", status=CaseStatus.DISCARDED)),
        ],
        days,
        BOGOTA,
    )
    assert found == (Pace("ana", (0, 1, 1), 2, 1), Pace("luis", (0, 0, 1), 1, 1))


def test_one_who_answered_only_before_is_not_named() -> None:
    old = case(said("queja", ago=timedelta(days=30)))
    assert paces([old], last_days(NOW, BOGOTA), BOGOTA) == ()
