"""The lives of tickets: who wrote what kind of request when, and every event that followed.

A day's tickets are made at once, as columns. Their events lie up to months ahead, so an event is a
few numbers until the day on which it is delivered; words are found for it then.
"""

from __future__ import annotations

from datetime import date, timedelta
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.pqrs import Channel, PqrsType, Priority, TicketState
from pipelines.simulator.config import Simulation, Spike, per_million
from pipelines.simulator.draws import MILLION, Draws, Flags, Ints, uuids
from pipelines.simulator.places import places
from pipelines.simulator.working_time import (
    BUSINESS_DAY_SECONDS,
    DAY_SECONDS,
    WorkingTime,
    days_since_epoch,
)

S = TicketState

TRANSITIONS: tuple[tuple[TicketState, TicketState], ...] = (
    (S.RECEIVED, S.RADICATED),
    (S.RADICATED, S.CLASSIFIED),
    (S.CLASSIFIED, S.ASSIGNED),
    (S.ASSIGNED, S.IN_PROGRESS),
    (S.IN_PROGRESS, S.ON_HOLD),
    (S.ON_HOLD, S.IN_PROGRESS),
    (S.IN_PROGRESS, S.RESPONDED),
    (S.RESPONDED, S.CLOSED),
    (S.CLOSED, S.REOPENED),
    (S.REOPENED, S.IN_PROGRESS),
    (S.CLOSED, S.ARCHIVED),
    (S.ASSIGNED, S.RESPONDED),
)
"""Every step of the state machine; the last is none of them, and is what a broken history does."""

_RADICATED, _CLASSIFIED, _ASSIGNED, _STARTED, _HELD, _RESUMED = range(6)
_RESPONDED, _CLOSED, _REOPENED, _RESTARTED, _ARCHIVED, _LEAPT = range(6, 12)


class Kind(IntEnum):
    """What an event is; `detail` says which transition, which sort of message, which file."""

    CREATED = 0
    STATUS = 1
    MESSAGE = 2
    ATTACHMENT = 3


class Said(IntEnum):
    """The sorts of message."""

    REQUEST = 0
    ASK = 1
    BACK = 2
    ANSWER = 3
    AGAIN = 4


class Broken(IntEnum):
    """How a history breaks the state machine, noted on the event that first does."""

    NO = 0
    SKIPPED_STATE = 1
    WRONG_FIRST_STATE = 2
    LEAP = 3
    DISORDER = 4


EVENT = np.dtype(
    [
        ("delivered", "<i8"),
        ("ts", "<i8"),
        ("ticket", "u1", 16),
        ("number", "<i4"),
        ("day", "<i4"),
        ("place", "<i2"),
        ("kind", "u1"),
        ("detail", "u1"),
        ("channel", "u1"),
        ("type", "u1"),
        ("priority", "u1"),
        ("topic", "u1"),
        ("broken", "u1"),
    ]
)
"""One event, before it has words. `delivered` is later than `ts` where it comes late."""

Events = NDArray[Any]

_LONGEST_LIFE = 250
_WEEK = (1250, 1210, 1160, 1120, 1060, 700, 500)
_HOURS = (
    90,
    60,
    30,
    15,
    5,
    3,
    2,
    2,
    3,
    5,
    12,
    40,
    85,
    110,
    120,
    118,
    110,
    85,
    80,
    95,
    100,
    95,
    80,
    85,
)
_SPIKE_DAYS, _SPIKE_TICKETS = (5, 10), (3000, 4000)
_USUAL = 1150
_SHORTEST_WITH_SPIKE = 15
_FILES_PER_MILLION = 330_000
_HOLD_PER_MILLION = 180_000
_REOPENED_PER_MILLION = 50_000
_ARCHIVED_PER_MILLION = 600_000


