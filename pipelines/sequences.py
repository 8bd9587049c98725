"""Judge the changes of state of tickets against the state machine.

A ticket is RECEIVED from its creation, so its first change leaves RECEIVED. A change counts where
it is one of the eleven transitions and leaves the state that the ticket is in; one that does not is
skipped, and the next is judged from the last state that counted. Changes are taken in the order of
time; those of one moment in an order in which they fit.

What was accepted once stays accepted. A change that comes late is accepted where it closes a gap,
also together with changes that waited for it in quarantine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from contracts.pqrs import TicketState
from contracts.states import FIRST_STATE, TRANSITIONS, BrokenRule

CHANGE = ("ticket_id", "event_id", "ts", "status_from", "status_to")
"""The columns that are judged."""

_STATES = [state.value for state in TicketState]
_CODE = {state: number for number, state in enumerate(TicketState)}
_FIRST = _CODE[FIRST_STATE]
_ALLOWED = np.zeros((len(_STATES), len(_STATES)), dtype=bool)
for _before, _after in TRANSITIONS:
    _ALLOWED[_CODE[_before], _CODE[_after]] = True

STATE = pl.Enum(_STATES)
"""A state held as a number, in the order of the machine."""

_Order = list[int]


def judge(changes: pl.DataFrame) -> pl.DataFrame:
    """Return the changes in order, with `step`, `rule` and `stood_at`.

    `changes` has the columns of `CHANGE` and `accepted`: true where an earlier run let the change
    in. `step` counts the changes of a ticket that count, from 1, and is null in the others; `rule`
    is what those broke, and `stood_at` the state the ticket was in when they came.
    """
    ordered = _in_order(changes)
    before, after = (ordered[name].cast(pl.Int64).to_numpy().copy() for name in ("before", "after"))
    starts = _starts(ordered["ticket"])
    reached = np.roll(after, 1)
    reached[starts] = _FIRST
    fits = _ALLOWED[before, after] & (before == reached)
    places = np.arange(len(ordered), dtype=np.int64)
    lengths = np.diff(np.append(starts, len(ordered)))
    step = places - np.repeat(starts, lengths) + 1
    rules: dict[int, str] = {}
    stood: dict[int, str] = {}
    if not fits.all():
        ts = ordered["ts"].to_physical().to_numpy()
        held = ordered["accepted"].to_numpy()
        for first, last in _broken(starts, lengths, fits):
            here = slice(first, last)
            walk = _Walk(ts[here].tolist(), before[here].tolist(), after[here].tolist())
            order = walk.order(held[here].tolist())
            step[here] = 0
            step[[first + place for place in order]] = range(1, len(order) + 1)
            for place, rule, state in walk.refused(order):
                rules[first + place] = rule.value
                stood[first + place] = _STATES[state]
    return ordered.drop("ticket", "before", "after").with_columns(
        pl.Series("step", step).replace(0, None),
        _only_at(rules, len(ordered)).alias("rule"),
        _only_at(stood, len(ordered)).alias("stood_at"),
    )


def _only_at(words: Mapping[int, str], count: int) -> pl.Series:
    """Return so many values of which only those with a word are not null."""
    places = pl.Series(list(words), dtype=pl.UInt32)
    return pl.repeat(None, count, dtype=pl.String, eager=True).scatter(places, list(words.values()))


def _in_order(changes: pl.DataFrame) -> pl.DataFrame:
    """Sort the changes by ticket and, within one, by time; ticket and states as numbers too.

    Their identifiers are compared only where all else is the same: they are long.
    """
    keys = ["ticket", "ts", "before", "after"]
    numbered = changes.with_columns(
        pl.col("ticket_id").cast(pl.Categorical).to_physical().alias("ticket"),
        pl.col("status_from").cast(STATE).to_physical().alias("before"),
        pl.col("status_to").cast(STATE).to_physical().alias("after"),
    )
    ordered = numbered.sort(keys)
    alike = pl.all_horizontal(pl.col(key) == pl.col(key).shift(1) for key in keys)
    if not ordered.select(alike.any()).item():
        return ordered
    return numbered.sort(*keys, "event_id")


def in_sequence(changes: pl.DataFrame) -> pl.DataFrame:
    """Return the changes that count, each ticket's together, in the order in which they happened.

    In what order the tickets come is not said.
    """
    judged = judge(changes.with_columns(pl.lit(False).alias("accepted")))
    counted = judged.filter(pl.col("rule").is_null()).drop("rule", "stood_at", "accepted")
    if len(counted) == len(judged):
        return counted
    ticket = pl.col("ticket_id").cast(pl.Categorical).to_physical()
    return counted.sort(ticket, "step")


def _starts(tickets: pl.Series) -> np.ndarray:
    if len(tickets) == 0:
        return np.zeros(0, dtype=np.int64)
    changes = (tickets != tickets.shift(1)).fill_null(True)
    return np.flatnonzero(changes.to_numpy()).astype(np.int64)


def _broken(starts: np.ndarray, lengths: np.ndarray, fits: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the places of every ticket in which something does not fit."""
    wrong = np.add.reduceat(~fits, starts) > 0
    for first, length in zip(starts[wrong].tolist(), lengths[wrong].tolist(), strict=True):
        yield first, first + length


