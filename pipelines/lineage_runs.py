"""The coarse lineage: of one run, which tables and versions went in, which came out, and by what.

Derived from the plan and the manifest that the log of runs keeps: nothing is stored twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.contract import Contract
from contracts.tables import LABELS, SILVER
from lakehouse.control.runs import RunRecord
from lakehouse.data.tables import TableStore
from pipelines.dataflow import FLOWS, RAW, StepFlow
from pipelines.plan import REENRICH_KIND, RUN_KIND
from pipelines.run import GOLD_KIND, Step

Versions = Mapping[str, int | None]
"""A version a table, None where the table was not there."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One step of a run took rows from `source` to `target`; versions where they are known."""

    step: str
    source: str
    source_version: int | None
    target: str
    target_version: int | None


@dataclass(frozen=True, slots=True)
class RunLineage:
    """A run between its inputs and its outputs. `pins` are exact models, prompts and the bundle."""

    run_id: str
    kind: str
    status: str
    code_version: str
    files: tuple[Mapping[str, Any], ...]
    edges: tuple[Edge, ...]
    pins: Mapping[str, str]
    counts: Mapping[str, int]


_LEAVE_SILVER = (RUN_KIND, REENRICH_KIND)
"""Kinds of runs whose Gold is of Silver as they left it themselves."""


def counted_from(record: RunRecord, store: TableStore) -> Versions:
    """Return the versions of Silver that a run's Gold was counted from.

    A run reads Silver as it left it itself, and labels as they were planned; one that only counts
    reads what its plan names, else its inputs. An open one has nothing behind it but the heads.
    """
    planned: Versions = record.plan.get("versions", {})
    if record.kind == GOLD_KIND:
        return planned
    labels = {str(LABELS.table): planned.get(str(LABELS.table))}
    own = labels if record.kind == RUN_KIND else {}
    if record.manifest is not None:
        left = record.manifest["outputs" if record.kind in _LEAVE_SILVER else "inputs"]
        return {**left, **own}
    heads = {c: store.head(c.table, record.run.tenant) for c in SILVER}
    versions = {str(c.table): None if head is None else head.version for c, head in heads.items()}
    return {**versions, **own}


def asked_about(record: RunRecord, store: TableStore) -> Versions:
    """Return the versions of Silver whose texts a run's models read; reenriching reads the past."""
    if record.kind == REENRICH_KIND:
        versions: Versions = record.plan["versions"]
        return versions
    return counted_from(record, store)


def run_lineage(record: RunRecord) -> RunLineage:
    """Read a run's edges from what the log keeps of it; none where it is no run of these steps."""
    manifest = record.manifest or {}
    return RunLineage(
        run_id=record.run.run_id,
        kind=record.kind,
        status=record.status.value,
        code_version=record.run.code_version,
        files=tuple(manifest.get("files", ())),
        edges=tuple(_edges(record)),
        pins=manifest.get("pins", {}),
        counts=manifest.get("counts", {}),
    )


def _steps(record: RunRecord) -> tuple[str, ...]:
    if record.kind == RUN_KIND:
        return tuple(step.value for step in Step)
    if record.kind == GOLD_KIND:
        return (Step.GOLD.value,)
    backfilled = str(record.plan.get("layer"))
    if backfilled not in FLOWS:
        return ()
    answers = (Step.EMBEDDINGS.value, Step.ENTITIES.value, Step.CLASSIFICATIONS.value)
    asked = answers if record.plan.get("bundle") else ()
    return (backfilled, *asked)


def _edges(record: RunRecord) -> Iterator[Edge]:
    for step in _steps(record):
        flow = FLOWS[step]
        for target in flow.writes:
            for source in _sources(flow, target):
                yield _edge(record, step, source, str(target.table))


def _sources(flow: StepFlow, target: Contract) -> Iterator[str]:
    if flow.raw:
        yield RAW
    for contract in flow.sources(target):
        yield str(contract.table)


def _edge(record: RunRecord, step: str, source: str, target: str) -> Edge:
    manifest = record.manifest or {}
    read, wrote = manifest.get("inputs", {}), manifest.get("outputs", {})
    outside = record.kind != RUN_KIND or source == str(LABELS.table)
    return Edge(step, source, (read if outside else wrote).get(source), target, wrote.get(target))
