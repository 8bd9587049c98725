"""What the steps of a run share: checked, announced writes, in one part or in many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from contracts.contract import Contract
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from pipelines.audits import Audits

OnStep = Callable[[str], None]
"""Told the name of a place in a run, before and after each of its writes. A test kills there."""


def unobserved(place: str) -> None:
    """Be an `OnStep` that does nothing."""


Progress = Callable[[int], None]
"""Told how many rows were finished since it was last called."""


def untold(rows: int) -> None:
    """Be a `Progress` that does nothing."""


def write(
    store: TableStore,
    contract: Contract,
    rows: pa.Table,
    run: RunContext,
    *,
    part: str,
    on_step: OnStep,
) -> None:
    """Append rows that keep their contract; no rows, no commit. Idempotent by run and part."""
    if len(rows) == 0:
        return
    place = f"{contract.table}/{part}"
    on_step(f"before {place}")
    store.append(contract.table, contract.enforce(rows), run, part=part)
    on_step(f"after {place}")


def stage(
    store: TableStore,
    contract: Contract,
    rows: pa.Table,
    run: RunContext,
    *,
    part: str,
    on_step: OnStep,
    audits: Audits | None = None,
) -> None:
    """Stage one part of rows that keep their contract's shape; no rows, no part. Idempotent.

    Values and key are judged before anything is published: here and now where there are `audits`
    to hold it, else from the files.
    """
    if len(rows) == 0:
        return
    shaped = contract.enforce_shape(rows)
    place = f"{contract.table}/{part}"
    on_step(f"before {place}")
    staged = store.stage(contract.table, shaped, run, part=part)
    on_step(f"after {place}")
    if audits is not None:
        audits.add(contract, shaped, staged)


def publish(store: TableStore, contract: Contract, run: RunContext, *, on_step: OnStep) -> None:
    """Publish all parts the run staged, in one commit; no part, no commit. Idempotent."""
    staged = store.staged(contract.table, run)
    if not staged:
        return
    place = f"{contract.table}/publish"
    on_step(f"before {place}")
    store.publish(contract.table, staged, run)
    on_step(f"after {place}")


def own_rows(
    store: TableStore, contract: Contract, run: RunContext, *, columns: Sequence[str]
) -> pa.Table:
    """Read what the run wrote to a table: what waits to be published, else what was."""
    staged = store.preview(contract.table, run, columns=columns)
    if staged is not None:
        return staged
    rows = store.scan(contract.table, run.tenant, columns=columns, run_id=run.run_id)
    return contract.empty().select(list(columns)) if rows is None else rows
