from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import InputError
from pipelines.business_time import DAY, BusinessCalendar, Moments, calendar

BOGOTA = ZoneInfo("America/Bogota")
CALENDAR = calendar(date(2024, 1, 1), date(2027, 12, 31))
DAYS_OFF = holidays.country_holidays("CO", years=range(2023, 2029))

moments = st.datetimes(datetime(2024, 1, 2), datetime(2027, 12, 30)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)


def stamps(*found: datetime) -> Moments:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return np.array([(moment - epoch) // timedelta(microseconds=1) for moment in found])


def used(start: datetime, end: datetime) -> int:
    return int(CALENDAR.between(stamps(start), stamps(end))[0])


def day_by_day(start: datetime, end: datetime) -> int:
    """Count slowly: what each civil day of Bogota has between the two moments."""
    total, day = timedelta(), start.astimezone(BOGOTA).date()
    while day <= end.astimezone(BOGOTA).date():
        begin = datetime(day.year, day.month, day.day, tzinfo=BOGOTA)
        if day.weekday() < 5 and day not in DAYS_OFF:
            total += max(
                min(end, begin + timedelta(days=1)) - max(start, begin),
                timedelta(),
            )
        day += timedelta(days=1)
    return total // timedelta(microseconds=1)


def bogota(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BOGOTA)


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ("2026-01-05 08:00", "2026-01-06 08:00", 1.0),
        ("2026-01-09 18:00", "2026-01-13 18:00", 1.0),  # a weekend, and Epiphany on the Monday
        ("2026-01-10 00:00", "2026-01-12 23:59", 0.0),
        ("2026-04-01 12:00", "2026-04-06 12:00", 1.0),  # Holy Thursday and Good Friday
        ("2026-01-05 00:00", "2026-01-05 06:00", 0.25),
    ],
)
def test_weekends_and_colombian_holidays_do_not_count(start: str, end: str, days: float) -> None:
    assert used(bogota(start), bogota(end)) == days * DAY


@given(moments, moments)
def test_it_agrees_with_counting_day_by_day(one: datetime, other: datetime) -> None:
    start, end = sorted([one, other])
    assert used(start, end) == day_by_day(start, end)


@given(moments, moments, moments)
def test_it_adds_up_over_a_split_and_is_never_negative(
    one: datetime, other: datetime, third: datetime
) -> None:
    start, middle, end = sorted([one, other, third])
    parts = used(start, middle), used(middle, end)
    assert sum(parts) == used(start, end)
    assert min(parts) >= 0


@given(moments, st.timedeltas(timedelta(), timedelta(days=9)), st.timedeltas(timedelta()))
def test_a_later_end_never_counts_less(start: datetime, one: timedelta, more: timedelta) -> None:
    end = min(start + one, datetime(2027, 12, 30, tzinfo=UTC))
    later = min(end + min(more, timedelta(days=400)), datetime(2027, 12, 31, tzinfo=UTC))
    assert used(start, end) <= used(start, later)


@given(st.sampled_from(sorted(day for day in DAYS_OFF if 2024 <= day.year <= 2027)))
def test_a_holiday_counts_nothing(day: date) -> None:
    begin = datetime(day.year, day.month, day.day, tzinfo=BOGOTA)
    assert used(begin, begin + timedelta(days=1)) == 0


@given(moments, st.integers(0, 60 * DAY))
def test_a_term_ends_at_the_first_moment_that_used_it_up(start: datetime, term: int) -> None:
    begin = stamps(min(start, datetime(2027, 6, 1, tzinfo=UTC)))
    end = CALENDAR.moment(CALENDAR.at(begin) + term)
    assert CALENDAR.between(begin, end).tolist() == [term]
    assert CALENDAR.at(end - 1).tolist() < CALENDAR.at(end).tolist()


@given(moments)
def test_legal_time_is_that_of_bogota(moment: datetime) -> None:
    assert moment.astimezone(BOGOTA).utcoffset() == timedelta(hours=-5)


def test_a_moment_outside_the_calendar_is_refused_and_not_guessed() -> None:
    short: BusinessCalendar = calendar(date(2026, 5, 1), date(2026, 5, 2))
    with pytest.raises(InputError, match="from 2026-01-01 to 2027-01-01"):
        short.at(stamps(datetime(2031, 1, 1, tzinfo=UTC)))
    with pytest.raises(InputError, match="after the end"):
        short.moment(np.array([400 * DAY]))
