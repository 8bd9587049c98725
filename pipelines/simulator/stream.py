"""The stream of lines: events in the order in which they are delivered, with faults put among them.

Only what has not been delivered yet is held: the coming months of tickets that are alive, as
numbers. However long the range, memory stays the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from pipelines.simulator.breaking import WAYS, broken
from pipelines.simulator.config import Simulation, per_million
from pipelines.simulator.draws import Draws, uuids, written
from pipelines.simulator.fragments import Fragments, fragments
from pipelines.simulator.histories import EVENT, Broken, Events, Histories
from pipelines.simulator.places import places
from pipelines.simulator.rendering import Renderer
from pipelines.simulator.working_time import DAY_SECONDS, days_since_epoch

SLICE = 16_384
"""Events that become lines at a time."""

Truth = dict[str, Any]
"""One fault that was put in: its `kind`, its `line` (counted from 1) and what else is known."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of the stream, each ended by a line break, and the faults among them."""

    lines: bytes
    count: int
    truth: tuple[Truth, ...] = ()


@dataclass(slots=True)
class Summary:
    """What a stream held, counted as it is read."""

    lines: int = 0
    bytes: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, block: Block) -> None:
        """Count one block more."""
        self.lines += block.count
        self.bytes += len(block.lines)
        for found in block.truth:
            self.faults[found["kind"]] += found.get("tickets", 1)


def simulate(plan: Simulation) -> Iterator[Block]:
    """Yield the stream, block by block. The same plan yields the same bytes."""
    yield from _Stream(plan, fragments()).blocks()


class _Stream:
    def __init__(self, plan: Simulation, pieces: Fragments) -> None:
        names = [topic.name for topic in pieces.topics]
        new = next(topic.name for topic in pieces.topics if topic.is_new)
        self._plan = plan
        self._histories = Histories(plan, names, new)
        self._renderer = Renderer(plan.seed, pieces, places(), self._length)
        self._waiting: dict[int, list[Events]] = defaultdict(list)
        self._line = 0
        self._sent = 0

    def blocks(self) -> Iterator[Block]:
        plan = self._plan
        end = days_since_epoch(plan.last) * DAY_SECONDS + DAY_SECONDS
        for number in range(plan.days):
            day = plan.first + timedelta(days=number)
            yield from self._come_in(number)
            due = self._due(days_since_epoch(day))
            for part, start in enumerate(range(0, len(due), SLICE)):
                events = due[start : start + SLICE]
                if plan.events is not None and self._sent + len(events) >= plan.events:
                    cut = events[: plan.events - self._sent]
                    yield self._block(cut, f"{day}/{part}")
                    yield from self._overdue(int(cut["delivered"][-1]), due[start + len(cut) :])
                    return
                yield self._block(events, f"{day}/{part}")
        yield from self._overdue(end - 1, np.empty(0, dtype=EVENT))

    def _come_in(self, number: int) -> Iterator[Block]:
        day = self._plan.first + timedelta(days=number)
        events, lost = self._histories.of_day(day)
        days = events["delivered"] // DAY_SECONDS
        order = np.argsort(days, kind="stable")
        cuts = np.flatnonzero(np.diff(days[order])) + 1
        for group in np.split(order, cuts):
            if len(group):
                self._waiting[int(days[group[0]])].append(events[group])
        if lost:
            yield Block(b"", 0, ({"kind": "outage", "day": day.isoformat(), "tickets": lost},))

    def _due(self, day: int) -> Events:
        found = self._waiting.pop(day, [])
        return _in_order(np.concatenate(found)) if found else np.empty(0, dtype=EVENT)

    def _overdue(self, now: int, rest: Events) -> Iterator[Block]:
        """Deliver at the end what had happened by `now` and was late: no history has a gap."""
        waiting = [rest, *(events for group in self._waiting.values() for events in group)]
        overdue = np.concatenate([events[events["ts"] <= now] for events in waiting])
        events = _in_order(overdue[overdue["delivered"] > now])
        for part, start in enumerate(range(0, len(events), SLICE)):
            yield self._block(events[start : start + SLICE], f"overdue/{part}")

    def _block(self, events: Events, part: str) -> Block:
        lines, ids = self._renderer.lines(events, part)
        self._sent += len(events)
        notes = _noted(events, ids)
        faults = self._plan.faults
        added = _added(lines, ids, self._plan, part) if faults.bad_rows or faults.duplicates else []
        placed, truth = _placed(lines, notes, added, self._line)
        self._line += len(placed)
        return Block(("\n".join(placed) + "\n").encode() if placed else b"", len(placed), truth)

    def _length(self, day: int) -> int:
        drift = self._plan.faults.drift
        if drift is None or day < days_since_epoch(drift.first):
            return 100
        return round(drift.length * 100)


def _in_order(events: Events) -> Events:
    return events[np.argsort(events["delivered"], kind="stable")]


def _noted(events: Events, ids: list[str]) -> dict[int, list[Truth]]:
    """Say of each event that is a fault by itself what is wrong, by its place among the events."""
    notes: dict[int, list[Truth]] = defaultdict(list)
    late = events["delivered"] - events["ts"]
    for at in np.flatnonzero(late).tolist():
        days = int(late[at]) // DAY_SECONDS
        notes[at].append({"kind": "late", "event_id": ids[at], "days": days})
    wrong = np.flatnonzero(events["broken"])
    tickets = written(events["ticket"][wrong])
    for at, ticket in zip(wrong.tolist(), tickets, strict=True):
        how = Broken(int(events["broken"][at])).name.lower()
        notes[at].append(
            {"kind": "invalid_transition", "event_id": ids[at], "ticket_id": ticket, "how": how}
        )
    return notes


@dataclass(frozen=True, slots=True)
class _Added:
    """A line to put in right after the event at `after`."""

    after: int
    text: str
    truth: Truth


def _added(lines: list[str], ids: list[str], plan: Simulation, part: str) -> list[_Added]:
    draws = Draws(plan.seed, "faults", part)
    count = len(lines)
    bad = np.flatnonzero(draws.happens(count, per_million(plan.faults.bad_rows)))
    ways, names = draws.below(len(bad), len(WAYS)), written(uuids(draws, len(bad)))
    again = np.flatnonzero(draws.happens(count, per_million(plan.faults.duplicates)))
    gaps = draws.below(len(again), count - again)
    return [
        *(
            _Added(at, broken(WAYS[way], lines[at], name), {"kind": "bad_row", "how": WAYS[way]})
            for at, way, name in zip(bad.tolist(), ways.tolist(), names, strict=True)
        ),
        *(
            _Added(at + gap, lines[at], {"kind": "duplicate", "event_id": ids[at]})
            for at, gap in zip(again.tolist(), gaps.tolist(), strict=True)
        ),
    ]


def _placed(
    lines: list[str], notes: dict[int, list[Truth]], added: list[_Added], before: int
) -> tuple[list[str], tuple[Truth, ...]]:
    """Put the added lines in their places and give every fault the number of its line."""
    if not added and not notes:
        return lines, ()
    extra: dict[int, list[_Added]] = defaultdict(list)
    for one in added:
        extra[one.after].append(one)
    placed: list[str] = []
    truth: list[Truth] = []
    done = 0
    for at in sorted({*notes, *extra}):
        placed.extend(lines[done : at + 1])
        done = at + 1
        truth.extend({**note, "line": before + len(placed)} for note in notes.get(at, ()))
        for one in extra.get(at, ()):
            placed.append(one.text)
            truth.append({**one.truth, "line": before + len(placed)})
    placed.extend(lines[done:])
    return placed, tuple(truth)
