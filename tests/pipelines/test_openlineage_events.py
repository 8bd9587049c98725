"""Events of real runs with quick models: kept in a file, sent to a server, never in the way."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from uuid import UUID, uuid4

import pyarrow as pa
import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.serde import Serde

from contracts.tables import EMBEDDINGS, GOLD, KPI_VOLUME_DAILY, TICKETS
from lakehouse.control.tenants import TenantDirectory
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.dataflow import FLOWS, StepFlow
from pipelines.ingest import RawStore, ingest
from pipelines.openlineage_events import EventPorts, OpenLineageEvents, Served, open_events
from pipelines.run import RunPorts, Step, run_tenant
from pipelines.run_events import Deferred, Silent
from pipelines.source_files import SourceFile

WORDS = "Cobro repetido en la factura"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE_DISABLED"):
        monkeypatch.delenv(name, raising=False)


SERVED = Served.at("postgresql://ana:secreto@db.example:5433/plata")


def event_ports(ports: RunPorts) -> EventPorts:
    return EventPorts(ports.store, ports.landings, ports.log, SERVED)


class Town:
    """A tenant with a file that waits, and what one run of it told."""

    def __init__(self, killable: ModuleType, url: str, folder: Path) -> None:
        self.killable, self.folder = killable, folder
        self.tenant = TenantContext.parse(f"o{uuid4().hex[:10]}")
        self.ports: RunPorts = killable.ports_at(url, folder / "lake")
        TenantDirectory(self.ports.postgres).create(self.tenant, name="Eventos")
        killable.promote_aliases(self.tenant, killable.tasks(), self.ports)
        lines = [killable.created("o1"), killable.said("o1", WORDS), "no es JSON"]
        raw = RawStore(self.ports.files, self.ports.landings)
        file = SourceFile.find(killable.write_lines(folder / "a.jsonl", lines))
        ingest(file, self.tenant, source="sim", mapping=None, raw=raw, at=killable.FIRST)

    def events_to(self, *, send: bool) -> OpenLineageEvents:
        folder, ports = self.folder / "openlineage", event_ports(self.ports)
        self.events = OpenLineageEvents(str(self.folder / "lake"), folder, ports, send=send)
        return self.events

    def run(self, events: Any) -> None:
        ports = replace(self.ports, events=events)
        assert (
            run_tenant(self.tenant, self.killable.tasks(), ports, at=self.killable.FIRST)
            is not None
        )

    def kept(self) -> list[dict[str, Any]]:
        """The events of the one run that was told of."""
        self.events.flush(30)
        (file,) = set(self._folder().iterdir()) - {self._datasets()}
        return self._read(file)

    def datasets(self) -> dict[str, dict[str, Any]]:
        """What was told of each dataset, by name; nothing is told twice."""
        self.events.flush(30)
        told = [event["dataset"] for event in self._read(self._datasets())]
        assert len({dataset["name"] for dataset in told}) == len(told)
        return {dataset["name"]: dataset for dataset in told}

    def _folder(self) -> Path:
        return self.folder / "openlineage" / self.tenant.tenant_id

    def _datasets(self) -> Path:
        return self._folder() / "datasets.jsonl.gz"

    def _read(self, file: Path) -> list[dict[str, Any]]:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


@pytest.fixture
def town(killable: ModuleType, postgres_url: str, tmp_path: Path) -> Town:
    return Town(killable, postgres_url, tmp_path)


def test_every_step_starts_and_completes_under_one_parent_with_exact_versions(town: Town) -> None:
    town.run(town.events_to(send=False))
    events = town.kept()
    told = [(event["job"]["name"], event["eventType"]) for event in events]
    for step in Step:
        name = f"raw-to-gold.{step.value}"
        assert told.index((name, "START")) < told.index((name, "COMPLETE"))
    assert {event["job"]["namespace"] for event in events} == {
        f"file://{town.folder}/lake/{town.tenant.tenant_id}"
    }
    assert len({event["run"]["facets"]["parent"]["run"]["runId"] for event in events}) == 1

    gold = end_of("gold", events)
    tickets = dataset(gold["inputs"], "silver/tickets")
    head = town.ports.store.head(TICKETS.table, town.tenant)
    assert head is not None
    assert tickets["facets"]["version"]["datasetVersion"] == str(head.version)
    raw = dataset(end_of("bronze", events)["inputs"], "raw/pqrs")
    assert raw["inputFacets"]["inputStatistics"]["rowCount"] == 3


def test_served_gold_is_told_beside_the_lakes_by_its_address_without_who_logs_in(
    town: Town,
) -> None:
    town.run(town.events_to(send=False))
    gold = end_of("gold", town.kept())
    served = dataset(gold["outputs"], "plata.gold.kpi_volume_daily")
    assert served["namespace"] == "postgres://db.example:5433"
    assert "secreto" not in json.dumps(gold)
    assert len(gold["outputs"]) == 2 * len(GOLD)


def test_what_a_table_is_and_is_made_of_is_told_once_for_all_runs(town: Town) -> None:
    town.run(town.events_to(send=False))
    told = town.datasets()
    named = [field["name"] for field in told["silver/tickets"]["facets"]["schema"]["fields"]]
    assert named == TICKETS.schema.names
    columns = told["gold/kpi_volume_daily"]["facets"]["columnLineage"]["fields"]
    assert {source["name"] for source in columns["pqrs_type"]["inputFields"]} == {
        "silver/labels",
        "silver/classifications",
        "silver/tickets",
    }
    assert set(columns) <= set(KPI_VOLUME_DAILY.schema.names)
    for step in ("silver", "gold"):
        for each in end_of(step, town.kept())["outputs"]:
            assert set(each.get("facets", ())) <= {"version"}
    second = RunContext.begin(town.tenant, kind="run", at=town.killable.SECOND)
    events = town.events_to(send=False)
    with events.step(second, "silver"):
        pass
    assert town.datasets() == told


def test_a_table_whose_shape_changed_is_told_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = town.events_to(send=False)
    run = RunContext.begin(town.tenant, kind="run", at=town.killable.FIRST)
    with events.step(run, "embeddings"):
        pass
    assert list(town.datasets()) == ["silver/embeddings"]
    wider = replace(EMBEDDINGS, schema=EMBEDDINGS.schema.append(pa.field("x", pa.string())))
    flow = replace(FLOWS["embeddings"], writes=(wider,))
    monkeypatch.setitem(cast(dict[str, StepFlow], FLOWS), "embeddings", flow)
    with events.step(run, "embeddings"):
        pass
    assert events.flush(30)
    with gzip.open(town._datasets(), "rt", encoding="utf-8") as lines:
        assert len(list(lines)) == 2


def test_checks_are_told_with_what_was_found(town: Town) -> None:
    town.run(town.events_to(send=False))
    checks = end_of("bronze.checks", town.kept())
    quarantine = dataset(checks["inputs"], "bronze/quarantine")
    told = quarantine["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert any(not check["success"] and check["severity"] == "warn" for check in told)


def test_events_keep_the_librarys_own_model_and_hold_no_citizens_text(town: Town) -> None:
    town.run(town.events_to(send=False))
    for event in town.kept():
        assert WORDS not in json.dumps(event, ensure_ascii=False)
        assert Serde.to_dict(read_back(event)) == event


def test_an_endpoint_receives_what_the_file_keeps(
    town: Town, monkeypatch: pytest.MonkeyPatch, server: Listener
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", server.url)
    events = town.events_to(send=True)
    town.run(events)
    assert events.flush(10)
    ran = [event for event in server.received if "run" in event]
    assert {key(event) for event in ran} == {key(event) for event in town.kept()}
    described = {event["dataset"]["name"] for event in server.received if "dataset" in event}
    assert described == set(town.datasets())
    assert {event["producer"] for event in server.received} == {town.kept()[0]["producer"]}


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no es una dirección"])
def test_an_endpoint_that_is_down_or_nonsense_costs_a_run_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", url)
    events = town.events_to(send=True)
    town.run(events)
    assert end_of("gold", town.kept())
    began = time.monotonic()
    assert not events.flush(0.2)
    assert time.monotonic() - began < 1


def test_a_server_that_never_answers_does_not_hold_a_step(
    town: Town, monkeypatch: pytest.MonkeyPatch, server: Listener
) -> None:
    server.hold.clear()
    monkeypatch.setenv("OPENLINEAGE_URL", server.url)
    events = town.events_to(send=True)
    run = RunContext.begin(town.tenant, kind="run", at=town.killable.SECOND)
    began = time.monotonic()
    with events.step(run, "gold"):
        pass
    assert time.monotonic() - began < 3
    assert len(town.kept()) == 2
    server.hold.set()


def test_a_step_that_fails_is_told_as_failed_and_its_error_goes_on(town: Town) -> None:
    events = town.events_to(send=False)
    run = RunContext.begin(town.tenant, kind="run", at=town.killable.FIRST)
    with pytest.raises(ValueError, match="una fila"), events.step(run, "silver"):
        raise ValueError("una fila de un ciudadano")
    last = town.kept()[-1]
    assert last["eventType"] == "FAIL"
    assert last["run"]["facets"]["errorMessage"]["message"] == "ValueError"


def test_a_folder_that_cannot_be_written_stops_no_run(town: Town) -> None:
    (town.folder / "openlineage").write_text("no es una carpeta", encoding="utf-8")
    town.run(town.events_to(send=False))


def test_events_are_opened_at_the_first_step_and_once(town: Town) -> None:
    opened: list[OpenLineageEvents] = []

    def open_once() -> OpenLineageEvents:
        opened.append(town.events_to(send=False))
        return opened[-1]

    events = Deferred(open_once)
    assert opened == []
    run = RunContext.begin(town.tenant, kind="run", at=town.killable.FIRST)
    for step in ("silver", "gold"):
        with events.step(run, step):
            pass
    assert len(opened) == 1
    assert len(town.kept()) == 4


def test_nothing_is_told_where_it_is_disabled(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = event_ports(town.ports)
    assert isinstance(open_events("/lake", town.folder, ports), OpenLineageEvents)
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert isinstance(open_events("/lake", town.folder, ports), Silent)


class Listener:
    """A small HTTP server that takes events; holds its answers while `hold` is clear."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.hold.wait(20)
                listener.received.append(json.loads(body))
                self.send_response(201)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.hold.set()
    listener.server.shutdown()


def end_of(step: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    """The COMPLETE event of a step."""
    name = f"raw-to-gold.{step}"
    (found,) = [e for e in events if (e["job"]["name"], e["eventType"]) == (name, "COMPLETE")]
    return found


def dataset(datasets: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [each for each in datasets if each["name"] == name]
    return found


def key(event: dict[str, Any]) -> tuple[str, str, str]:
    return event["run"]["runId"], event["eventType"], event["eventTime"]


def read_back(event: dict[str, Any]) -> RunEvent:
    """Make the library's own event of what was kept: it refuses what is not one."""
    UUID(event["run"]["runId"])
    return RunEvent(
        eventTime=event["eventTime"],
        eventType=RunState(event["eventType"]),
        run=Run(**event["run"]),
        job=Job(**event["job"]),
        inputs=[InputDataset(**each) for each in event["inputs"]],
        outputs=[OutputDataset(**each) for each in event["outputs"]],
        producer=event["producer"],
    )
