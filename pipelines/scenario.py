"""A scenario: what the demo lets happen to one tenant, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.demo_corpus import (
    ALCALDIA,
    SERVICIOS,
    TEXT_COLUMNS,
    DemoTenant,
    Part,
    as_events,
    as_texts,
    labelled_history,
)
from pipelines.tenant_config import default_config


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file as a channel hands it in. `columns` maps plain texts, and is empty for Raw events."""

    file_name: str
    content: str
    source: str
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """What a data scientist trains on. `tasks` maps a task to the column of its labels."""

    file_name: str
    content: str
    text_column: str
    tasks: Mapping[str, str]
    note: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """One tenant's story: its past comes in, models are trained on it, then the new arrives."""

    tenant_id: str
    name: str
    config: Mapping[str, Any]
    history: tuple[Delivery, ...]
    labelled: LabelledTexts | None
    arrivals: tuple[Delivery, ...]


_SYNTHETIC = "Bundled synthetic corpus (pqrs_es): figures do not speak of real requests."


def bundled() -> tuple[Scenario, ...]:
    """Return the two tenants of the bundled corpus: one delivers events, one plain texts."""
    return (_of(ALCALDIA, _events), _of(SERVICIOS, _texts))


def _of(tenant: DemoTenant, deliver: Callable[[DemoTenant, Part], Delivery]) -> Scenario:
    return Scenario(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        config=default_config(),
        history=(deliver(tenant, Part.HISTORY),),
        labelled=LabelledTexts(
            "historia_etiquetada.jsonl",
            labelled_history(),
            "texto",
            {"tipo": "tipo", "prioridad": "prioridad"},
            _SYNTHETIC,
        ),
        arrivals=(deliver(tenant, Part.WEEK),),
    )


def _events(tenant: DemoTenant, part: Part) -> Delivery:
    return Delivery(f"{part}.jsonl", as_events(tenant, part), tenant.source)


def _texts(tenant: DemoTenant, part: Part) -> Delivery:
    return Delivery(f"{part}.csv", as_texts(tenant, part), tenant.source, TEXT_COLUMNS)
