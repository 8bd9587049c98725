"""The door to OpenLineage: every step of a run as events other tools read.

Events are appended to a compressed file of the run, and sent on where the library is told of an
endpoint (`OPENLINEAGE_URL`, `OPENLINEAGE_CONFIG` or `OPENLINEAGE__TRANSPORT__…`). Both are done
aside: an endpoint that is down, slow or wrong costs a run nothing but the events it did not take.

What is the same in every run, a table's shape and what its columns are made of, is told once, as an
event of the dataset; the events of a run name the dataset and its exact version.
"""

from __future__ import annotations

import atexit
import gzip
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from openlineage.client.client import OpenLineageClient
from openlineage.client.event_v2 import (
    DatasetEvent,
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
    StaticDataset,
)
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    parent_run,
    processing_engine_run,
    schema_dataset,
    storage_dataset,
)
from openlineage.client.serde import Serde

from contracts.contract import Contract
from lakehouse.control.landings import LandingIndex
from lakehouse.control.runs import QualityResult, RunLog
from lakehouse.data.tables import Layer, TableStore
from lakehouse.errors import PlataError
from lakehouse.run import RunContext
from lakehouse.telemetry import run_logger
from pipelines.dataflow import COLUMNS, FLOWS, RAW, StepFlow
from pipelines.run_events import RunEvents, Silent

Versions = Mapping[Contract, int]
"""The version of each table that is there."""

Event = RunEvent | DatasetEvent

PRODUCER = "https://plata.example/pipelines/openlineage_events"
JOB = "raw-to-gold"
_ASKED = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
_WAITING_EVENTS = 1_000
_LAST_WORDS_SECONDS = 1.0
_PATIENCE = 3
_DATASETS = "datasets"
"""The file in which a tenant's datasets are told, beside those of its runs."""


@dataclass(frozen=True, slots=True)
class EventPorts:
    """What events are made of."""

    store: TableStore
    landings: LandingIndex
    log: RunLog
    served: Served


@dataclass(frozen=True, slots=True)
class Served:
    """The database that serves Gold, in OpenLineage's words."""

    namespace: str
    database: str

    @classmethod
    def at(cls, url: str) -> Served:
        """Name a database by its address; nothing of who logs in is told.

        >>> Served.at("postgresql://ana:secreto@127.0.0.1:5433/plata?sslmode=disable")
        Served(namespace='postgres://127.0.0.1:5433', database='plata')
        """
        parts = urlsplit(url)
        host = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
        return cls(f"postgres://{host}", parts.path.strip("/"))


def open_events(lake: str, folder: Path, ports: EventPorts) -> RunEvents:
    """Return what tells of runs, as the environment asks for it.

    Events are kept in `folder`, a file a run; nothing is kept or sent where `OPENLINEAGE_DISABLED`
    is true.
    """
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return Silent()
    send = any(name.startswith(_ASKED) for name in os.environ)
    return OpenLineageEvents(lake, folder, ports, send=send)