class Histories:
    """Tickets day by day. A day depends on the seed and the settings, never on the days before."""

    def __init__(self, plan: Simulation, topics: list[str], new_topic: str) -> None:
        self._plan = plan
        self._topics = topics
        self._new_topic = topics.index(new_topic)
        self._time = WorkingTime(plan.first, plan.days + _LONGEST_LIFE)
        self._weights = [place.weight for place in places()]

    def of_day(self, day: date) -> tuple[Events, int]:
        """Return every event of the tickets that come in on `day`, and how many an outage lost."""
        asked = self._tickets(day)
        draws = Draws(self._plan.seed, "tickets", day.isoformat())
        tickets = self._columns(day, asked, draws)
        kept = self._reached(day, tickets)
        events = _Lives(tickets, self._plan, self._time, draws).events()
        # Ids are drawn for all, so that an outage changes nothing for the tickets it leaves.
        return events[kept[events["number"]]], int(asked - kept.sum())

    @cached_property
    def spike(self) -> tuple[date, date, int] | None:
        """The first and last day of the spike and its tickets a day; None where there is none."""
        plan, wanted = self._plan, self._plan.spike
        if wanted is None or (wanted == Spike() and plan.days < _SHORTEST_WITH_SPIKE):
            return None
        draws = Draws(plan.seed, "spike")
        days = wanted.days or int(draws.between(1, *_SPIKE_DAYS)[0])
        usual = int(draws.between(1, *_SPIKE_TICKETS)[0])
        tickets = wanted.tickets or max(1, usual * plan.scale // _USUAL)
        offset = int(draws.below(1, max(1, plan.days - days))[0])
        start = wanted.start or plan.first + timedelta(days=offset)
        return start, start + timedelta(days=days - 1), tickets

    def _tickets(self, day: date) -> int:
        wobble = int(Draws(self._plan.seed, "volume", day.isoformat()).between(1, 920, 1080)[0])
        if self.spike is not None and self.spike[0] <= day <= self.spike[1]:
            # 3,000 to 4,000 is meant of every day, so the level moves little.
            return max(1, self.spike[2] * (9_000 + wobble) // 10_000)
        return self._plan.scale * _WEEK[day.weekday()] * wobble // MILLION

    def _columns(self, day: date, count: int, draws: Draws) -> Events:
        plan = self._plan
        tickets = np.zeros(count, dtype=EVENT)
        tickets["ticket"] = uuids(draws, count)
        tickets["number"] = np.arange(count)
        tickets["day"] = days_since_epoch(day)
        tickets["channel"] = _picked(draws, count, [plan.channels.get(c, 0) for c in Channel])
        tickets["type"] = _picked(draws, count, [plan.types.get(t, 0) for t in PqrsType])
        tickets["priority"] = _picked(draws, count, [plan.priorities.get(p, 0) for p in Priority])
        tickets["place"] = draws.pick(count, self._weights)
        tickets["topic"] = self._topics_of(day, count, draws)
        seconds = draws.pick(count, _HOURS) * 3600 + draws.below(count, 3600)
        tickets["ts"] = days_since_epoch(day) * DAY_SECONDS + seconds
        return tickets

    def _topics_of(self, day: date, count: int, draws: Draws) -> Ints:
        drift = self._plan.faults.drift
        drifted = drift is not None and day >= drift.first
        weights = [
            per_million(drift.topics.get(name, 1) if drift is not None and drifted else 1)
            for name in self._topics
        ]
        weights[self._new_topic] = 0
        found = draws.pick(count, _small(weights))
        is_new = draws.happens(count, per_million(drift.new_topic) if drift and drifted else 0)
        return np.where(is_new, self._new_topic, found)

    def _reached(self, day: date, tickets: Events) -> Flags:
        silent = [
            list(Channel).index(outage.channel)
            for outage in self._plan.faults.outages
            if outage.first <= day <= outage.last
        ]
        return ~np.isin(tickets["channel"], silent)


class _Lives:
    """What becomes of one day's tickets, as one column of moments an event."""

    def __init__(self, tickets: Events, plan: Simulation, time: WorkingTime, draws: Draws) -> None:
        self._tickets = tickets
        self._plan = plan
        self._time = time
        self._draws = draws
        self._count = len(tickets)
        self._everyone = np.ones(self._count, dtype=bool)
        self._found: list[Events] = []

    def events(self) -> Events:
        """Return all of them, in no order that matters but always the same."""
        self._contact()
        self._statuses()
        events = np.concatenate(self._found)
        late = self._draws.happens(len(events), per_million(self._plan.faults.late))
        days = self._draws.between(len(events), 1, 20)
        events["delivered"] = events["ts"] + np.where(late, days * DAY_SECONDS, 0)
        return events

    def _add(
        self,
        ts: Ints,
        kind: Kind,
        detail: Ints | int,
        who: Flags,
        broken: Ints | int = Broken.NO,
    ) -> None:
        events = self._tickets.copy()
        events["ts"] = ts
        events["kind"] = kind
        events["detail"] = detail
        events["broken"] = broken
        self._found.append(events[who])

    def _contact(self) -> None:
        n, draws, came = self._count, self._draws, self._tickets["ts"].copy()
        self._add(came, Kind.CREATED, 0, self._everyone)
        wrote = came + draws.between(n, 1, 40)
        self._add(wrote, Kind.MESSAGE, Said.REQUEST, self._everyone)
        for seconds in (20, 50):
            sent = draws.happens(n, _FILES_PER_MILLION)
            self._add(wrote + seconds, Kind.ATTACHMENT, draws.below(n, 6), sent)

    def _statuses(self) -> None:
        n, draws, time = self._count, self._draws, self._time
        start = time.positions(self._tickets["ts"].copy()) + draws.between(n, 180, 10_800)
        allowed = self._allowed()
        reopened = draws.happens(n, _REOPENED_PER_MILLION)
        first_round = np.where(reopened, allowed * 6 // 10, allowed)
        held = draws.happens(n, _HOLD_PER_MILLION)
        pause = np.where(held, draws.between(n, 8_000, 5 * BUSINESS_DAY_SECONDS), 0)

        def share(low: int, high: int) -> Ints:
            return start + first_round * draws.between(n, low, high) // 1000

        classified, assigned, begun = share(10, 40), share(50, 100), share(110, 250)
        hold = share(300, 450)
        responded, closed = share(700, 950) + pause, start + first_round + pause
        broken = self._breaks()
        skipped = broken == Broken.SKIPPED_STATE
        headless = broken == Broken.WRONG_FIRST_STATE
        leapt = broken == Broken.LEAP
        swapped = broken == Broken.DISORDER
        classified, assigned = (
            np.where(swapped, assigned, classified),
            np.where(swapped, classified, assigned),
        )

        def step(at: Ints, which: Ints | int, who: Flags, noted: Flags | None = None) -> None:
            marks = Broken.NO if noted is None else np.where(noted, broken, Broken.NO)
            self._add(time.moments(at), Kind.STATUS, which, who, marks)

        everyone = self._everyone
        step(start, _RADICATED, ~headless)
        step(classified, _CLASSIFIED, everyone, headless)
        step(assigned, _ASSIGNED, ~skipped, swapped)
        step(begun, np.where(leapt, _LEAPT, _STARTED), everyone, skipped | leapt)
        step(hold, _HELD, held)
        step(hold + pause, _RESUMED, held)
        step(responded, _RESPONDED, everyone)
        step(closed, _CLOSED, everyone)
        self._talk(hold, held, Said.ASK, 0)
        self._talk(hold + pause, held, Said.BACK, 60)
        self._talk(responded, everyone, Said.ANSWER, 5)
        self._second_round(closed, allowed - first_round, reopened)

    def _second_round(self, closed: Ints, left: Ints, reopened: Flags) -> None:
        n, draws, time = self._count, self._draws, self._time
        again = closed + draws.between(n, BUSINESS_DAY_SECONDS, 6 * BUSINESS_DAY_SECONDS)
        ended = np.where(reopened, again + left, closed)
        for at, which in (
            (again, _REOPENED),
            (again + left * draws.between(n, 50, 200) // 1000, _RESTARTED),
            (again + left * draws.between(n, 700, 950) // 1000, _RESPONDED),
            (ended, _CLOSED),
        ):
            self._add(time.moments(at), Kind.STATUS, which, reopened)
        self._talk(again, reopened, Said.AGAIN, 30)
        rest = draws.between(n, 5 * BUSINESS_DAY_SECONDS, 15 * BUSINESS_DAY_SECONDS)
        archived = draws.happens(n, _ARCHIVED_PER_MILLION)
        self._add(time.moments(ended + rest), Kind.STATUS, _ARCHIVED, archived)

    def _talk(self, at: Ints, who: Flags, said: Said, seconds_before: int) -> None:
        self._add(self._time.moments(at) - seconds_before, Kind.MESSAGE, said, who)

    def _allowed(self) -> Ints:
        """Draw how much business time passes until the end, well within the term or well over."""
        n, draws = self._count, self._draws
        terms = np.array([self._plan.terms[kind] for kind in PqrsType])
        term = terms[self._tickets["type"]] * BUSINESS_DAY_SECONDS
        late = draws.happens(n, per_million(self._plan.late_answers))
        in_time = 60 + (draws.below(n, 791) + draws.below(n, 791)) // 2
        too_late = draws.between(n, 1200, 2000)
        return term * np.where(late, too_late, in_time) // 1000

    def _breaks(self) -> Ints:
        n, draws = self._count, self._draws
        hit = draws.happens(n, per_million(self._plan.faults.invalid_transitions))
        how = draws.between(n, Broken.SKIPPED_STATE, Broken.DISORDER)
        return np.where(hit, how, Broken.NO)


def _picked(draws: Draws, count: int, weights: list[float]) -> Ints:
    return draws.pick(count, _small([per_million(weight) for weight in weights]))


def _small(weights: list[int]) -> list[int]:
    """Bring weights under the 31 bits that chance is drawn in, the same way everywhere."""
    most = max(1, sum(weights) // (1 << 30) + 1)
    return [weight // most for weight in weights]
