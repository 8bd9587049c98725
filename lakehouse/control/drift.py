"""The log of drift: what each report compared, what it measured, and where it can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakehouse.control.postgres import Connection, Postgres
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext


@dataclass(frozen=True, slots=True)
class DriftMeasure:
    """One number about one feature. `score` is null where it could not be computed."""

    feature: str
    method: str
    score: float | None
    threshold: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """One comparison of a run's rows with the reference of the model that answered them.

    `report_path` is null where no report was drawn, because there was too little to compare.
    """

    run_id: RunId
    task: str
    model: str
    verdict: str
    reference_rows: int
    current_rows: int
    report_path: str | None
    measured_at: datetime
    measures: tuple[DriftMeasure, ...] = ()


class DriftLog:
    """`meta.drift_reports` and their numbers in `meta.drift`, of a tenant."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def record(self, run: RunContext, record: DriftRecord) -> None:
        """Write a comparison with its numbers; a resumed run replaces its own."""
        key = [run.tenant.tenant_id, run.run_id, record.task]
        with self._postgres.connect(run.tenant) as connection:
            connection.execute(
                "INSERT INTO meta.drift_reports (tenant_id, run_id, task, model, verdict, "
                "reference_rows, current_rows, report_path, measured_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (tenant_id, run_id, task) DO UPDATE SET model = EXCLUDED.model, "
                "verdict = EXCLUDED.verdict, reference_rows = EXCLUDED.reference_rows, "
                "current_rows = EXCLUDED.current_rows, report_path = EXCLUDED.report_path, "
                "measured_at = EXCLUDED.measured_at",
                [
                    *key,
                    record.model,
                    record.verdict,
                    record.reference_rows,
                    record.current_rows,
                    record.report_path,
                    record.measured_at,
                ],
            )
            connection.execute(
                "DELETE FROM meta.drift WHERE tenant_id = %s AND run_id = %s AND task = %s", key
            )
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO meta.drift (tenant_id, run_id, task, feature, method, score, "
                    "threshold, drifted) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                    [
                        [*key, m.feature, m.method, m.score, m.threshold, m.drifted]
                        for m in record.measures
                    ],
                )

    def recent(
        self, tenant: TenantContext, *, task: str | None = None, limit: int = 20
    ) -> list[DriftRecord]:
        """Return the newest comparisons, of one task where it is given, newest first."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                "SELECT run_id, task, model, verdict, reference_rows, current_rows, report_path, "
                "measured_at FROM meta.drift_reports "
                "WHERE tenant_id = %s AND (%s::text IS NULL OR task = %s) "
                "ORDER BY measured_at DESC, run_id DESC, task LIMIT %s",
                [tenant.tenant_id, task, task, limit],
            ).fetchall()
            return [_record(row, _measures(connection, tenant, row[:2])) for row in rows]


def _measures(
    connection: Connection, tenant: TenantContext, key: Sequence[Any]
) -> tuple[DriftMeasure, ...]:
    rows = connection.execute(
        "SELECT feature, method, score, threshold, drifted FROM meta.drift "
        "WHERE tenant_id = %s AND run_id = %s AND task = %s ORDER BY method, feature",
        [tenant.tenant_id, *key],
    ).fetchall()
    return tuple(DriftMeasure(*row) for row in rows)


def _record(row: tuple[Any, ...], measures: tuple[DriftMeasure, ...]) -> DriftRecord:
    run_id, task, model, verdict, reference_rows, current_rows, report_path, measured_at = row
    sizes = (reference_rows, current_rows)
    return DriftRecord(
        RunId(run_id), task, model, verdict, *sizes, report_path, measured_at, measures
    )
