"""The door to OpenLineage: every step of a run as events other tools read.

Events are appended to a file of the run, and sent on where the library is told of an endpoint
(`OPENLINEAGE_URL`, `OPENLINEAGE_CONFIG` or `OPENLINEAGE__TRANSPORT__…`). Sending happens aside: an
endpoint that is down, slow or wrong costs a run nothing but the events it did not take.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from uuid import NAMESPACE_URL, uuid5

from openlineage.client.client import OpenLineageClient
from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
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
from lakehouse.data.tables import TableStore
from lakehouse.errors import PlataError
from lakehouse.run import RunContext
from lakehouse.telemetry import run_logger
from pipelines.dataflow import COLUMNS, FLOWS, RAW, StepFlow
from pipelines.run_events import RunEvents, Silent

_Found = TypeVar("_Found")

PRODUCER = "https://plata.example/pipelines/openlineage_events"
JOB = "raw-to-gold"
_ASKED = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
_WAITING_EVENTS = 1_000
_LAST_WORDS_SECONDS = 1.0
_PATIENCE = 3


@dataclass(frozen=True, slots=True)
class EventPorts:
    """What events are made of."""

    store: TableStore
    landings: LandingIndex
    log: RunLog


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
    """`RunEvents` as OpenLineage's: one job a step, datasets named by lake, tenant and table."""

    def __init__(self, lake: str, folder: Path, ports: EventPorts, *, send: bool) -> None:
        self._lake = lake if "://" in lake else f"file://{lake}"
        self._folder, self._ports = folder, ports
        self._sender = _Sender() if send else None

    @contextmanager
    def step(self, run: RunContext, step: str) -> Iterator[None]:
        """Tell of START, then of COMPLETE or FAIL; see `RunEvents.step`."""
        flow = FLOWS[step]
        inputs = self._safely(run, lambda: self._inputs(run, flow)) or []
        self._emit(run, step, RunState.START, inputs=inputs)
        try:
            yield
        except BaseException as error:
            self._emit(run, step, RunState.FAIL, inputs=inputs, error=error)
            self._emit_checks(run, step, flow, RunState.FAIL)
            raise
        outputs = self._safely(run, lambda: self._outputs(run, flow)) or []
        self._emit(run, step, RunState.COMPLETE, inputs=inputs, outputs=outputs)
        self._emit_checks(run, step, flow, RunState.COMPLETE)

    def flush(self, seconds: float) -> bool:
        """Wait for what is to be sent, no longer than `seconds`; tell whether all was."""
        return self._sender is None or self._sender.flush(seconds)

    def _namespace(self, run: RunContext) -> str:
        return f"{self._lake}/{run.tenant.tenant_id}"

    def _emit(
        self,
        run: RunContext,
        job: str,
        state: RunState,
        *,
        inputs: Sequence[InputDataset] = (),
        outputs: Sequence[OutputDataset] = (),
        error: BaseException | None = None,
    ) -> None:
        def tell() -> None:
            event = RunEvent(
                eventTime=datetime.now(UTC).isoformat(),
                eventType=state,
                run=Run(_run_id(run, job), self._run_facets(run, error)),
                job=Job(self._namespace(run), f"{JOB}.{job}", {"jobType": _BATCH}),
                inputs=list(inputs),
                outputs=list(outputs),
                producer=PRODUCER,
            )
            self._keep(run, event)
            if self._sender is not None:
                self._sender.put(run, event)

        self._safely(run, tell)

    def _emit_checks(self, run: RunContext, step: str, flow: StepFlow, end: RunState) -> None:
        """Tell of the checks of what a step wrote, as a job of its own that reads those tables."""

        def tell() -> None:
            found = self._checked(run, flow)
            if found:
                job = f"{step}.checks"
                self._emit(run, job, RunState.START, inputs=found)
                self._emit(run, job, end, inputs=found)

        self._safely(run, tell)

    def _safely(self, run: RunContext, work: Callable[[], _Found]) -> _Found | None:
        """Do work that must not stop a run, whatever is wrong with it."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 — events are told beside a run, never in its way
            run_logger(run).warning("no event for OpenLineage", cause=repr(error))
            return None

    def _keep(self, run: RunContext, event: RunEvent) -> None:
        folder = self._folder / run.tenant.tenant_id
        folder.mkdir(parents=True, exist_ok=True)
        compact = (",", ":")
        line = json.dumps(Serde.to_dict(event), ensure_ascii=False, separators=compact) + "\n"
        with (folder / f"{run.run_id}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def _run_facets(self, run: RunContext, error: BaseException | None) -> dict[str, RunFacet]:
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
            # A foreign error may quote a row; ours never do.
            told = str(error) if isinstance(error, PlataError) else type(error).__name__
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(told, "python")
        return facets

    def _inputs(self, run: RunContext, flow: StepFlow) -> list[InputDataset]:
        tables = [
            InputDataset(self._namespace(run), _name(table), facets=self._version(run, table))
            for table in flow.reads
        ]
        return [self._raw(run), *tables] if flow.raw else tables

    def _outputs(self, run: RunContext, flow: StepFlow) -> list[OutputDataset]:
        found = []
        for table in flow.writes:
            facets = {**self._version(run, table), **_shape(table)}
            if table in COLUMNS:
                facets["columnLineage"] = self._columns(run, table)
            found.append(OutputDataset(self._namespace(run), _name(table), facets=facets))
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

    def _version(self, run: RunContext, table: Contract) -> dict[str, DatasetFacet]:
        """Name the exact version; a table's shape is told once, where it is written."""
        head = self._ports.store.head(table.table, run.tenant)
        if head is None:
            return {}
        return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(str(head.version))}

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

    def _checked(self, run: RunContext, flow: StepFlow) -> list[InputDataset]:
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
                        facets=self._version(run, table),
                        inputFacets={"dataQualityAssertions": told},
                    )
                )
        return found


class _Sender:
    """Sends events by the library's own transport from a thread that nobody waits for."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[RunContext, RunEvent]] = queue.Queue(_WAITING_EVENTS)
        self._failures = 0
        threading.Thread(target=self._work, name="openlineage", daemon=True).start()
        atexit.register(self.flush, _LAST_WORDS_SECONDS)

    def put(self, run: RunContext, event: RunEvent) -> None:
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


def _name(table: Contract) -> str:
    return f"{table.table.layer}/{table.table.entity}"


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