class _Walk:
    """One ticket's changes, taken one at a time: only tickets in which something is wrong."""

    def __init__(self, ts: Sequence[int], before: Sequence[int], after: Sequence[int]) -> None:
        self._ts = ts
        self._before = before
        self._after = after
        self._allowed = [bool(_ALLOWED[b, a]) for b, a in zip(before, after, strict=True)]

    def order(self, held: Sequence[bool]) -> _Order:
        """Return the places of the changes that count, in the order in which they fit.

        Between two that were accepted before, only what leads from one to the other fits.
        """
        order: _Order = []
        state, gap = _FIRST, list[int]()
        for place, accepted in enumerate(held):
            if accepted:
                order += [*self._leading_to(self._before[place], state, gap), place]
                state, gap = self._after[place], []
            else:
                gap.append(place)
        return order + self._follow(state, gap)

    def refused(self, order: _Order) -> Iterator[tuple[int, BrokenRule, int]]:
        """Yield the other places, the rule each broke, and where the ticket stood."""
        counted = set(order)
        later = self._led_to_later()
        state, moved = _FIRST, False
        for place in range(len(self._ts)):
            if place in counted:
                state, moved = self._after[place], True
            else:
                yield place, self._rule(place, state, moved, later[place]), state

    def _rule(self, place: int, state: int, moved: bool, later: int) -> BrokenRule:
        before = self._before[place]
        if not self._allowed[place]:
            return BrokenRule.UNKNOWN_TRANSITION
        if before == state or later >> before & 1:
            return BrokenRule.DISORDER_IN_TIME
        return BrokenRule.STATE_MISMATCH if moved else BrokenRule.FIRST_STATE

    def _led_to_later(self) -> list[int]:
        """Give, for each place, the states that later changes lead to, as bits."""
        found = [0] * len(self._ts)
        for place in range(len(self._ts) - 2, -1, -1):
            after = place + 1
            found[place] = found[after] | (1 << self._after[after] if self._allowed[after] else 0)
        return found

    def _leading_to(self, wanted: int, state: int, gap: _Order) -> _Order:
        trail = self._follow(state, gap)
        ends = [n for n, place in enumerate(trail, start=1) if self._after[place] == wanted]
        return trail[: ends[-1]] if ends else []

    def _follow(self, state: int, places: _Order) -> _Order:
        """Take every change that fits, in the order of time."""
        trail: _Order = []
        moment: dict[int, deque[int]] = {}
        for number, place in enumerate(places):
            if self._allowed[place]:
                moment.setdefault(self._before[place], deque()).append(place)
            last = number + 1 == len(places)
            if not last and self._ts[places[number + 1]] == self._ts[place]:
                continue
            while fitting := moment.get(state):
                taken = fitting.popleft()
                trail.append(taken)
                state = self._after[taken]
            moment = {}
        return trail
