"""One side of the Bronze benchmark, in a process of its own: a JSONL file to Parquet, once.

    python -m benchmarks.bronze_sides plata eventos.jsonl folder

Prints one JSON object: seconds by the clock and of processor, and the most memory held, in MB, of
which so much was held before the clock started.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

CORES = 2
Side = Callable[[Path, Path], None]


def plata() -> Side:
    """Validated, with quarantine, places, hashes, duplicates, published to a Delta table."""
    import pandas as pd  # noqa: F401 - pyarrow imports it where it first meets a numpy array
    import pyarrow as pa

    from contracts.tables import PQRS_EVENTS, QUARANTINE
    from lakehouse.compute.memory import reuse_freed_memory
    from lakehouse.control.landings import Landing
    from lakehouse.data.delta import DeltaTableStore
    from lakehouse.data.storage import FileStore, LakeRoot
    from lakehouse.run import RunContext, RunId
    from lakehouse.tenancy import TenantContext
    from pipelines.bronze import stage_landings
    from pipelines.steps import publish, unobserved

    pa.set_cpu_count(CORES)
    reuse_freed_memory()
    at = datetime(2026, 6, 1, tzinfo=UTC)
    run = RunContext(RunId("run-bench"), TenantContext.parse("banco"), at)

    def take(file: Path, folder: Path) -> None:
        root = LakeRoot(str(folder))
        store, files = DeltaTableStore(root), FileStore(root)
        landed = hashlib.file_digest(file.open("rb"), "sha256").hexdigest()
        landing = Landing("bench", landed, RunId("ingest-bench"), "raw.jsonl", "", at, landed, 1)
        begun = time.perf_counter(), time.process_time()
        stage_landings(run, [landing], store=store, files=files, at=None, on_step=unobserved)
        for contract in (QUARANTINE, PQRS_EVENTS):
            publish(store, contract, run, on_step=unobserved)
        _tell(begun)

    return take


def polars() -> Side:
    """Unvalidated: what a line says is what the Parquet file says."""
    os.environ["POLARS_MAX_THREADS"] = str(CORES)
    import polars as pl

    return _timed(
        lambda file, folder: pl.scan_ndjson(file).sink_parquet(
            folder / "p.parquet", compression="zstd"
        )
    )


def pandas() -> Side:
    """Unvalidated, all in memory at once."""
    import pandas as pd

    return _timed(
        lambda file, folder: pd.read_json(file, lines=True).to_parquet(
            folder / "p.parquet", compression="zstd"
        )
    )


def pydantic() -> Side:
    """Validated line by line, as one would in an afternoon; broken lines are counted."""
    import polars as pl
    from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

    states = Literal["RECEIVED", "RADICATED", "CLASSIFIED", "ASSIGNED", "IN_PROGRESS", "ON_HOLD"]
    later = Literal["RESPONDED", "CLOSED", "ARCHIVED", "REOPENED"]
    channel = Literal["email", "webform", "chat", "call", "other_digital"]
    filled = Annotated[str, Field(min_length=1)]

    class Created(BaseModel):
        external_id: filled
        source_channel: channel
        pqrs_type: Literal["P", "Q", "R", "S"] | None = None
        priority: Literal["alta", "media", "baja"] | None = None
        geo_region: str | None = None
        geo_municipio: str | None = None
        dane_city_code: str | None = None
        subject: str | None = None

    class Message(BaseModel):
        role: Literal["citizen", "agent"]
        text: filled
        text_len: int | None = None

    class Status(BaseModel):
        status_from: states | later
        status_to: states | later
        actor_role: Literal["system", "agent"] | None = None
        reason: str | None = None

    class Attached(BaseModel):
        file_type: filled
        size_kb: Annotated[float, Field(ge=0)]
        source_channel: channel | None = None

    class Head(BaseModel):
        event_id: UUID
        ticket_id: UUID
        ts: AwareDatetime
        tenant_id: str | None = None

    class CreatedEvent(Head):
        event_type: Literal["TICKET_CREATED"]
        data: Created

    class MessageEvent(Head):
        event_type: Literal["MESSAGE_ADDED"]
        data: Message

    class StatusEvent(Head):
        event_type: Literal["STATUS_CHANGED"]
        data: Status

    class AttachedEvent(Head):
        event_type: Literal["ATTACHMENT_ADDED"]
        data: Attached

    event: TypeAdapter[Any] = TypeAdapter(
        Annotated[
            CreatedEvent | MessageEvent | StatusEvent | AttachedEvent,
            Field(discriminator="event_type"),
        ]
    )

    def take(file: Path, folder: Path) -> None:
        rows, broken = [], 0
        with file.open("rb") as lines:
            for line in lines:
                try:
                    found = event.validate_json(line).model_dump(mode="json")
                except ValidationError:
                    broken += 1
                    continue
                rows.append({**found.pop("data"), **found})
        frame = pl.DataFrame(rows, infer_schema_length=None)
        frame.write_parquet(folder / "p.parquet", compression="zstd")

    return _timed(take)


SIDES: dict[str, Callable[[], Side]] = {
    "plata": plata,
    "polars": polars,
    "pandas": pandas,
    "pydantic": pydantic,
}


def _timed(take: Side) -> Side:
    def timed(file: Path, folder: Path) -> None:
        begun = time.perf_counter(), time.process_time()
        take(file, folder)
        _tell(begun)

    return timed


def _tell(begun: tuple[float, float]) -> None:
    took = time.perf_counter() - begun[0], time.process_time() - begun[1]
    print(json.dumps({"seconds": took[0], "cpu": took[1], "peak": _peak(), "before": BEFORE[0]}))


BEFORE = [0.0]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: list[str]) -> None:
    """Take the file, and print what it took."""
    name, file, folder = arguments
    take = SIDES[name]()
    BEFORE[0] = _peak()
    take(Path(file), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
