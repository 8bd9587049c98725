"""The port to the vector index: the nearest tickets of one tenant, within one embedding space."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.embed import EmbeddingSpace
from lakehouse.errors import PlataError, Terminal
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext


class DimensionError(PlataError, Terminal):
    """A vector is not as long as its space's are."""

    @classmethod
    def of(cls, space: EmbeddingSpace, found: int) -> DimensionError:
        """Say what was found and what the space holds."""
        return cls(
            f"a vector of {found} dimensions cannot go to space '{space.space_id}', "
            f"which holds {space.dimensions} ({space.model.uri})"
        )


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A similar ticket. `similarity` is the cosine; `label` the champion's answer when indexed."""

    ticket_id: str
    similarity: float
    label: str | None
    day: date
    run_id: str


class EmbeddingIndex(Protocol):
    """Vectors of tickets by tenant and space."""

    def prepare(self, space: EmbeddingSpace, tenant: TenantContext) -> None:
        """Make room for a space; what is there stays."""
        ...

    def complete(self, space: EmbeddingSpace, tenant: TenantContext) -> None:
        """Make searches quick once a load is done; what is quick already stays as it is.

        A first load is five times as fast into a space that is completed afterwards. Searches are
        right before as well, and slower.
        """
        ...

    def upsert(self, rows: pa.Table, space: EmbeddingSpace, run: RunContext) -> None:
        """Write ticket_id, day, label and embedding; a ticket that is there is replaced.

        Raises `DimensionError`.
        """
        ...

    def search(
        self, vector: NDArray[np.float32], space: EmbeddingSpace, tenant: TenantContext, *, k: int
    ) -> tuple[Neighbour, ...]:
        """Return the `k` nearest tickets, nearest first. Raises `DimensionError`."""
        ...

    def count(self, space: EmbeddingSpace, tenant: TenantContext) -> int:
        """Return how many vectors the space holds."""
        ...
