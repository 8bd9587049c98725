from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import pytest

from models.chat import Caller, CallError, CallLimits, Failure, Reply

GOOD = Reply("{}", None, "stop", 1, 1)
LIMITS = CallLimits(attempts=4, deadline=30.0, failures=3, rest=60.0)


class Scripted:
    """An endpoint that fails as it is told, then answers."""

    def __init__(self, script: Iterable[CallError | None]) -> None:
        self.script = list(script)
        self.timeouts: list[float] = []

    def complete(self, body: Mapping[str, Any], *, timeout: float) -> Reply:
        self.timeouts.append(timeout)
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        return GOOD

    def close(self) -> None:
        """Leave nothing behind."""


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def failing(failure: Failure, retry_after: float | None = None) -> CallError:
    return CallError(failure, "as told", retry_after)


def caller(script: Iterable[CallError | None], limits: CallLimits = LIMITS) -> tuple[Caller, Time]:
    time = Time()
    made = Caller(Scripted(script), limits, sleep=time.sleep, clock=time.clock, random=Random(1))
    return made, time


@pytest.mark.parametrize(
    "failure",
    [Failure.UNREACHABLE, Failure.TIMEOUT, Failure.RATE_LIMITED, Failure.SERVER_ERROR],
)
def test_what_fails_for_now_is_asked_again(failure: Failure) -> None:
    asked, _ = caller([failing(failure), failing(failure)])
    assert asked.ask({}) == GOOD


def test_pauses_grow_and_are_drawn_by_lot() -> None:
    asked, time = caller([failing(Failure.SERVER_ERROR)] * 3)
    asked.ask({})
    bounds = [(0.25, 0.5), (0.5, 1.0), (1.0, 2.0)]
    assert all(low <= s <= high for s, (low, high) in zip(time.slept, bounds, strict=True))
    assert len(set(time.slept)) == 3


def test_the_pause_the_endpoint_asks_for_holds_for_every_text() -> None:
    asked, time = caller([failing(Failure.RATE_LIMITED, retry_after=7.0)])
    asked.ask({})
    assert time.slept == [7.0]
    asked._quiet_until = time.now + 3.0
    asked.ask({})
    assert time.slept == [7.0, 3.0]


def test_a_pause_longer_than_the_deadline_is_not_waited_for() -> None:
    asked, time = caller([failing(Failure.RATE_LIMITED, retry_after=31.0)])
    with pytest.raises(CallError, match="rate_limited"):
        asked.ask({})
    with pytest.raises(CallError, match="more time than is left"):
        asked.ask({})
    assert time.slept == []


def test_no_call_may_outlast_the_deadline() -> None:
    limits = CallLimits(attempts=9, timeout=20.0, deadline=21.0, first_pause=4.0)
    asked, _ = caller([failing(Failure.TIMEOUT)] * 9, limits)
    with pytest.raises(CallError, match="timeout"):
        asked.ask({})
    endpoint = asked.endpoint
    assert isinstance(endpoint, Scripted)
    assert endpoint.timeouts[0] == 20.0
    assert all(left < 20.0 for left in endpoint.timeouts[1:])


@pytest.mark.parametrize("failure", [Failure.BAD_REQUEST, Failure.REJECTED])
def test_what_would_fail_again_is_not_asked_again(failure: Failure) -> None:
    asked, time = caller([failing(failure)])
    with pytest.raises(CallError, match=failure.value):
        asked.ask({})
    assert time.slept == []


def test_an_endpoint_that_is_down_is_left_alone_then_tried_once() -> None:
    asked, time = caller([failing(Failure.BAD_REQUEST)] * 4)
    for _ in range(3):
        with pytest.raises(CallError, match="bad_request"):
            asked.ask({})
    with pytest.raises(CallError, match="endpoint_down"):
        asked.ask({})
    time.now += 60.0
    with pytest.raises(CallError, match="bad_request"):
        asked.ask({})
    with pytest.raises(CallError, match="endpoint_down"):
        asked.ask({})
    time.now += 60.0
    assert [asked.ask({}), asked.ask({})] == [GOOD, GOOD]


def test_failures_between_answers_do_not_close_an_endpoint() -> None:
    asked, _ = caller([failing(Failure.BAD_REQUEST), failing(Failure.BAD_REQUEST), None] * 3)
    for _ in range(3):
        for _ in range(2):
            with pytest.raises(CallError, match="bad_request"):
                asked.ask({})
        assert asked.ask({}) == GOOD


def test_a_key_that_is_refused_closes_the_endpoint_for_good() -> None:
    asked, time = caller([failing(Failure.REJECTED)])
    with pytest.raises(CallError, match="rejected"):
        asked.ask({})
    time.now += 1_000.0
    with pytest.raises(CallError, match="endpoint_down"):
        asked.ask({})