class OpenLineageEvents:
    """`RunEvents` as OpenLineage's: one job a step, datasets named by lake, tenant and table.

    A run waits only while exact versions are looked up; the rest is done by a thread, in order.
    """

    def __init__(self, lake: str, folder: Path, ports: EventPorts, *, send: bool) -> None:
        self._lake = lake if "://" in lake else f"file://{lake}"
        self._folder, self._ports = folder, ports
        self._sender = _Sender() if send else None
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="openlineage")
        self._left: Future[None] | None = None

    @contextmanager
    def step(self, run: RunContext, step: str) -> Iterator[None]:
        """Tell of START, then of COMPLETE or FAIL; see `RunEvents.step`."""
        flow = FLOWS[step]
        self._tell(run, lambda at: [self._event(run, step, RunState.START, at)])
        try:
            yield
        except BaseException as error:
            self._end(run, step, flow, RunState.FAIL, _told(error))
            raise
        self._end(run, step, flow, RunState.COMPLETE)

    def flush(self, seconds: float) -> bool:
        """Wait for what is to be kept and sent, about `seconds`; tell whether all was."""
        kept = self._left is None or bool(wait_for([self._left], seconds).done)
        return kept and (self._sender is None or self._sender.flush(seconds))

    def _end(
        self, run: RunContext, step: str, flow: StepFlow, end: RunState, error: str | None = None
    ) -> None:
        """Tell what a step read and wrote; then what was checked of it, as a job of its own."""
        versions = self._versions(run, flow)

        def events(at: datetime) -> list[Event]:
            inputs = self._inputs(run, flow, versions)
            outputs = self._outputs(run, flow, versions) if end is RunState.COMPLETE else []
            told = self._event(run, step, end, at, inputs, outputs, error)
            checked = self._checked(run, flow, versions)
            if not checked:
                return [told]
            checks = f"{step}.checks"
            began = self._event(run, checks, RunState.START, at)
            return [told, began, self._event(run, checks, end, at, checked)]

        self._tell(run, events)
        if end is RunState.COMPLETE:
            self._tell(run, lambda at: self._datasets(run, flow, at), file=_DATASETS)

    def _versions(self, run: RunContext, flow: StepFlow) -> Versions:
        """Look up what is there now: a later step may write more."""
        found = {}
        for table in dict.fromkeys([*flow.reads, *flow.writes]):
            try:
                head = self._ports.store.head(table.table, run.tenant)
            except Exception as error:  # noqa: BLE001 — events are told beside a run
                run_logger(run).warning("no version for OpenLineage", cause=repr(error))
                continue
            if head is not None:
                found[table] = head.version
        return found

    def _tell(
        self,
        run: RunContext,
        make: Callable[[datetime], Sequence[Event]],
        *,
        file: str | None = None,
    ) -> None:
        """Have events made, kept and sent aside; whatever is wrong with that stops no run."""
        at = datetime.now(UTC)

        def work() -> None:
            try:
                events = make(at)
                self._keep(run, events, file or run.run_id)
                for event in events:
                    if self._sender is not None:
                        self._sender.put(run, event)
            except Exception as error:  # noqa: BLE001 — events are told beside a run
                run_logger(run).warning("no event for OpenLineage", cause=repr(error))

        self._left = self._aside.submit(work)

    def _file(self, run: RunContext, name: str) -> Path:
        return self._folder / run.tenant.tenant_id / f"{name}.jsonl.gz"

    def _keep(self, run: RunContext, events: Sequence[Event], name: str) -> None:
        """Append events as one member of the file, in one write: a kill leaves none half told."""
        if not events:
            return
        file = self._file(run, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        compact = (",", ":")
        lines = [
            json.dumps(Serde.to_dict(event), ensure_ascii=False, separators=compact) + "\n"
            for event in events
        ]
        with file.open("ab", buffering=0) as sink:
            sink.write(gzip.compress("".join(lines).encode(), mtime=0))

    def _event(
        self,
        run: RunContext,
        job: str,
        state: RunState,
        at: datetime,
        inputs: Sequence[InputDataset] = (),
        outputs: Sequence[OutputDataset] = (),
        error: str | None = None,
    ) -> RunEvent:
        return RunEvent(
            eventTime=at.isoformat(),
            eventType=state,
            run=Run(_run_id(run, job), self._run_facets(run, error)),
            job=Job(self._namespace(run), f"{JOB}.{job}", {"jobType": _BATCH}),
            inputs=list(inputs),
            outputs=list(outputs),
            producer=PRODUCER,
        )

    def _namespace(self, run: RunContext) -> str:
        return f"{self._lake}/{run.tenant.tenant_id}"

    def _run_facets(self, run: RunContext, error: str | None) -> dict[str, RunFacet]:
        namespace = self._namespace(run)
        facets: dict[str, RunFacet] = {
            "parent": parent_run.ParentRunFacet(
                run=parent_run.Run(_run_id(run, JOB)), job=parent_run.Job(namespace, JOB)
            ),
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
                version=run.code_version, name="plata"
            ),
        }
        if error is not None:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(error, "python")
        return facets

    def _inputs(self, run: RunContext, flow: StepFlow, versions: Versions) -> list[InputDataset]:
        tables = [
            InputDataset(self._namespace(run), _name(table), facets=_version(table, versions))
            for table in flow.reads
        ]
        return [self._raw(run), *tables] if flow.raw else tables

    def _outputs(self, run: RunContext, flow: StepFlow, versions: Versions) -> list[OutputDataset]:
        lake = [
            OutputDataset(self._namespace(run), _name(table), facets=_version(table, versions))
            for table in flow.writes
        ]
        return [*lake, *(self._served(table) for table in flow.writes if _is_served(table))]

    def _served(self, table: Contract) -> OutputDataset:
        served = self._ports.served
        return OutputDataset(served.namespace, f"{served.database}.gold.{table.table.entity}")

    def _datasets(self, run: RunContext, flow: StepFlow, at: datetime) -> list[Event]:
        """Describe the tables a step writes that were not described so before."""
        file = self._file(run, _DATASETS)
        known = set()
        if file.exists():
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                known = {json.dumps(json.loads(line)["dataset"], sort_keys=True) for line in lines}
        found: list[Event] = []
        for table in flow.writes:
            facets = _shape(table)
            if table in COLUMNS:
                facets["columnLineage"] = self._columns(run, table)
            dataset = StaticDataset(self._namespace(run), _name(table), facets=facets)
            if json.dumps(Serde.to_dict(dataset), sort_keys=True) not in known:
                found.append(
                    DatasetEvent(eventTime=at.isoformat(), producer=PRODUCER, dataset=dataset)
                )
        return found

    def _raw(self, run: RunContext) -> InputDataset:
        record = self._ports.log.find(run.tenant, run.run_id)
        digests = [] if record is None else list(record.plan.get("landings", ()))
        landings = self._ports.landings.named(run.tenant, digests)
        read = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=sum(landing.events or 0 for landing in landings), fileCount=len(landings)
        )
        name = RAW.replace("_", "/", 1)
        return InputDataset(self._namespace(run), name, inputFacets={"inputStatistics": read})

    def _columns(
        self, run: RunContext, table: Contract
    ) -> column_lineage_dataset.ColumnLineageDatasetFacet:
        namespace = self._namespace(run)
        fields = {
            column: column_lineage_dataset.Fields(
                [
                    column_lineage_dataset.InputField(
                        namespace,
                        _name(source.table),
                        source.column,
                        [column_lineage_dataset.Transformation("DIRECT", source.how)],
                    )
                    for source in sources
                ]
            )
            for column, sources in COLUMNS[table].items()
        }
        return column_lineage_dataset.ColumnLineageDatasetFacet(fields)

    def _checked(self, run: RunContext, flow: StepFlow, versions: Versions) -> list[InputDataset]:
        results = self._ports.log.quality(run.tenant, run.run_id)
        found = []
        for table in flow.writes:
            ref = table.table
            mine = [r for r in results if (r.layer, r.table) == (ref.layer.value, ref.entity)]
            if mine:
                told = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
                    [_assertion(result) for result in mine]
                )
                found.append(
                    InputDataset(
                        self._namespace(run),
                        _name(table),
                        facets=_version(table, versions),
                        inputFacets={"dataQualityAssertions": told},
                    )
                )
        return found


