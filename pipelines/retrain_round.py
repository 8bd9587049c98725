"""A round of retraining: what was begun is finished, what is ripe promoted, what is due begun.

Done by a schedule it needs nobody to remember anything; twice in a row the second finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lakehouse.errors import InputError
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.proposals import Proposal, attend
from pipelines.retrain import (
    RETRAIN_KIND,
    Outlook,
    Retraining,
    RetrainPorts,
    begin,
    look,
)
from pipelines.retrain_policy import RetrainPolicy
from pipelines.selection import named

Carry = Callable[[Retraining], object]
"""Carries a retraining out; see `pipelines.retrain.carry_out` and `pipelines.flows`."""


@dataclass(frozen=True, slots=True)
class Round:
    """What came of a round. `taken_up` were begun by an earlier one, `begun` by this one."""

    taken_up: tuple[RunId, ...]
    promoted: tuple[Proposal, ...]
    outlooks: tuple[Outlook, ...]
    begun: tuple[RunId, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "taken_up": list(self.taken_up),
            "promoted": [one.retraining.run.run_id for one in self.promoted],
            "tasks": [outlook.as_dict() for outlook in self.outlooks],
            "begun": list(self.begun),
        }


def wanted(tasks: Sequence[Task], policy: RetrainPolicy, task: str | None) -> tuple[Task, ...]:
    """Return the task that is named, else those the policy retrains."""
    if task is not None or policy.tasks is None:
        return named(tasks, task)
    return tuple(one for one in tasks if one.name in policy.tasks)


def retrain(
    tenant: TenantContext,
    tasks: Sequence[Task],
    policy: RetrainPolicy,
    ports: RetrainPorts,
    *,
    now: datetime,
    carry: Carry,
    task: str | None = None,
    asked: bool = False,
    code_version: str = "unknown",
) -> Round:
    """Do one round for a tenant. `asked` retrains `task`, or every task, whatever the policy says.

    Raises `TenantBusyError` where another process is at it, and `InputError` where a retraining was
    asked for and there is too little to learn from.
    """
    chosen = wanted(tasks, policy, task)
    with ports.log.exclusive(tenant, RETRAIN_KIND):
        taken_up = []
        while (record := ports.log.unfinished(tenant, RETRAIN_KIND)) is not None:
            carry(Retraining.of(record))
            taken_up.append(record.run.run_id)
        promoted = attend(tenant, tasks, policy, ports, at=now)
        outlooks: list[Outlook] = []
        begun: list[RunId] = []
        for place, one in enumerate(chosen):
            outlook = look(tenant, one, policy, ports, now=now, asked=asked)
            if asked and outlook.missing is not None:
                raise InputError(outlook.missing)
            if outlook.found is not None:
                at = now + timedelta(microseconds=place)  # A run is named after its moment.
                made = begin(outlook, tenant, policy, ports, at=at, code_version=code_version)
                carry(made)
                begun.append(made.run.run_id)
            outlooks.append(outlook)
        if begun:
            promoted += attend(tenant, tasks, policy, ports, at=now)
    return Round(tuple(taken_up), tuple(promoted), tuple(outlooks), tuple(begun))
