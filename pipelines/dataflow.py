"""Which tables each step of a run reads and writes: the map that lineage between tables follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.contract import Contract
from contracts.tables import (
    ATTACHMENTS,
    CLASSIFICATIONS,
    EMBEDDINGS,
    GOLD,
    MESSAGES,
    PQRS_EVENTS,
    QUARANTINE,
    SILVER_QUARANTINE,
    STATUS_EVENTS,
    TICKETS,
)
from pipelines.gold import KPIS

RAW = "raw_pqrs"
"""The name under which the files of Raw appear beside tables."""


@dataclass(frozen=True, slots=True)
class StepFlow:
    """What a step reads and writes in the lake. `raw` where it also reads files of Raw."""

    reads: tuple[Contract, ...]
    writes: tuple[Contract, ...]
    raw: bool = False

    def sources(self, target: Contract) -> tuple[Contract, ...]:
        """Return the tables that decide what stands in one of the tables the step writes."""
        return KPIS[target].reads if target in KPIS else self.reads


FLOWS: Mapping[str, StepFlow] = {
    "bronze": StepFlow((), (PQRS_EVENTS, QUARANTINE), raw=True),
    "silver": StepFlow(
        (PQRS_EVENTS,), (TICKETS, MESSAGES, STATUS_EVENTS, SILVER_QUARANTINE, ATTACHMENTS)
    ),
    "embeddings": StepFlow((TICKETS, MESSAGES), (EMBEDDINGS,)),
    "classifications": StepFlow((TICKETS, MESSAGES, EMBEDDINGS), (CLASSIFICATIONS,)),
    "index": StepFlow((EMBEDDINGS, CLASSIFICATIONS), ()),
    "gold": StepFlow(
        tuple(dict.fromkeys(table for kpi in KPIS.values() for table in kpi.reads)), GOLD
    ),
}
"""By the name of the step."""
