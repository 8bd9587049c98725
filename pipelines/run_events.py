"""What a run tells of its steps to tools outside: the port, and the adapter that says nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
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
