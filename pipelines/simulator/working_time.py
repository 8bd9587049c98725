"""Office hours as a line without gaps: seconds of business, and back to the clock."""

from __future__ import annotations

from datetime import date, timedelta

import holidays
import numpy as np

from pipelines.simulator.draws import Ints

DAY_SECONDS = 86_400
BUSINESS_DAY_SECONDS = 9 * 3600

_OPENS = 13 * 3600
"""Eight in the morning in Bogotá, in UTC; offices close nine hours later."""

_EPOCH = date(1970, 1, 1)


def days_since_epoch(day: date) -> int:
    """Return the number that stands for a day in every array here."""
    return (day - _EPOCH).days


class WorkingTime:
    """Colombian office hours from `first` on, for `days` days.

    >>> time = WorkingTime(date(2025, 9, 5), 30)
    >>> friday_evening = np.array([days_since_epoch(date(2025, 9, 5)) * DAY_SECONDS + 80_000])
    >>> at = time.moments(time.positions(friday_evening) + 60)
    >>> np.datetime64(int(at[0]), "s").item().isoformat()
    '2025-09-08T13:01:00'
    """

    def __init__(self, first: date, days: int) -> None:
        last = first + timedelta(days=days)
        free = holidays.country_holidays("CO", years=range(first.year, last.year + 1))
        calendar = (first + timedelta(days=n) for n in range(days))
        open_on = np.array([day.weekday() < 5 and day not in free for day in calendar])
        self._first = days_since_epoch(first)
        self._is_open = open_on
        self._before = np.cumsum(open_on) - open_on
        self._openings = (np.flatnonzero(open_on) + self._first) * DAY_SECONDS + _OPENS

    def positions(self, moments: Ints) -> Ints:
        """Return how many seconds of business had passed; nothing passes out of hours."""
        day = moments // DAY_SECONDS - self._first
        today = np.clip(moments % DAY_SECONDS - _OPENS, 0, BUSINESS_DAY_SECONDS)
        return self._before[day] * BUSINESS_DAY_SECONDS + np.where(self._is_open[day], today, 0)

    def moments(self, positions: Ints) -> Ints:
        """Return the first moment at which that much business had passed."""
        opening: Ints = self._openings[positions // BUSINESS_DAY_SECONDS]
        return opening + positions % BUSINESS_DAY_SECONDS
