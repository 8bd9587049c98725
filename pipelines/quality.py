"""Write, audit, publish: what a run staged is judged by its contracts before anybody can see it.

Results go to `meta.data_quality`, whatever they say. A critical one that failed ends the run, and
nothing of the layer is published; another one that failed makes the run DEGRADED.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from contracts.contract import Contract
from contracts.quality import CRITICAL, Outcome, Past, TableAudit
from lakehouse.control.runs import QualityResult, RunLog
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from pipelines.audits import Audits
from pipelines.errors import RunFailedError
from pipelines.plan import RUN_KIND
from pipelines.steps import OnStep, publish


def audit_staged(
    run: RunContext,
    contracts: Sequence[Contract],
    *,
    store: TableStore,
    log: RunLog,
    audits: Audits | None = None,
) -> list[QualityResult]:
    """Judge what the run staged: by `audits` what was looked at while it was staged.

    The rest is read back from the files that would be published, one part at a time, and of it the
    columns that are looked at.
    """
    begun = audits or Audits()

    def staged(contract: Contract) -> TableAudit:
        audit, unseen = begun.take(contract, store.staged(contract.table, run))
        for part in unseen:
            rows = store.preview(contract.table, run, columns=audit.columns, parts=[part])
            if rows is not None:
                audit.add(rows)
        return audit

    return _audit(run, contracts, staged, log)


def audit_rows(
    run: RunContext, tables: Mapping[Contract, pa.Table], *, log: RunLog
) -> list[QualityResult]:
    """Judge whole tables that are at hand."""

    def at_hand(contract: Contract) -> TableAudit:
        audit = TableAudit(contract)
        audit.add(tables[contract])
        return audit

    return _audit(run, list(tables), at_hand, log)


def require(results: Sequence[QualityResult]) -> None:
    """Raise `RunFailedError` that names every critical check that failed."""
    failed = [r for r in results if r.severity == CRITICAL and not r.passed]
    if failed:
        found = "; ".join(
            f"{r.table}: {r.check} (found {r.observed}, expected {r.expected})" for r in failed
        )
        msg = f"critical quality checks failed, nothing of this layer was published: {found}"
        raise RunFailedError(msg)


def layer_begun(run: RunContext, contracts: Sequence[Contract], *, store: TableStore) -> bool:
    """Tell whether an earlier attempt began to publish a layer: then all of it was judged good."""
    return any(store.published(contract.table, run) for contract in contracts)


def publish_layer(
    run: RunContext, contracts: Sequence[Contract], *, store: TableStore, on_step: OnStep
) -> None:
    """Publish what waits of a layer that was judged good, in one commit a table."""
    for contract in contracts:
        publish(store, contract, run, on_step=on_step)


def _audit(
    run: RunContext,
    contracts: Sequence[Contract],
    audited: Callable[[Contract], TableAudit],
    log: RunLog,
) -> list[QualityResult]:
    found = []
    for contract in contracts:
        audit = audited(contract)
        history = _history(run, contract, log) if contract.quality else {}
        found += [_result(contract, o) for o in audit.outcomes(run.started_at, history)]
    return found


def _history(run: RunContext, contract: Contract, log: RunLog) -> dict[str, list[Past]]:
    table = contract.table
    history: dict[str, list[Past]] = {}
    for result in log.measured_before(run, RUN_KIND, layer=table.layer.value, table=table.entity):
        past = Past(result.measured or 0.0, result.detail or {})
        history.setdefault(result.check, []).append(past)
    return history


def _result(contract: Contract, outcome: Outcome) -> QualityResult:
    verdict = outcome.verdict
    return QualityResult(
        layer=contract.table.layer.value,
        table=contract.table.entity,
        check=outcome.check,
        severity=outcome.severity,
        passed=verdict.passed,
        observed=verdict.observed,
        expected=verdict.expected,
        measured=verdict.measured,
        detail=verdict.shares,
    )