class _Sender:
    """Sends events by the library's own transport from a thread that nobody waits for."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[RunContext, Event]] = queue.Queue(_WAITING_EVENTS)
        self._failures = 0
        threading.Thread(target=self._work, name="openlineage", daemon=True).start()
        atexit.register(self.flush, _LAST_WORDS_SECONDS)

    def put(self, run: RunContext, event: Event) -> None:
        """Leave an event to be sent; it is dropped where too many wait or the endpoint is down."""
        if self._failures < _PATIENCE and not self._waiting.full():
            self._waiting.put_nowait((run, event))

    def flush(self, seconds: float) -> bool:
        """Wait until all is sent, no longer than `seconds`; tell whether it was."""
        until = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and self._failures < _PATIENCE:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return self._failures == 0

    def _work(self) -> None:
        client: OpenLineageClient | None = None
        while True:
            run, event = self._waiting.get()
            try:
                client = client or OpenLineageClient()
                if self._failures < _PATIENCE:
                    client.emit(event)
                    self._failures = 0
            except Exception as error:  # noqa: BLE001 — whatever the endpoint does, the run goes on
                self._failures += 1
                if self._failures == 1:
                    run_logger(run).warning("OpenLineage took no event", cause=repr(error))
            finally:
                self._waiting.task_done()


_BATCH = job_type_job.JobTypeJobFacet("BATCH", "PLATA", "TASK")


def _run_id(run: RunContext, job: str) -> str:
    """Name a step's run: the same for every attempt, so that a resumed one goes on with it."""
    return str(uuid5(NAMESPACE_URL, f"{run.tenant.tenant_id}/{run.run_id}/{job}"))


def _told(error: BaseException) -> str:
    """Say what went wrong: a foreign error may quote a row, ours never do."""
    return str(error) if isinstance(error, PlataError) else type(error).__name__


def _name(table: Contract) -> str:
    return f"{table.table.layer}/{table.table.entity}"


def _is_served(table: Contract) -> bool:
    return table.table.layer is Layer.GOLD


def _version(table: Contract, versions: Versions) -> dict[str, DatasetFacet]:
    if table not in versions:
        return {}
    version = str(versions[table])
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(version)}


def _shape(table: Contract) -> dict[str, DatasetFacet]:
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name=field.name, type=str(field.type))
        for field in table.schema
    ]
    return {
        "schema": schema_dataset.SchemaDatasetFacet(fields),
        "storage": storage_dataset.StorageDatasetFacet("delta", "parquet"),
    }


def _assertion(result: QualityResult) -> data_quality_assertions_dataset.Assertion:
    return data_quality_assertions_dataset.Assertion(
        assertion=result.check,
        success=result.passed,
        severity="error" if result.severity == "critical" else "warn",
        expected=result.expected,
        actual=result.observed,
    )
