"""Compare Gold with the Silver it was counted from, before anything of it is published."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.tables import KPI_MLOPS_DAILY, KPI_VOLUME_DAILY
from lakehouse.control.runs import QualityResult
from pipelines.errors import RunFailedError
from pipelines.gold import Figures
from pipelines.gold_view import SilverView, newest_champions


def check_gold(figures: Figures, view: SilverView) -> list[QualityResult]:
    """Compare Gold with the Silver it was counted from; every check is critical."""
    tickets = view.tickets["ticket_id"].n_unique()
    counted = pc.sum(figures[KPI_VOLUME_DAILY]["tickets"]).as_py() or 0
    answers = len(newest_champions(view.classifications))
    classified = pc.sum(figures[KPI_MLOPS_DAILY]["classified"]).as_py() or 0
    return [
        _check(KPI_VOLUME_DAILY, "sum of tickets agrees with Silver", counted, tickets),
        _check(KPI_MLOPS_DAILY, "sum of answers agrees with Silver", classified, answers),
        *(
            _check(contract, "counts are not negative", _negative(contract, rows), 0)
            for contract, rows in figures.items()
        ),
        *(
            _check(contract, "no duplicate key", _repeated(contract, rows), 0)
            for contract, rows in figures.items()
        ),
    ]


def require(results: list[QualityResult]) -> None:
    """Raise `RunFailedError` that names every critical check that failed."""
    failed = [r for r in results if r.severity == "critical" and not r.passed]
    if failed:
        found = "; ".join(
            f"{r.table}: {r.check} (found {r.observed}, expected {r.expected})" for r in failed
        )
        msg = f"critical quality checks failed, nothing of this layer was published: {found}"
        raise RunFailedError(msg)


def _check(contract: Contract, check: str, observed: int, expected: int) -> QualityResult:
    return QualityResult(
        contract.table.layer.value,
        contract.table.entity,
        check,
        "critical",
        observed == expected,
        str(observed),
        str(expected),
    )


def _negative(contract: Contract, rows: pa.Table) -> int:
    counts = [field.name for field in contract.schema if field.type == pa.int64()]
    return sum(pc.sum(pc.less(rows[name], 0)).as_py() or 0 for name in counts)


def _repeated(contract: Contract, rows: pa.Table) -> int:
    return len(rows) - len(rows.group_by(list(contract.key)).aggregate([]))
