"""A program that pulls labels and dies by SIGKILL at one place after the other.

Each life finds one more answer in the queue than the one before and dies at the next place, until
one ends by itself. It forks before any library has started a thread, and prints what it left.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts.tables import LABELS
from labeling.guidelines import newest
from labeling.memory import MemoryReviewQueue
from labeling.queue import CaseId, CaseOrigin, QueueSpec, Reason, ReviewCase
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.data import storage
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.ledger import PULL_KIND, pull
from pipelines.standing_labels import standing_labels

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
TITLES = {"queja": "Queja", "reclamo": "Reclamo"}
TIPO = Task("tipo", TITLES, "text", "n.tipo", "n.tipo.zs", RoutingPolicy(accept_at=0.8))
PLACES: list[tuple[Any, str]] = [
    (RunLog, "start"),
    (storage, "_replace"),
    (DeltaTableStore, "_commit"),
    (RunLog, "finish"),
]


def queue_of(answers: int, tenant: TenantContext) -> MemoryReviewQueue:
    """Build a queue in which so many tickets are answered."""
    queue, spec = MemoryReviewQueue(now=lambda: NOON), QueueSpec("tipo", TITLES, newest("tipo"))
    queue.open(spec, tenant)
    origin = CaseOrigin("correo", date(2026, 1, 4), Reason.DOUBT, "queja", 0.4, "n.tipo", "3")
    for number in range(answers):
        case_id = CaseId(tenant.tenant_id, "tipo", str(UUID(int=number)), "bundle-1")
        queue.put([ReviewCase(case_id, "Me gritaron.", origin)], spec, tenant)
        queue.answer(case_id, "ana", "queja", at=NOON + timedelta(minutes=number))
    return queue


def life(url: str, lake: Path, tenant: TenantContext, number: int) -> None:
    """Pull, and die at the place that is reached as the given one: before or after a call."""
    left = [number]

    def step() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            step()
            done = call(*given, **named)
            step()
            return done

        return wrapped

    for owner, name in PLACES:
        setattr(owner, name, dying(getattr(owner, name)))
    run = RunContext.begin(tenant, kind=PULL_KIND, at=NOON + timedelta(days=1, minutes=number))
    store, log = DeltaTableStore(LakeRoot(str(lake))), RunLog(Postgres(url))
    pull(run, (TIPO,), store=store, queue=queue_of(number, tenant), log=log)


def main(url: str, lake: Path, tenant: TenantContext) -> None:
    """Live until a life ends, then say what stands, in one line of JSON."""
    deaths = 0
    while True:
        child = os.fork()
        if child == 0:
            life(url, lake, tenant, deaths + 1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -signal.SIGKILL:
            break
        deaths += 1
    store = DeltaTableStore(LakeRoot(str(lake)))
    rows = store.scan(LABELS.table, tenant, columns=["label_id"])
    told = {
        "deaths": deaths,
        "ended": code,
        "rows": 0 if rows is None else len(rows),
        "stand": len(standing_labels("tipo", tenant, store)),
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), TenantContext.parse(sys.argv[3]))
