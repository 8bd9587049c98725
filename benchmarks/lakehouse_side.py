"""Plata's side of the lakehouse benchmark, in a process of its own: its memory is then its own.

    python -m benchmarks.lakehouse_side EVENTS.jsonl FOLDER POSTGRES_URL

The real steps through the functions of `pipelines.run`: what is left out are the models, so no
MLflow, no Dask and no vectors are needed. A tenant of its own, so every table begins empty.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from uuid import uuid4

from benchmarks.memory import own_peak
from contracts.tables import KPI_VOLUME_DAILY
from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, QUERY_TEMPLATE, embed_step
from features.pgvector_index import PgVectorIndex
from lakehouse.compute.memory import reuse_freed_memory
from lakehouse.control.landings import LandingIndex
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.tenancy import TenantContext
from models.steps import classify_step
from pipelines.bundles import bundle_of_aliases
from pipelines.enrich import ModelSteps
from pipelines.ingest import RawStore, ingest
from pipelines.plan import RUN_KIND
from pipelines.promotion import Decision, promote_bundle
from pipelines.run import RunPorts, Step, close_run, execute, open_run
from pipelines.source_files import SourceFile
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage

WARM_UP_LINES = 200
STEPS = (Step.BRONZE, Step.SILVER, Step.CLASSIFICATIONS, Step.GOLD)
"""With no task to answer, the classifications only judge and publish what Silver staged."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a run took, step by step, and how many rows it left in each table."""

    seconds: Mapping[str, float]
    counts: Mapping[str, int]


class Side:
    """A lake in a folder, over the Postgres of the benchmark."""

    def __init__(self, folder: Path, postgres_url: str) -> None:
        root = LakeRoot(str(folder / "lake"))
        postgres = Postgres(postgres_url)
        self._folder = folder
        self._tenants = TenantDirectory(postgres)
        registry = _registry(folder)
        self._bundle = bundle_of_aliases((), registry)
        self._ports = RunPorts(
            store=DeltaTableStore(root),
            files=FileStore(root),
            landings=LandingIndex(postgres),
            log=RunLog(postgres),
            registry=registry,
            index=PgVectorIndex(postgres),
            postgres=postgres,
            models=ModelSteps(embed=embed_step, classify=classify_step),
        )

    def run(self, events: Path) -> Done:
        """Take a file to Gold for a new tenant."""
        tenant = TenantContext.parse(f"b{uuid4().hex[:10]}")
        self._tenants.create(tenant, name="Banco de pruebas")
        first = Decision("banco", "the first")
        promote_bundle(tenant, self._bundle, first, self._ports.promotion)
        ports, began = self._ports, time.perf_counter()
        raw = RawStore(ports.files, ports.landings)
        file, at = SourceFile.find(events), datetime.now(UTC)
        ingest(file, tenant, source="simulador", mapping=None, raw=raw, at=at)
        ingested = time.perf_counter()
        with ports.log.exclusive(tenant, RUN_KIND):
            planned = open_run(tenant, (), ports, at=datetime.now(UTC))
            assert planned is not None, "a file that has just landed waits"
            opened = time.perf_counter()
            seconds = execute(planned, ports, steps=STEPS)
            executed = time.perf_counter()
            manifest, _ = close_run(planned, ports, seconds=seconds)
        assert manifest.counts[str(KPI_VOLUME_DAILY.table)], "Gold counted the tickets"
        closing = time.perf_counter() - executed
        took = {
            "ingest": ingested - began,
            "bronze": seconds[Step.BRONZE],
            "silver": seconds[Step.SILVER] + seconds[Step.CLASSIFICATIONS],
            "gold": seconds[Step.GOLD],
            "plan, manifest": opened - ingested + closing,
        }
        return Done(took, manifest.counts)

    def warm_up(self, events: Path) -> None:
        """Take a few lines all the way first, so that nothing is loaded on the clock."""
        few = self._folder / "calentamiento.jsonl"
        with events.open("rb") as lines:
            few.write_bytes(b"".join(islice(lines, WARM_UP_LINES)))
        self.run(few)


def _registry(folder: Path) -> MemoryRegistry:
    """Return a registry with what every plan names, though no step of this run asks it."""
    registry = MemoryRegistry()
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}", encoding="utf-8")
    package = ModelPackage(EMBEDDING_MODEL, model, family="none", card="Not used.")
    registry.promote_model(EMBEDDING_MODEL, registry.register_model(package).version)
    prompt = registry.register_prompt(QUERY_PROMPT, QUERY_TEMPLATE, note="")
    registry.promote_prompt(QUERY_PROMPT, prompt.version)
    return registry


def main(arguments: list[str]) -> None:
    """Run one file; print what it took."""
    events, folder, postgres_url = arguments
    reuse_freed_memory()
    side = Side(Path(folder), postgres_url)
    side.warm_up(Path(events))
    began = time.process_time()
    seconds = side.run(Path(events)).seconds
    spent = time.process_time() - began
    print(json.dumps({"seconds": seconds, "cpu": spent, "memory": own_peak()}))


if __name__ == "__main__":
    main(sys.argv[1:])
