"""Compare Gold with the Silver it was counted from, before anything of it is published."""

from __future__ import annotations

import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.tables import KPI_MLOPS_DAILY, KPI_VOLUME_DAILY
from lakehouse.control.runs import QualityResult
from pipelines.gold import Figures
from pipelines.gold_view import SilverView, newest_champions


def check_gold(figures: Figures, view: SilverView) -> list[QualityResult]:
    """Compare sums of Gold with the Silver they were counted from; every check is critical.

    What each table must be by itself its contract says.
    """
    tickets = view.tickets["ticket_id"].n_unique()
    counted = pc.sum(figures[KPI_VOLUME_DAILY]["tickets"]).as_py() or 0
    answers = len(newest_champions(view.classifications))
    classified = pc.sum(figures[KPI_MLOPS_DAILY]["classified"]).as_py() or 0
    return [
        _check(KPI_VOLUME_DAILY, "sum of tickets agrees with Silver", counted, tickets),
        _check(KPI_MLOPS_DAILY, "sum of answers agrees with Silver", classified, answers),
    ]


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
