from __future__ import annotations

from collections.abc import Callable

import pytest

from lakehouse.errors import InputError
from pipelines.budget import Budget, BudgetSpentError, Price


def ticking() -> Callable[[], float]:
    """Make a clock that is a second further whenever it is asked."""
    now = -1.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    return clock


def test_no_budget_is_never_spent() -> None:
    budget = Budget(clock=ticking())
    assert not any(budget.spent() for _ in range(100))


def test_seconds_count_from_the_first_time_it_is_asked() -> None:
    budget = Budget(seconds=3, clock=ticking())
    assert [budget.spent() for _ in range(4)] == [False, False, True, True]


def test_money_is_compute_at_its_price_and_what_others_charged_since_it_began() -> None:
    charged = iter([10.0, 10.0, 10.5, 10.5])
    price = Price(per_compute_hour=3600.0, currency="COP")
    budget = Budget(cost=2.4, price=price, charges=lambda: next(charged), clock=ticking())
    assert [budget.spent() for _ in range(2)] == [False, True]


def test_a_run_ends_after_the_part_in_which_the_budget_was_spent_and_not_within_it() -> None:
    told: list[str] = []
    on_step = Budget(seconds=2, clock=ticking()).between_parts(told.append)
    for place in ("before a", "after a", "before b"):
        on_step(place)
    with pytest.raises(BudgetSpentError, match="say the same again to go on"):
        on_step("after b")
    assert told == ["before a", "after a", "before b", "after b"]


@pytest.mark.parametrize("given", [0.0, -1.0, float("nan")])
def test_a_budget_that_allows_nothing_is_refused(given: float) -> None:
    with pytest.raises(InputError, match="seconds allows nothing"):
        Budget(seconds=given)
    with pytest.raises(InputError, match="cost allows nothing"):
        Budget(cost=given)
