"""Register the rules that find entities: words and places that anyone can read and change."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lakehouse.tenancy import TenantContext
from models.entities import GRAMMAR, default_entities, save_entities
from models.folder import ENTITIES
from models.task import EntityTask
from registry.bundles import Bundle, EntityPins
from registry.errors import UnknownAliasError
from registry.refs import ModelPackage, ModelRef, Registry, text_digest


def register_entities(registry: Registry, tenant: TenantContext, task: EntityTask) -> ModelRef:
    """Give a task its rules; those that answer it stay as they are, whoever wrote them."""
    try:
        return registry.resolve_model(task.model)
    except UnknownAliasError:
        words, places = default_entities()
        made = _registered(registry, tenant, task, words, places)
        return registry.promote_model(made.name, made.version)


def with_entities(bundle: Bundle, tasks: Sequence[EntityTask], registry: Registry) -> Bundle:
    """Return the bundle with the entities a configuration wants found.

    A task the bundle knows keeps its version; a new one is answered by what its alias means.
    """
    known = {(pins.task, pins.model.name): pins.model for pins in bundle.entities}
    pins = (
        EntityPins(
            task.name,
            task.kinds,
            known.get((task.name, task.model)) or registry.resolve_model(task.model),
        )
        for task in tasks
    )
    return replace(bundle, entities=tuple(pins))


def _registered(
    registry: Registry, tenant: TenantContext, task: EntityTask, words: str, places: str
) -> ModelRef:
    with tempfile.TemporaryDirectory(prefix="plata-entities-") as made:
        folder = Path(made)
        save_entities(words, places, folder)
        return registry.register_model(
            ModelPackage(
                name=task.model,
                folder=folder,
                family=ENTITIES,
                card=_card(tenant, task),
                parameters={"family": ENTITIES, "grammar": str(GRAMMAR)},
                data={
                    "name": "entities.yaml, places.csv",
                    "digest": hashlib.sha256((words + places).encode()).hexdigest(),
                    "rows": "0",
                    "words": text_digest(words)[:12],
                    "places": text_digest(places)[:12],
                    "note": "nothing was trained: words and official codes are all there is",
                },
                example={"text": "Pagué $ 50.000 el 3 de mayo de 2025 en Neiva."},
                note=f"rules, grammar {GRAMMAR}",
            )
        )


def _card(tenant: TenantContext, task: EntityTask) -> str:
    return (
        f"# {task.model}: entities by rules\n\n"
        f"Finds what texts of tenant `{tenant.tenant_id}` name: {', '.join(task.kinds)}. Dates, "
        "amounts and case numbers by how they are written, municipalities and departments by "
        "their DIVIPOLA names, organisations and smaller places by the words around them.\n\n"
        "## Data\n\nNothing was trained. The words are in `plata/entities.yaml`, the places, "
        "official codes of DANE, in `plata/places.csv`; how they combine is the code's grammar "
        f"{GRAMMAR}.\n\n"
        "## How it did\n\nOn the bundled corpus, which is synthetic: see `docs/models.md`, and "
        "`python -m benchmarks.entities` for the figures of the code at hand.\n\n"
        "## Limits\n\n- Scores rank patterns by how sure they are; they are no probabilities.\n"
        "- Spanish as it is written in Colombia. Names written small, or in a text all in "
        "capitals, are mostly missed.\n"
        "- People's names and identity numbers are not looked for.\n"
    )
