"""What the steps of a run share: a checked, announced write, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import pyarrow as pa

from contracts.contract import Contract
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext

OnStep = Callable[[str], None]
"""Told the name of a place in a run, before and after each of its writes. A test kills there."""


def unobserved(place: str) -> None:
    """Be an `OnStep` that does nothing."""


class Counts:
    """How many rows each step read or wrote, by name."""

    def __init__(self) -> None:
        self._counter: Counter[str] = Counter()

    def add(self, name: str, rows: int) -> None:
        """Add to one count; a count of zero is kept."""
        self._counter[name] += rows

    def update(self, other: Counts) -> None:
        """Add all of another's."""
        for name, rows in other.as_dict().items():
            self.add(name, rows)

    def as_dict(self) -> Mapping[str, int]:
        """Return the counts by name, sorted."""
        return dict(sorted(self._counter.items()))


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
