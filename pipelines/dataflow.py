"""Which tables each step of a run reads and writes: the map that lineage between tables follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.contract import Contract
from contracts.tables import (
    ATTACHMENTS,
    CLASSIFICATIONS,
    EMBEDDINGS,
    ENTITIES,
    GOLD,
    KPI_VOLUME_DAILY,
    LABELS,
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
    "entities": StepFlow((TICKETS, MESSAGES), (ENTITIES,)),
    "classifications": StepFlow((TICKETS, MESSAGES, EMBEDDINGS), (CLASSIFICATIONS,)),
    "index": StepFlow((EMBEDDINGS, CLASSIFICATIONS), ()),
    "gold": StepFlow(
        tuple(dict.fromkeys(table for kpi in KPIS.values() for table in kpi.reads)), GOLD
    ),
}
"""By the name of the step."""


IDENTITY, TRANSFORMATION, AGGREGATION = "IDENTITY", "TRANSFORMATION", "AGGREGATION"


@dataclass(frozen=True, slots=True)
class ColumnSource:
    """A column that another is made of, and how, in OpenLineage's words."""

    table: Contract
    column: str
    how: str = IDENTITY


ColumnSources = Mapping[str, tuple[ColumnSource, ...]]


def _of_event(target: Contract) -> ColumnSources:
    """A row of Silver is one event of Bronze: most columns are the same, codes become words."""
    renamed = {
        "created_at": ColumnSource(PQRS_EVENTS, "ts"),
        "pqrs_type": ColumnSource(PQRS_EVENTS, "pqrs_code", TRANSFORMATION),
    }
    same = {
        name: ColumnSource(PQRS_EVENTS, name)
        for name in target.schema.names
        if name in PQRS_EVENTS.schema.names and name != "run_id"
    }
    made = {name: source for name, source in renamed.items() if name in target.schema.names}
    return {name: (source,) for name, source in (same | made).items()}


COLUMNS: Mapping[Contract, ColumnSources] = {
    **{table: _of_event(table) for table in (TICKETS, MESSAGES, STATUS_EVENTS, ATTACHMENTS)},
    KPI_VOLUME_DAILY: {
        "day": (ColumnSource(TICKETS, "day"),),
        "source_channel": (ColumnSource(TICKETS, "source_channel"),),
        "pqrs_type": (
            ColumnSource(LABELS, "label", TRANSFORMATION),
            ColumnSource(CLASSIFICATIONS, "predicted_label", TRANSFORMATION),
            ColumnSource(TICKETS, "pqrs_type", TRANSFORMATION),
        ),
        "tickets": (ColumnSource(TICKETS, "ticket_id", AGGREGATION),),
    },
}
"""Which columns a column is made of, for the tables where that is exactly known."""
