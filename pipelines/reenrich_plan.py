"""What a reenrichment is to do: a request made exact, the tickets it means, what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from contracts.contract import Contract
from contracts.tables import (
    CLASSIFICATIONS_SIDE,
    LABELS,
)
from lakehouse.data.query import QueryEngine
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.routing import PinnedRouting
from pipelines.known_answers import (
    KNOWN_TABLES,
    known_answers,
)
from pipelines.past_tickets import (
    Versions,
    past_tickets,
    read_versions,
    silver_versions,
    with_questions,
)
from pipelines.plan import REENRICH_KIND
from pipelines.run import RunPorts, routings_now, terms_now
from pipelines.sla_terms import SlaTerms
from registry.bundles import Bundle, TaskPins


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted: a point in time, a bundle, some tickets, some tasks; `tasks` empty is all."""

    as_of: str
    bundle: Bundle
    where: str | None = None
    tasks: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[TaskPins, ...]:
        """The tasks that are asked. Raises `InputError` for one the bundle does not answer."""
        known = {task.task: task for task in self.bundle.tasks}
        unknown = [name for name in self.tasks if name not in known]
        if unknown:
            msg = f"bundle {self.bundle.bundle_id} has no task '{unknown[0]}': {', '.join(known)}"
            raise InputError(msg)
        return tuple(known[name] for name in (self.tasks or known))


@dataclass(frozen=True, slots=True)
class ReenrichPlan:
    """A request made exact. `versions` are of Silver as it was.

    `known` are the versions of the tables that answers, vectors and, for Gold, labels are taken
    from. `sla` are Gold's legal terms. `routings` are for the tasks that ask for a guarantee.
    """

    request: Request
    versions: Versions
    known: Versions
    publish: bool = False
    sla: SlaTerms = field(default_factory=SlaTerms)
    plan_id: str | None = None
    routings: tuple[PinnedRouting, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the bundle's name among them."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {"bundle_id": self.request.bundle.bundle_id, **values}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ReenrichPlan:
        """Read what `as_dict` wrote."""
        return msgspec.convert(values, cls)


@dataclass(frozen=True, slots=True)
class Reenrich:
    """A reenrichment and how far it is, in tickets; `there` had their answers aside before.

    `over` where every answer is there, and published where that was planned.
    """

    run: RunContext
    plan: ReenrichPlan
    tickets: int = 0
    done: int = 0
    there: int = 0
    over: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "run_id": self.run.run_id,
            "bundle_id": self.plan.request.bundle.bundle_id,
            "as_of": read_versions(self.plan.versions),
            "tickets": self.tickets,
            "done": self.done,
            "there_already": self.there,
            "over": self.over,
            "published": self.plan.publish and self.over,
        }


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do: the tickets with their questions, and the answers that are known.

    `there` counts further tickets whose answers are aside already, for the same point in time.
    """

    tickets: pl.DataFrame
    known: pl.DataFrame
    there: int = 0


def plan_reenrich(
    request: Request, tenant: TenantContext, ports: RunPorts, *, publish: bool = False
) -> ReenrichPlan:
    """Fix every version once; reads, writes nothing. Raises `InputError` for what means nothing."""
    if not request.asked:
        msg = f"bundle {request.bundle.bundle_id} answers no task, so there is nothing to ask"
        raise InputError(msg)
    versions = silver_versions(request.as_of, tenant, store=ports.store, log=ports.log)
    return ReenrichPlan(
        request=request,
        versions=versions,
        known=heads_of((*KNOWN_TABLES, LABELS), tenant, ports),
        publish=publish,
        sla=terms_now(tenant, ports),
    )


def begin(
    plan: ReenrichPlan,
    tenant: TenantContext,
    ports: RunPorts,
    *,
    at: datetime,
    code_version: str = "unknown",
) -> Reenrich:
    """Give a plan its run, and let it know what has become known since, and which guarantees stand;
    stores nothing.
    """
    bundle = plan.request.bundle
    run = RunContext.begin(
        tenant, kind=REENRICH_KIND, at=at, seed=bundle.seed, code_version=code_version
    )
    known = heads_of((*KNOWN_TABLES, LABELS), tenant, ports)
    routings = routings_now(tenant, [bundle], ports, now=at)
    return Reenrich(run, replace(plan, known=known, routings=routings))


def heads_of(
    contracts: Sequence[Contract], tenant: TenantContext, ports: RunPorts
) -> dict[str, int | None]:
    heads = {contract: ports.store.head(contract.table, tenant) for contract in contracts}
    return {str(c.table): None if head is None else head.version for c, head in heads.items()}


def unfinished(tenant: TenantContext, ports: RunPorts) -> Reenrich | None:
    """Return the reenrichment that was killed or ran out of budget, if there is one."""
    record = ports.log.unfinished(tenant, REENRICH_KIND)
    return None if record is None else Reenrich(record.run, ReenrichPlan.of(record.plan))


def find_work(
    plan: ReenrichPlan, tenant: TenantContext, ports: RunPorts, engine: QueryEngine
) -> Work:
    """Read the tickets of a plan that have no answer aside yet, and what is known of them.

    A plan that publishes takes all of them: rows of one run are published together.
    """
    request = plan.request
    found = past_tickets(plan.versions, tenant, ports.store, where=request.where, engine=engine)
    tickets = found if plan.publish else found.filter(~_aside(plan, tenant, ports))
    asked = with_questions(tickets, request.asked)
    known = known_answers(request.bundle, request.asked, asked, plan.known, tenant, ports.store)
    return Work(asked, known, len(found) - len(tickets))


def _aside(plan: ReenrichPlan, tenant: TenantContext, ports: RunPorts) -> pl.Expr:
    """Say which tickets have every answer of the plan aside, by whichever run."""
    tasks = [task.task for task in plan.request.asked]
    rows = side_rows(plan, tenant, ports, ["ticket_id", "task"])
    whole = (
        rows.filter(pl.col("task").is_in(tasks))
        .group_by("ticket_id")
        .agg(pl.col("task").n_unique())
        .filter(pl.col("task") == len(tasks))
    )
    return pl.col("ticket_id").is_in(whole["ticket_id"].implode())


def side_rows(
    plan: ReenrichPlan, tenant: TenantContext, ports: RunPorts, columns: Sequence[str]
) -> pl.DataFrame:
    """Read what is aside of the plan's bundle and point in time, as the plan knows the table."""
    at = plan.known.get(str(CLASSIFICATIONS_SIDE.table))
    marks = [*columns, "as_of", "bundle_id"]
    table = CLASSIFICATIONS_SIDE.table
    rows = None if at is None else ports.store.scan(table, tenant, at=at, columns=marks)
    frame = pl.from_arrow((CLASSIFICATIONS_SIDE.empty() if rows is None else rows).select(marks))
    assert isinstance(frame, pl.DataFrame)
    bundle, as_of = plan.request.bundle.bundle_id, read_versions(plan.versions)
    return frame.filter(bundle_id=bundle, as_of=as_of).select(columns)
