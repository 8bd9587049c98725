"""Business time: the hours of days that are neither a weekend nor a Colombian holiday.

A business day counts whole, from midnight to midnight in Colombia's legal time: one business day is
24 counted hours, wherever in the day a request came in. So time adds up over any split, a term can
be paused and taken up again, and nothing depends on office hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import holidays
import numpy as np
from numpy.typing import NDArray

from lakehouse.errors import InputError

DAY = 86_400_000_000
"""Microseconds, the unit of every number here."""

UTC_OFFSET = -5 * 60 * 60 * 1_000_000
"""America/Bogota: Colombia's legal time is UTC-5 the whole year."""

Moments = NDArray[np.int64]
"""Microseconds since 1970 in UTC."""

Counted = NDArray[np.int64]
"""Microseconds of business time since the first day of a calendar."""

_EPOCH = date(1970, 1, 1)
_SATURDAY = 5


@dataclass(frozen=True, slots=True, eq=False)
class BusinessCalendar:
    """Which days count, and how many counted before each.

    `first` is the number of the first day since 1970; `counts` says of each day whether it counts.
    """

    first: int
    counts: NDArray[np.bool_]
    before: Counted
    open_days: NDArray[np.int64]

    def at(self, moments: Moments) -> Counted:
        """Read how much business time went by until each moment. Raises outside the calendar."""
        local = moments + UTC_OFFSET
        day = local // DAY - self.first
        if len(day) and (day.min() < 0 or day.max() >= len(self.counts)):
            begin, end = (_EPOCH + timedelta(days=self.first + n) for n in (0, len(self.counts)))
            msg = f"a moment lies outside the business calendar, which goes from {begin} to {end}"
            raise InputError(msg)
        return self.before[day] + np.where(self.counts[day], local % DAY, 0)

    def between(self, starts: Moments, ends: Moments) -> Counted:
        """Measure the business time from each start to its end; both sorted, never negative."""
        return self.at(ends) - self.at(starts)

    def moment(self, counted: Counted) -> Moments:
        """Find the first moment at which so much business time has gone by: `at`, turned round."""
        whole, rest = counted // DAY, counted % DAY
        inside = rest > 0
        index = np.where(inside, whole, whole - 1)
        if len(index) and index.max() >= len(self.open_days):
            end = _EPOCH + timedelta(days=self.first + len(self.counts))
            msg = f"a moment lies after the end of the business calendar, {end}"
            raise InputError(msg)
        day = self.open_days[np.maximum(index, 0)] + np.where(inside, 0, 1)
        day = np.where(index < 0, 0, day)
        moments: Moments = (day + self.first) * DAY + rest - UTC_OFFSET
        return moments


def calendar(first: date, last: date) -> BusinessCalendar:
    """Return a calendar of whole years that has both days, and the days around them."""
    one = timedelta(days=1)
    return _calendar((first - one).year, (last + one).year)


@lru_cache(maxsize=8)
def _calendar(first_year: int, last_year: int) -> BusinessCalendar:
    first = (date(first_year, 1, 1) - _EPOCH).days
    last = (date(last_year + 1, 1, 1) - _EPOCH).days
    days = np.arange(first, last)
    weekend = (days + 3) % 7 >= _SATURDAY  # 1970 began on a Thursday
    free = holidays.country_holidays("CO", years=range(first_year, last_year + 1))
    holiday = np.isin(days, [(day - _EPOCH).days for day in free])
    counts = ~(weekend | holiday)
    before = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) * DAY
    return BusinessCalendar(first, counts, before, np.flatnonzero(counts).astype(np.int64))
