"""The plan of a run: its bundle and every table resolved once, before the first step.

It is stored with the run. A run that is killed goes on from its plan, whatever was promoted or
landed in the meantime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from contracts.tables import BRONZE, SILVER
from lakehouse.control.landings import Landing, LandingIndex
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.data.tables import TableRef, TableStore
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.routing import PinnedRouting
from pipelines.sla_terms import DEFAULT_TERMS, SlaTerms
from registry.bundles import Bundle
from registry.challenges import Challenge
from registry.refs import ModelRef, PromptRef

RUN_KIND = "run"
REENRICH_KIND = "reenrich"
"""Work on the past, aside; it may be published as a run of its own."""

_REMEMBERED_RUNS = 10_000


NO_ENRICHMENT = Bundle(
    embedding=ModelRef("none", "0", ""),
    embedding_prompt=PromptRef("none", "0", ""),
    tasks=(),
    seed=0,
)
"""Of work that ends with Silver's structure, and asks no model."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will read, and with which versions.

    `landings` are digests of files in Raw. `versions` are those of the tables as they were, None
    where a table was not there. `carried` are failed runs whose Bronze rows this run takes along.
    `bundle_asked` is the reference that meant the bundle, empty where none was asked for.
    `challenge` is the experiment that ran when the run was planned. `routings` say what may be
    accepted of the tasks that ask for a guarantee, of each bundle that decides.
    """

    landings: tuple[str, ...]
    versions: Mapping[str, int | None]
    carried: tuple[str, ...]
    bundle: Bundle
    bundle_asked: str = ""
    sla: SlaTerms = field(default_factory=SlaTerms)
    challenge: Challenge | None = None
    routings: tuple[PinnedRouting, ...] = ()

    def version(self, table: TableRef) -> int | None:
        """Return the version of a table when the run was planned."""
        return self.versions[str(table)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the bundle's name among them."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {**values, "bundle_id": self.bundle.bundle_id}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunPlan:
        """Read what `as_dict` wrote, also where a plan still called its bundle an enrichment."""
        given = dict(values)
        given.setdefault("bundle", given.pop("enrichment", None))
        return msgspec.convert(given, cls)


def plan_run(
    run: RunContext,
    bundle: Bundle,
    waiting: Sequence[Landing],
    *,
    asked: str,
    store: TableStore,
    log: RunLog,
    terms: SlaTerms = DEFAULT_TERMS,
    challenge: Challenge | None = None,
    routings: tuple[PinnedRouting, ...] = (),
) -> RunPlan:
    """Plan a run over the landings that wait; reads, writes nothing."""
    tables = [contract.table for contract in (*BRONZE, *SILVER)]
    heads = {str(table): store.head(table, run.tenant) for table in tables}
    return RunPlan(
        landings=tuple(landing.content_sha256 for landing in waiting),
        versions={name: None if head is None else head.version for name, head in heads.items()},
        carried=stranded_runs(run.tenant, log),
        bundle=bundle,
        bundle_asked=asked,
        sla=terms,
        challenge=challenge,
        routings=routings,
    )


def stranded_runs(tenant: TenantContext, log: RunLog) -> tuple[str, ...]:
    """Return failed runs that no later run took along, oldest first: their rows are in Bronze."""
    records = [r for r in log.recent(tenant, limit=_REMEMBERED_RUNS) if r.kind == RUN_KIND]
    ended = {RunStatus.COMPLETED, RunStatus.DEGRADED}
    taken = {name for r in records if r.status in ended for name in r.plan.get("carried", ())}
    failed = (r.run.run_id for r in reversed(records) if r.status is RunStatus.FAILED)
    return tuple(run_id for run_id in failed if run_id not in taken)


def planned_landings(plan: RunPlan, tenant: TenantContext, index: LandingIndex) -> list[Landing]:
    """Return the files of the plan, oldest first."""
    return index.named(tenant, plan.landings) if plan.landings else []
