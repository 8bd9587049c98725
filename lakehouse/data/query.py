"""The words of SQL over rows that are handed in: a statement that was read, and who runs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from lakehouse.data.history import LazyRows

Sources = Mapping[str, LazyRows | pa.Table]
"""Rows by the name a statement calls them, in lower case: `silver.tickets`."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT that was read and found harmless. `tables` are the names it reads from."""

    text: str
    tables: tuple[str, ...]


class QueryEngine(Protocol):
    """Runs a SELECT over the rows it is handed, and reaches nothing else."""

    def read(self, text: str) -> Statement:
        """Read one SELECT. Raises `InputError` for everything else, and says why."""
        ...

    def answering(
        self, statement: Statement, sources: Sources
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Run a statement over `sources`, read lazily; the answer is open while the block runs.

        Raises `InputError` with the reason, also from within the block where reading goes on.
        """
        ...
