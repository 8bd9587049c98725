"""Silver's changes of state: those that keep the state machine, and those in quarantine.

A ticket that gets a new change is judged with everything known of it: what was accepted before, and
what waits in quarantine. `status_events` holds what was accepted, once and for good. `quarantine`
holds what was refused when it came, with the rule it broke; a row of it that a later run accepted
stands in `status_events` too, and counts no more as refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import polars as pl
import pyarrow as pa

from contracts.contract import Contract
from contracts.states import BrokenRule
from contracts.tables import SILVER_QUARANTINE, STATUS_EVENTS
from lakehouse.control.runs import QualityResult
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from pipelines.sequences import CHANGE, judge
from pipelines.steps import OnStep, stage

_EVENT = STATUS_EVENTS.schema.names


def refine_changes(
    rows: pa.Table,
    run: RunContext,
    versions: Mapping[str, int | None],
    *,
    store: TableStore,
    on_step: OnStep,
) -> list[QualityResult]:
    """Stage this run's changes of state where they belong, and say how many broke which rule.

    `versions` are those of the plan: a resumed run judges by what the first attempt saw.
    """
    arriving = _frame(rows)
    tickets = arriving["ticket_id"].unique().implode()
    before = _known(STATUS_EVENTS, list(CHANGE), tickets, run, versions, store)
    waiting = _known(SILVER_QUARANTINE, _EVENT, tickets, run, versions, store)
    accepted, refused = judged(arriving, before, waiting)
    mine = pl.lit(run.run_id).alias("run_id")
    for contract, frame in ((STATUS_EVENTS, accepted), (SILVER_QUARANTINE, refused)):
        own = frame.with_columns(mine).select(contract.schema.names)
        own_rows = own.to_arrow().cast(contract.schema)
        stage(store, contract, own_rows, run, part="all", on_step=on_step)
    return [_warning(refused)]


def judged(
    arriving: pl.DataFrame, before: pl.DataFrame, waiting: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part changes into those newly accepted and those newly refused.

    `before` were accepted by earlier runs, `waiting` refused; an event that comes again is the one
    that is known.
    """
    known = before["event_id"].implode()
    waits = waiting.filter(~pl.col("event_id").is_in(known)).unique("event_id")
    fresh = arriving.unique("event_id", keep="first", maintain_order=True).filter(
        ~pl.col("event_id").is_in(known) & ~pl.col("event_id").is_in(waits["event_id"].implode())
    )
    candidates = pl.concat([fresh, waits.select(fresh.columns)])
    verdicts = judge(
        pl.concat(
            [
                before.select(*CHANGE, pl.lit(True).alias("accepted")),
                candidates.select(*CHANGE, pl.lit(False).alias("accepted")),
            ]
        )
    ).select("event_id", "rule", "stood_at")
    ours = candidates.join(verdicts, on="event_id", maintain_order="left")
    refused = ours.filter(
        pl.col("rule").is_not_null(), pl.col("event_id").is_in(fresh["event_id"].implode())
    )
    detail = pl.format(
        "{} to {}, when the ticket stood at {}", "status_from", "status_to", "stood_at"
    )
    return ours.filter(pl.col("rule").is_null()), refused.with_columns(detail.alias("detail"))


def _known(
    contract: Contract,
    columns: list[str],
    tickets: pl.Series,
    run: RunContext,
    versions: Mapping[str, int | None],
    store: TableStore,
) -> pl.DataFrame:
    version = versions.get(str(contract.table))
    found = (
        None
        if version is None
        else store.scan(contract.table, run.tenant, at=version, columns=columns)
    )
    rows = contract.empty().select(columns) if found is None else found.select(columns)
    return _frame(rows).filter(pl.col("ticket_id").is_in(tickets))


def _warning(refused: pl.DataFrame) -> QualityResult:
    by_rule = Counter(refused["rule"].to_list())
    counts = ", ".join(f"{rule.value} {by_rule[rule.value]}" for rule in BrokenRule)
    return QualityResult(
        STATUS_EVENTS.table.layer.value,
        STATUS_EVENTS.table.entity,
        "changes of state keep the state machine",
        "warning",
        refused.is_empty(),
        f"{len(refused)} in quarantine" + (f": {counts}" if len(refused) else ""),
        "0 in quarantine",
    )


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame
