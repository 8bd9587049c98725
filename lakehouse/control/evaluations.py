"""The log of evaluations: which answers were judged, beside which, on what, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from lakehouse.control.postgres import Postgres
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """One evaluation of a task's answers; `answers_id` names all that decides them.

    `champion` and what goes with it are None where there was nothing to compare with. `judged_on`
    says which texts `texts` and `measures` are of. `page` is the run in the registry.
    """

    evaluation_id: RunId
    task: str
    answers_id: str
    champion_answers_id: str | None
    bundle_id: str
    model: str
    champion: str | None
    judged_on: str
    texts: int
    page: str
    measured_at: datetime
    measures: Mapping[str, Any] | None
    report: Mapping[str, Any]


_COLUMNS = (
    "evaluation_id, task, answers_id, champion_answers_id, bundle_id, model, champion, judged_on, "
    "texts, page, measured_at, measures, report"
)


class EvaluationLog:
    """`meta.evaluations` of a tenant. Rows are only added."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def record(self, tenant: TenantContext, record: EvaluationRecord) -> None:
        """Write an evaluation."""
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                f"INSERT INTO meta.evaluations (tenant_id, {_COLUMNS}) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    tenant.tenant_id,
                    record.evaluation_id,
                    record.task,
                    record.answers_id,
                    record.champion_answers_id,
                    record.bundle_id,
                    record.model,
                    record.champion,
                    record.judged_on,
                    record.texts,
                    record.page,
                    record.measured_at,
                    None if record.measures is None else Jsonb(record.measures),
                    Jsonb(record.report),
                ],
            )

    def newest(
        self, tenant: TenantContext, task: str, answers_id: str, champion_answers_id: str
    ) -> EvaluationRecord | None:
        """Return the newest comparison of these answers with those of that champion."""
        found = self._read(
            tenant,
            "task = %s AND answers_id = %s AND champion_answers_id = %s AND measures IS NOT NULL",
            [task, answers_id, champion_answers_id],
            limit=1,
        )
        return found[0] if found else None

    def recent(
        self, tenant: TenantContext, *, task: str | None = None, limit: int = 20
    ) -> list[EvaluationRecord]:
        """Return the newest evaluations, of one task where it is given, newest first."""
        return self._read(tenant, "(%s::text IS NULL OR task = %s)", [task, task], limit=limit)

    def _read(
        self, tenant: TenantContext, where: str, values: list[Any], *, limit: int
    ) -> list[EvaluationRecord]:
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM meta.evaluations WHERE tenant_id = %s AND {where} "
                "ORDER BY measured_at DESC, evaluation_id DESC LIMIT %s",
                [tenant.tenant_id, *values, limit],
            ).fetchall()
        return [EvaluationRecord(*row) for row in rows]
