"""Lineage is stored compactly: what it adds, in bytes, against Silver, on a simulated tenant."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
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
from lakehouse.tenancy import TenantContext
from pipelines.ingest import RawStore, ingest
from pipelines.lineage import Question, explain
from pipelines.lineage_walk import LineagePorts
from pipelines.openlineage_events import EventPorts, OpenLineageEvents
from pipelines.run import RunPorts, run_tenant
from pipelines.simulator.config import read_simulation
from pipelines.simulator.stream import simulate
from pipelines.source_files import SourceFile

AT = datetime(2026, 3, 1, tzinfo=UTC)
ALLOWED_SHARE = 0.15

OF_MODELS = ["bundle_id", "model_name", "model_version", "prompt_name", "prompt_version"]
LINKS = {PQRS_EVENTS: ["raw_file", "raw_line"], TICKETS: ["event_id"]}
"""Columns that are there for lineage alone. In the other tables of Silver `event_id` is the key."""


@dataclass(frozen=True)
class Simulated:
    """A tenant with a fortnight of simulated requests, taken to Gold in one run."""

    tenant: TenantContext
    ports: RunPorts
    folder: Path

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


@pytest.fixture(scope="module")
def city(
    killable: ModuleType, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Simulated:
    folder = tmp_path_factory.mktemp("ciudad")
    tenant = TenantContext.parse(f"s{uuid4().hex[:10]}")
    ports: RunPorts = killable.ports_at(postgres_url, folder / "lake")
    TenantDirectory(ports.postgres).create(tenant, name="Ciudad")
    lines = folder / "events.jsonl"
    with lines.open("wb") as sink:
        for block in simulate(read_simulation(None, {"events": 25_000})):
            sink.write(block.lines)
    raw = RawStore(ports.files, ports.landings)
    ingest(SourceFile.find(lines), tenant, source="sim", mapping=None, raw=raw, at=AT)
    told = EventPorts(ports.store, ports.landings, ports.log)
    events = OpenLineageEvents(str(folder / "lake"), folder / "openlineage", told, send=False)
    run_tenant(tenant, killable.tasks(), replace(ports, events=events), at=AT)
    return Simulated(tenant, ports, folder)


def test_lineage_adds_less_than_its_share_of_silver(city: Simulated) -> None:
    every = [contract for contract in SILVER if city.size(contract)]
    silver = sum(city.size(contract) for contract in every)
    in_rows = sum(city.size(contract, ["run_id", *OF_MODELS]) for contract in every)
    in_rows += city.size(PQRS_EVENTS, ["run_id"])
    in_rows += sum(city.size(contract, columns) for contract, columns in LINKS.items())
    (record,) = city.ports.log.recent(city.tenant)
    accounts = len(json.dumps([record.plan, record.manifest], default=str))
    told = sum(file.stat().st_size for file in (city.folder / "openlineage").rglob("*.jsonl"))
    vectors = city.size(EMBEDDINGS)
    share = (in_rows + accounts + told) / silver
    # Vectors of these tests have 8 numbers, real ones 384: without them is the hardest measure.
    harder = (in_rows + accounts + told) / (silver - vectors)
    sys.stdout.write(
        f"\nlineage: rows {in_rows:,} B, run {accounts:,} B, events {told:,} B; Silver "
        f"{silver:,} B, of vectors {vectors:,} B; {share:.1%}, without vectors {harder:.1%}\n"
    )
    assert share <= harder < ALLOWED_SHARE


def test_numbers_of_a_simulated_city_lead_to_their_lines(city: Simulated) -> None:
    ports = city.ports
    reader = LineagePorts(ports.store, ports.files, ports.landings, ports.log, ports.postgres)
    rows = ports.store.scan(KPI_VOLUME_DAILY.table, city.tenant)
    assert rows is not None
    days = sorted(set(rows["day"].to_pylist()))
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
    assert timedelta(days=0) < days[-1] - days[0]
