from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from contracts.tables import CLASSIFICATIONS_SIDE
from lakehouse.data.duckdb_query import DuckDbEngine
from pipelines import answer_batches
from pipelines.budget import Price
from pipelines.estimates import WorkEstimate, estimate_reenrich, price_in
from pipelines.pilot import PILOT_BATCHES

ENGINE = DuckDbEngine()


def estimated(here: Any, plan: Any, clock: Callable[[], float]) -> WorkEstimate:
    return estimate_reenrich(
        plan,
        here.kit.NORTE,
        here.ports,
        ENGINE,
        here.kit.scratch,
        at=here.kit.THIRD,
        price=Price(per_compute_hour=7200.0, currency="COP"),
        clock=clock,
    )


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_batches, "BATCH_TEXTS", 16)
    monkeypatch.setattr(answer_batches, "KNOWN_TICKETS", 20)


def test_an_estimate_counts_what_is_left_after_equal_texts_and_known_answers_and_writes_nothing(
    place: Callable[[], Any],
) -> None:
    here = place()
    clock = iter(range(10_000))
    found = estimated(here, here.plan(here.champion("7")), lambda: float(next(clock)))
    assert (found.tickets, found.known, found.there) == (57, 0, 0)
    assert found.asks == 55
    assert found.batches == 4
    assert found.pilot.texts == 7
    assert found.pilot.seconds == found.pilot.ones == (1.0,) * PILOT_BATCHES
    assert found.seconds.expected == pytest.approx(4 + found.fixed_seconds)
    assert found.seconds.low == pytest.approx(found.seconds.high)
    assert found.cost.expected == pytest.approx(2 * found.seconds.expected)
    assert len(here.rows(CLASSIFICATIONS_SIDE)) == 0
    assert (
        here.ports.store.staged(
            CLASSIFICATIONS_SIDE.table, here.ports.log.recent(here.kit.NORTE)[0].run
        )
        == ()
    )


def test_what_is_known_costs_no_question_and_what_is_there_not_even_a_row(
    place: Callable[[], Any],
) -> None:
    here = place()
    clock = iter(range(10_000))
    known = estimated(here, here.plan(here.champion()), lambda: float(next(clock)))
    assert (known.tickets, known.known, known.asks, known.batches) == (57, 57, 0, 3)
    assert here.asked == []
    assert known.seconds.low == known.seconds.expected == known.fixed_seconds
    here.do(here.plan(here.champion()))
    there = estimated(here, here.plan(here.champion()), lambda: float(next(clock)))
    assert (there.tickets, there.there, there.batches) == (0, 57, 0)


def test_the_price_is_the_tenants_own_and_nothing_where_it_names_none() -> None:
    assert price_in({"cost": {"per_compute_hour": 900, "currency": "USD"}}) == Price(900.0, "USD")
    assert price_in({}) == price_in(None) == Price(0.0, "COP")
