"""A budget of seconds and of money, asked at the end of every batch.

A batch is what a batch of the work is: a part of a run, 256 texts of a reenrichment, and 64 texts
wherever an LLM is asked in a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lakehouse.control.llm_ledger import LlmLedger
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.errors import InputError, PlataError, Terminal
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from pipelines.steps import OnStep, unobserved

_AN_HOUR = 3600


class BudgetSpentError(PlataError, Terminal):
    """The budget of this attempt is spent; what was done stays, and the next goes on from there."""


@dataclass(frozen=True, slots=True)
class Price:
    """What an hour of compute costs; 0 where the tenant's configuration names no price."""

    per_compute_hour: float = 0.0
    currency: str = "COP"

    def of(self, seconds: float) -> float:
        """Price seconds of compute."""
        return seconds / _AN_HOUR * self.per_compute_hour


Charges = Callable[[], float]
"""Says what was charged so far by others than us: an LLM's tokens."""


def nothing_charged() -> float:
    """Be `Charges` of work that asks nobody outside."""
    return 0.0


def charges_of(run: RunId, tenant: TenantContext, postgres: Postgres, price: Price) -> Charges:
    """Read from the ledger what a run was charged, in the currency of the price."""
    ledger = LlmLedger(postgres)

    def charged() -> float:
        spent = ledger.spent(tenant, run)
        return sum(float(one.cost) for one in spent if one.currency == price.currency)

    return charged


def charges_of_open(kind: str, tenant: TenantContext, postgres: Postgres, price: Price) -> Charges:
    """Read what the open run of a kind was charged; nothing while there is none.

    It raises `InputError` where it was charged in another currency than the budget's: a limit that
    does not see a charge would be none.
    """
    log, ledger = RunLog(postgres), LlmLedger(postgres)

    def charged() -> float:
        record = log.unfinished(tenant, kind)
        if record is None:
            return 0.0
        spent = ledger.spent(tenant, record.run.run_id)
        other = next((s for s in spent if s.cost and s.currency != price.currency), None)
        if other is not None:
            msg = (
                f"'{other.task}' is charged in {other.currency} by {other.model}, and the budget "
                f"is in {price.currency}: register the model with its prices in {price.currency} "
                "(`plata models register-llm --currency`), or give --budget-seconds alone"
            )
            raise InputError(msg)
        return sum(float(one.cost) for one in spent)

    return charged


@dataclass(slots=True)
class Budget:
    """What one attempt may take. None is no limit.

    It is asked between batches: a batch that has begun is finished, so at most one is too many.
    """

    seconds: float | None = None
    cost: float | None = None
    price: Price = field(default_factory=Price)
    charges: Charges = nothing_charged
    clock: Callable[[], float] = time.perf_counter
    _began: float | None = field(default=None, init=False)
    _charged: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("cost", self.cost)):
            if value is not None and not value > 0:
                msg = (
                    f"a budget of {value} {name} allows nothing; give more than 0, or leave it out"
                )
                raise InputError(msg)

    def begin(self) -> None:
        """Start the clock, where it does not run yet."""
        if self._began is None:
            self._began, self._charged = self.clock(), self.charges()

    @property
    def seconds_spent(self) -> float:
        """How long this attempt has taken."""
        return 0.0 if self._began is None else self.clock() - self._began

    @property
    def cost_spent(self) -> float:
        """What this attempt has cost: compute, and what others charged."""
        return self.price.of(self.seconds_spent) + self.charges() - self._charged

    def spent(self) -> bool:
        """Tell whether this attempt has to stop here."""
        self.begin()
        if self.seconds is not None and self.seconds_spent >= self.seconds:
            return True
        return self.cost is not None and self.cost_spent >= self.cost

    def between_parts(self, on_step: OnStep = unobserved) -> OnStep:
        """Give an `OnStep` that ends a run: after a part or a batch, where the budget is spent.

        It raises `BudgetSpentError`, which leaves the run open.
        """
        self.begin()

        def ended(place: str) -> None:
            on_step(place)
            if place.startswith("after ") and self.spent():
                msg = (
                    f"the budget of this attempt is spent after {self.seconds_spent:,.0f} s; "
                    "what was done stays, say the same again to go on"
                )
                raise BudgetSpentError(msg)

        return ended
