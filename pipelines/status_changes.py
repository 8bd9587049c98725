"""Silver's changes of state: those that keep the state machine, and those in quarantine.

A ticket that gets a new change is judged with everything known of it: what was accepted before, and
what waits in quarantine. `status_events` holds what was accepted, once and for good. `quarantine`
holds what was refused when it came, with the rule it broke; a row of it that a later run accepted
stands in `status_events` too, and counts no more as refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.states import BrokenRule
from contracts.tables import SILVER_QUARANTINE, STATUS_EVENTS
from lakehouse.control.runs import QualityResult
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from pipelines.audits import Audits
from pipelines.sequences import CHANGE, STATE, judge
from pipelines.steps import OnStep, stage

PART_ROWS = 1 << 17
"""Rows a part: they wait narrow, and are written out a part at a time."""

_EVENT = STATUS_EVENTS.schema.names


def refine_changes(
    rows: pa.Table,
    run: RunContext,
    versions: Mapping[str, int | None],
    *,
    store: TableStore,
    on_step: OnStep,
    audits: Audits | None = None,
) -> list[QualityResult]:
    """Stage this run's changes of state where they belong, and say how many broke which rule.

    `versions` are those of the plan: a resumed run judges by what the first attempt saw. Words of
    `rows` may be held as numbers; tenant and run are added here.
    """
    arriving = _narrow(rows)
    before = _known(STATUS_EVENTS, list(CHANGE), arriving, run, versions, store)
    waiting = _still_waiting(
        _known(SILVER_QUARANTINE, _EVENT, arriving, run, versions, store), before
    )
    verdicts = judged(arriving, _narrow(before), _narrow(waiting))
    arrived = pl.col("place") < len(rows)
    fits = verdicts.filter(pl.col("rule").is_null())
    accepted = np.zeros(len(rows), dtype=bool)
    accepted[fits.filter(arrived)["place"].to_numpy()] = True
    waited = waiting.take((fits.filter(~arrived)["place"] - len(rows)).to_arrow())
    refused = verdicts.filter(arrived, pl.col("rule").is_not_null())
    for part, own in (*_parts(rows, accepted), ("waited", waited)):
        shaped = _completed(STATUS_EVENTS, own, run)
        stage(store, STATUS_EVENTS, shaped, run, part=part, on_step=on_step, audits=audits)
    told = _completed(SILVER_QUARANTINE, _told(rows, refused), run)
    stage(store, SILVER_QUARANTINE, told, run, part="all", on_step=on_step, audits=audits)
    return [_warning(refused)]


def judged(arriving: pl.DataFrame, before: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
    """Return `place`, `rule` and `stood_at` of the changes that are judged now, by their place.

    Places count the arriving changes and, after them, the waiting ones. `before` were accepted by
    earlier runs, `waiting` refused; an event that comes again is the one that is known.
    """
    known = pl.concat([before["event_id"], waiting["event_id"]])
    fresh = arriving.with_row_index("place").unique("event_id", keep="first", maintain_order=True)
    if len(known):
        fresh = fresh.filter(~pl.col("event_id").is_in(known.implode()))
    waits = waiting.with_row_index("place", offset=len(arriving))
    held = before.with_columns(pl.lit(None, pl.UInt32).alias("place")).select(fresh.columns)
    every = pl.concat([held, fresh, waits])
    verdicts = judge(every.with_columns(pl.col("place").is_null().alias("accepted")))
    return verdicts.filter(~pl.col("accepted")).select("place", "rule", "stood_at").sort("place")


def _narrow(rows: pa.Table) -> pl.DataFrame:
    """Take what is judged, its states as numbers."""
    frame = pl.from_arrow(rows.select(list(CHANGE)))
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(pl.col("status_from", "status_to").cast(STATE))


def _still_waiting(refused: pa.Table, accepted: pa.Table) -> pa.Table:
    """Leave out what was accepted after it had been refused, and what was refused twice."""
    ids = pl.from_arrow(refused["event_id"])
    assert isinstance(ids, pl.Series)
    accepted_ids = accepted["event_id"].combine_chunks()
    left = pc.invert(pc.is_in(refused["event_id"], value_set=accepted_ids))
    return refused.filter(pc.and_(left, ids.is_first_distinct().to_arrow()))


def _parts(rows: pa.Table, accepted: np.ndarray) -> Iterator[tuple[str, pa.Table]]:
    for number, start in enumerate(range(0, len(rows), PART_ROWS)):
        own = slice(start, start + PART_ROWS)
        yield f"{number:05d}", rows.slice(start, PART_ROWS).filter(pa.array(accepted[own]))


def _told(rows: pa.Table, refused: pl.DataFrame) -> pa.Table:
    """Add the rule that each refused change broke, and where its ticket stood."""
    own = rows.take(refused["place"].to_arrow())
    details = [
        f"{before} to {after}, when the ticket stood at {state}"
        for before, after, state in zip(
            own["status_from"].to_pylist(),
            own["status_to"].to_pylist(),
            refused["stood_at"],
            strict=True,
        )
    ]
    rules = pa.array(refused["rule"].to_list(), pa.string())
    return own.append_column("rule", rules).append_column("detail", pa.array(details, pa.string()))


def _completed(contract: Contract, rows: pa.Table, run: RunContext) -> pa.Table:
    """Add whose rows they are, and write words out."""
    fence = {"tenant_id": run.tenant.tenant_id, "run_id": run.run_id}
    columns = [
        pa.repeat(fence[name], len(rows)) if name in fence else rows[name]
        for name in contract.schema.names
    ]
    return pa.table(columns, names=contract.schema.names).cast(contract.schema)


def _known(
    contract: Contract,
    columns: list[str],
    arriving: pl.DataFrame,
    run: RunContext,
    versions: Mapping[str, int | None],
    store: TableStore,
) -> pa.Table:
    """Read what is known of the tickets that have a new change."""
    version = versions.get(str(contract.table))
    found = (
        None
        if version is None
        else store.scan(contract.table, run.tenant, at=version, columns=columns)
    )
    if found is None:
        return contract.empty().select(columns)
    tickets = arriving["ticket_id"].unique().to_arrow().cast(pa.string())
    rows = found.select(columns)
    return rows.filter(pc.is_in(rows["ticket_id"], value_set=tickets))


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
