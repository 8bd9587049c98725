"""Gold: the official figures, counted from Silver. No free text, no model, nothing to guess."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pyarrow as pa

from contracts.contract import Contract
from contracts.tables import GOLD, TICKETS_SNAPSHOT
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from pipelines.gold_flow import FLOW_KPIS
from pipelines.gold_mlops import MLOPS_KPIS
from pipelines.gold_sla import SLA_KPIS, snapshot
from pipelines.gold_view import Counting, Kpi, SilverView
from pipelines.gold_volume import VOLUME_KPIS
from pipelines.steps import OnStep, write

Figures = Mapping[Contract, pa.Table]

KPIS: Mapping[Contract, Kpi] = {**VOLUME_KPIS, **SLA_KPIS, **FLOW_KPIS, **MLOPS_KPIS}
"""The tables of counts; `tickets_snapshot` is the tickets themselves."""


def count_gold(view: SilverView, run: RunContext) -> Figures:
    """Count every table of Gold from one view of Silver."""
    counting = Counting.of(view)
    counted = {contract: kpi.count(counting) for contract, kpi in KPIS.items()}
    counted[TICKETS_SNAPSHOT] = snapshot(counting)
    return {contract: _as_rows(contract, frame, run) for contract, frame in counted.items()}


def _as_rows(contract: Contract, frame: pl.DataFrame, run: RunContext) -> pa.Table:
    """Add tenant and run, and set the order: the same Silver gives the same bytes."""
    fenced = frame.with_columns(
        pl.lit(run.tenant.tenant_id).alias("tenant_id"), pl.lit(run.run_id).alias("run_id")
    )
    ordered = fenced.sort(contract.key).select(contract.schema.names).to_arrow()
    return ordered.cast(contract.schema)


def write_gold(figures: Figures, run: RunContext, *, store: TableStore, on_step: OnStep) -> None:
    """Append the figures to the lake's Gold, under this run."""
    for contract in GOLD:
        write(store, contract, figures[contract], run, part="all", on_step=on_step)
