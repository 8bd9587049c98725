"""What a tenant has now: rows per layer, exact versions, share automated, queue and drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.tables import BRONZE, GOLD, SILVER
from infra.embedded.status import read_status
from labeling.queue import CaseStatus
from lakehouse.control.drift import DriftRecord
from lakehouse.data.tables import TableRef
from lakehouse.tenancy import TenantContext
from pipelines.bootstrap import Platform
from pipelines.plan import RUN_KIND
from pipelines.review import status as review_status


@dataclass(frozen=True, slots=True)
class Automation:
    """What the newest model of a task did: how many answers, how many of them counted at once."""

    task: str
    model: str
    classified: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Login:
    """A name and password for Argilla's pages; empty where Plata did not make them."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Overview:
    """One tenant at a glance.

    `rows` are by table, `pins` those of the newest finished run, `pending` the cases that wait for
    a person by task and reason, `drift` and `reports` the newest by task.
    """

    tenant_id: str
    rows: Mapping[str, int]
    pins: Mapping[str, str]
    automation: tuple[Automation, ...]
    drift: Mapping[str, str]
    reports: Mapping[str, str]
    pending: Mapping[str, Mapping[str, int]]
    reviewer: Login


@dataclass(frozen=True, slots=True)
class Survey:
    """The tenants at a glance, and the services they share. `urls` are pages by service."""

    tenants: tuple[Overview, ...]
    urls: Mapping[str, str]
    memory_bytes: int
    argilla_owner: Login


def survey(names: Sequence[str], platform: Platform) -> Survey:
    """Look at tenants and services; reads only."""
    status = read_status(platform.settings)
    endpoints = platform.endpoints
    return Survey(
        tenants=tuple(overview(platform.tenant(name), platform) for name in names),
        urls={s.service: s.url for s in status.services if s.url.startswith("http")},
        memory_bytes=status.memory_bytes,
        argilla_owner=Login(endpoints.argilla_username, endpoints.argilla_password),
    )


def overview(tenant: TenantContext, platform: Platform) -> Overview:
    """Look at everything of a tenant; reads only."""
    ended = (r for r in platform.runs.recent(tenant) if r.kind == RUN_KIND and r.manifest)
    newest = next(ended, None)
    manifest = {} if newest is None or newest.manifest is None else newest.manifest
    reviewer = platform.reviewers.of(tenant)
    drift: dict[str, DriftRecord] = {}
    for record in reversed(platform.drift.recent(tenant)):
        drift[record.task] = record
    return Overview(
        tenant_id=tenant.tenant_id,
        rows=_rows(tenant, platform),
        pins=manifest.get("pins", {}),
        automation=_automation(tenant, platform),
        drift={task: record.verdict for task, record in drift.items()},
        reports={task: r.report_path for task, r in drift.items() if r.report_path},
        pending=_pending(tenant, platform),
        reviewer=Login(reviewer.username, reviewer.password),
    )


def _pending(tenant: TenantContext, platform: Platform) -> dict[str, dict[str, int]]:
    queues = review_status(
        tenant, platform.tasks(tenant), store=platform.store, queue=platform.queue
    )
    return {
        queue.task: {
            reason.value: by_status.get(CaseStatus.PENDING, 0)
            for reason, by_status in queue.cases.items()
        }
        for queue in queues
    }


def _rows(tenant: TenantContext, platform: Platform) -> dict[str, int]:
    tables = [contract.table for contract in (*BRONZE, *SILVER)]
    rows = {str(table): _count(table, tenant, platform) for table in tables}
    with platform.postgres.connect(tenant) as connection:
        for name in ["raw_events", "vectors", *(str(contract.table) for contract in GOLD)]:
            found = connection.execute(_COUNTED[name].encode(), [tenant.tenant_id]).fetchone()
            rows[name] = 0 if found is None else int(found[0] or 0)
    return rows


_COUNTED = {
    "raw_events": "SELECT sum(events) FROM meta.manifest_index WHERE tenant_id = %s",
    "vectors": "SELECT count(*) FROM vectors.embeddings WHERE tenant_id = %s",
    **{
        str(contract.table): f"SELECT count(*) FROM gold.{contract.table.entity} "
        "WHERE tenant_id = %s"
        for contract in GOLD
    },
}


def _count(table: TableRef, tenant: TenantContext, platform: Platform) -> int:
    rows = platform.store.scan(table, tenant, columns=["run_id"])
    return 0 if rows is None else len(rows)


def _automation(tenant: TenantContext, platform: Platform) -> tuple[Automation, ...]:
    """Sum the days of the model that answered each task last."""
    with platform.postgres.connect(tenant) as connection:
        rows = connection.execute(
            "SELECT task, model, sum(classified), sum(accepted), max(day) "
            "FROM gold.kpi_mlops_daily WHERE tenant_id = %s GROUP BY task, model "
            "ORDER BY task, max(day)",
            [tenant.tenant_id],
        ).fetchall()
    newest = {
        task: Automation(task, model, int(classified), int(accepted))
        for task, model, classified, accepted, _ in rows
    }
    return tuple(newest.values())
