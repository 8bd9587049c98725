"""What a run tells of its steps to tools outside: the port, and the adapter that says nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Protocol

from lakehouse.run import RunContext


class RunEvents(Protocol):
    """Told of every step of a run. Never raises, and never waits for anybody."""

    def step(self, run: RunContext, step: str) -> AbstractContextManager[None]:
        """Stand around one step: told at its start, and whether it ended well or by an error."""
        ...


class Silent:
    """`RunEvents` that nobody hears."""

    def step(self, run: RunContext, step: str) -> AbstractContextManager[None]:
        """Do nothing around the step."""
        return nullcontext()


class Deferred:
    """`RunEvents` that are opened at the first step: most commands perform none."""

    def __init__(self, open_events: Callable[[], RunEvents]) -> None:
        self._open = open_events

    def step(self, run: RunContext, step: str) -> AbstractContextManager[None]:
        """Stand around the step as the opened events do."""
        return self._events.step(run, step)

    @cached_property
    def _events(self) -> RunEvents:
        return self._open()
