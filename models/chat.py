"""Calls of a chat endpoint: how often, how long, how many at once, and when to stop calling.

A call that fails for now is made again after a pause that grows and is drawn by lot, or that the
endpoint asks for. When texts fail one after the other the endpoint is left alone for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, Protocol

from lakehouse.errors import PlataError


class Failure(StrEnum):
    """Why a text got no answer. One word: rows and checks carry it."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    REJECTED = "rejected"
    DOWN = "endpoint_down"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    INVALID = "invalid_answer"


_FOR_NOW = {Failure.UNREACHABLE, Failure.TIMEOUT, Failure.RATE_LIMITED, Failure.SERVER_ERROR}


class CallError(PlataError):
    """One call failed. `retry_after` is the pause the endpoint asked for, in seconds."""

    def __init__(self, failure: Failure, found: str, retry_after: float | None = None) -> None:
        super().__init__(f"{failure}: {found}")
        self.failure = failure
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint sent. Tokens are None where it did not count them."""

    content: str | None
    refusal: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


class ChatEndpoint(Protocol):
    """Somewhere a conversation is sent to, as OpenAI's `/v1/chat/completions` takes it."""

    def complete(self, body: Mapping[str, Any], *, timeout: float) -> Reply:
        """Send one request, and wait `timeout` seconds at most. Raises `CallError`."""
        ...

    def close(self) -> None:
        """Leave; a later request connects again."""
        ...


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What an endpoint is asked to bear. Times are in seconds.

    `timeout` is of one call, `deadline` of one text with all its calls and pauses. After
    `failures` texts in a row without an answer nothing is sent for `rest`; then one is tried.
    """

    concurrency: int = 4
    attempts: int = 4
    timeout: float = 30.0
    deadline: float = 120.0
    first_pause: float = 0.5
    longest_pause: float = 20.0
    failures: int = 5
    rest: float = 60.0


@dataclass(slots=True)
class Caller:
    """One endpoint under its limits, shared by threads. `sleep`, `clock` and `random` are handed in
    so that tests need not wait.
    """

    endpoint: ChatEndpoint
    limits: CallLimits
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    random: Random = field(default_factory=Random)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failed: int = 0
    _closed_until: float | None = None
    _rejected: bool = False
    _quiet_until: float = 0.0

    def ask(self, body: Mapping[str, Any]) -> Reply:
        """Send a request until it is answered, may not be sent again, or its time is up.

        Raises `CallError` with the last failure.
        """
        self._admit()
        try:
            reply = self._persist(body)
        except CallError as error:
            self._note_failure(error)
            raise
        with self._lock:
            self._failed, self._closed_until = 0, None
        return reply

    def _persist(self, body: Mapping[str, Any]) -> Reply:
        ends = self.clock() + self.limits.deadline
        for attempt in range(1, self.limits.attempts + 1):
            self._wait_for_quiet(ends)
            try:
                left = max(ends - self.clock(), 0.001)
                return self.endpoint.complete(body, timeout=min(self.limits.timeout, left))
            except CallError as error:
                pause = self._pause(attempt, error)
                too_late = self.clock() + pause >= ends
                if error.failure not in _FOR_NOW or attempt == self.limits.attempts or too_late:
                    raise
                self.sleep(pause)
        raise AssertionError

    def _pause(self, attempt: int, error: CallError) -> float:
        """Return the pause before the next call; one the endpoint asked for holds for all."""
        if error.retry_after is not None:
            with self._lock:
                self._quiet_until = max(self._quiet_until, self.clock() + error.retry_after)
            return error.retry_after
        most = min(self.limits.first_pause * 2 ** (attempt - 1), self.limits.longest_pause)
        return self.random.uniform(most / 2, most)

    def _wait_for_quiet(self, ends: float) -> None:
        with self._lock:
            pause = self._quiet_until - self.clock()
        if pause <= 0:
            return
        if self.clock() + pause >= ends:
            raise CallError(Failure.RATE_LIMITED, "the endpoint asks for more time than is left")
        self.sleep(pause)

    def _admit(self) -> None:
        """Let a text through, unless the endpoint rests; after that, one at a time is tried."""
        with self._lock:
            if self._closed_until is None:
                return
            if self._rejected or self.clock() < self._closed_until:
                raise CallError(Failure.DOWN, "too many texts in a row got no answer")
            self._closed_until = self.clock() + self.limits.rest

    def _note_failure(self, error: CallError) -> None:
        with self._lock:
            self._failed += 1
            self._rejected = self._rejected or error.failure is Failure.REJECTED
            if self._rejected or self._failed >= self.limits.failures:
                self._closed_until = self.clock() + self.limits.rest
