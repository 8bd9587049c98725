"""Lineage is stored compactly: what it adds, in bytes, against Silver, on simulated tenants.

`pytest -s` prints what was measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from contracts.contract import Contract
from contracts.tables import EMBEDDINGS, KPI_VOLUME_DAILY, PQRS_EVENTS, SILVER, TICKETS
from lakehouse.control.tenants import TenantDirectory
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.ingest import RawStore, ingest
from pipelines.lineage import Question, explain
from pipelines.lineage_walk import LineagePorts
from pipelines.openlineage_events import EventPorts, OpenLineageEvents, Served
from pipelines.run import RunPorts, run_tenant
from pipelines.simulator.config import read_simulation
from pipelines.simulator.stream import simulate
from pipelines.source_files import SourceFile

AT = datetime(2026, 3, 1, tzinfo=UTC)
ALLOWED_SHARE = 0.15

OF_MODELS = ["bundle_id", "model_name", "model_version", "prompt_name", "prompt_version"]
LINKS = {PQRS_EVENTS: ["raw_file", "raw_line"], TICKETS: ["event_id"]}
"""Columns that are there for lineage alone. In the other tables of Silver `event_id` is the key."""


class Timed:
    """`RunEvents` that measure how long a run waits for others."""

    def __init__(self, events: OpenLineageEvents) -> None:
        self._events, self.seconds = events, 0.0

    @contextmanager
    def step(self, run: RunContext, step: str) -> Iterator[None]:
        told = self._events.step(run, step)
        with self._clock():
            told.__enter__()
        try:
            yield
        finally:
            with self._clock():
                told.__exit__(*sys.exc_info())

    @contextmanager
    def _clock(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began


@dataclass(frozen=True)
class Simulated:
    """A tenant with simulated requests, taken to Gold in one run; `waited` is for its events."""

    tenant: TenantContext
    ports: RunPorts
    folder: Path
    events: int
    waited: float

    def size(self, contract: Contract, columns: Sequence[str] | None = None) -> int:
        """Bytes of a table's live files as they are compressed, of some columns or of all."""
        total = 0
        for file in self._files(contract):
            metadata = pq.ParquetFile(file).metadata
            for group in range(metadata.num_row_groups):
                for number in range(metadata.num_columns):
                    column = metadata.row_group(group).column(number)
                    if columns is None or column.path_in_schema in columns:
                        total += column.total_compressed_size
        return total

    def _files(self, contract: Contract) -> Iterator[Path]:
        ref = contract.table
        place = self.folder / "lake" / self.tenant.tenant_id / ref.layer / ref.entity
        if place.exists():
            for uri in DeltaTable(str(place)).file_uris():
                yield Path(unquote(uri.removeprefix("file://")))


@pytest.fixture(scope="module", params=[3_500, 25_000], ids=["500 tickets", "3500 tickets"])
def city(
    request: pytest.FixtureRequest,
    killable: ModuleType,
    postgres_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Simulated:
    folder = tmp_path_factory.mktemp("ciudad")
    tenant = TenantContext.parse(f"s{uuid4().hex[:10]}")
    ports: RunPorts = killable.ports_at(postgres_url, folder / "lake")
    TenantDirectory(ports.postgres).create(tenant, name="Ciudad")
    killable.promote_aliases(tenant, killable.tasks(), ports)
    lines = folder / "events.jsonl"
    with lines.open("wb") as sink:
        for block in simulate(read_simulation(None, {"events": request.param})):
            sink.write(block.lines)
    raw = RawStore(ports.files, ports.landings)
    ingest(SourceFile.find(lines), tenant, source="sim", mapping=None, raw=raw, at=AT)
    told = EventPorts(ports.store, ports.landings, ports.log, Served.at(postgres_url))
    events = OpenLineageEvents(str(folder / "lake"), folder / "openlineage", told, send=False)
    timed = Timed(events)
    run_tenant(tenant, killable.tasks(), replace(ports, events=timed), at=AT)
    assert events.flush(60)
    return Simulated(tenant, ports, folder, request.param, timed.seconds)


def test_lineage_adds_less_than_its_share_of_silver(city: Simulated) -> None:
    every = [contract for contract in SILVER if city.size(contract)]
    silver = sum(city.size(contract) for contract in every)
    in_rows = sum(city.size(contract, ["run_id", *OF_MODELS]) for contract in every)
    in_rows += city.size(PQRS_EVENTS, ["run_id"])
    in_rows += sum(city.size(contract, columns) for contract, columns in LINKS.items())
    (record,) = city.ports.log.recent(city.tenant)
    accounts = len(json.dumps([record.plan, record.manifest], default=str))
    told = sum(file.stat().st_size for file in (city.folder / "openlineage").rglob("*.jsonl.gz"))
    vectors = city.size(EMBEDDINGS)
    share = (in_rows + accounts + told) / silver
    # Vectors of these tests have 8 numbers, real ones 384: without them is the hardest measure.
    harder = (in_rows + accounts + told) / (silver - vectors)
    sys.stdout.write(
        f"\nlineage of {city.events:,} events: rows {in_rows:,} B, run {accounts:,} B, events "
        f"{told:,} B; Silver {silver:,} B, of vectors {vectors:,} B; {share:.1%}, "
        f"without vectors {harder:.1%}; the run waited {city.waited:.2f} s for its events\n"
    )
    assert share <= harder < ALLOWED_SHARE


def test_numbers_of_a_simulated_city_lead_to_their_lines(city: Simulated) -> None:
    ports = city.ports
    reader = LineagePorts(ports.store, ports.files, ports.landings, ports.log, ports.postgres)
    rows = ports.store.scan(KPI_VOLUME_DAILY.table, city.tenant)
    assert rows is not None
    days = sorted(set(rows["day"].to_pylist()))
    assert days
    content: dict[str, list[str]] = {}
    for day in days[:: max(1, len(days) // 3)]:
        found = explain(Question("kpi_volume_daily", day), city.tenant, reader)
        for trace in found.tickets.values():
            created = [event for event in trace.events if event.event_type == "TICKET_CREATED"]
            assert len(created) == 1
            for event in trace.events:
                assert event.raw is not None
                if event.raw.address not in content:
                    content[event.raw.address] = Path(event.raw.address).read_text().splitlines()
                line = json.loads(content[event.raw.address][event.raw.line - 1])
                assert (line["event_id"], line["ticket_id"]) == (event.event_id, trace.ticket_id)
        assert sum(number.value for number in found.numbers) == len(found.tickets)
