"""A prepared lake and database, real and killable, that many tests copy and run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from distributed import LocalCluster

from contracts.contract import Contract
from contracts.tables import GOLD, LABELS, MESSAGES, TICKETS
from lakehouse.compute.batches import Step
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.data.storage import LakeRoot
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.bundles import bundle_of_aliases
from pipelines.enrich import ModelSteps
from pipelines.gold import Figures
from pipelines.reenrich import carry_out
from pipelines.reenrich_plan import Reenrich, Request, begin, plan_reenrich
from pipelines.run import RunPorts
from registry.bundles import Bundle

collect_ignore = ["llm_runs.py"]
"""A program beside `killable`, which it can import only as one, or where a test made room."""


@pytest.fixture(scope="session")
def server(postgres_url: str) -> str:
    return postgres_url.rsplit("/", 1)[0]


@pytest.fixture(scope="session")
def prepared(killable: ModuleType, server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared con espacio")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE prepared")
    killable.prepare(f"{server}/prepared", folder)
    return folder


@pytest.fixture(scope="session")
def whole(killable: ModuleType, server: str, prepared: Path) -> Any:
    """A run that nobody killed; see `killable.Whole`."""
    return killable.whole_run(server, prepared, "whole")


@pytest.fixture(scope="session")
def workers() -> Iterator[LocalCluster]:
    """Real Dask workers, processes of their own, to be scaled."""
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    )
    try:
        yield cluster
    finally:
        # A cluster that was scaled up and down may stumble, as it closes, over a worker it never
        # heard of; the processes are gone all the same.
        with suppress(KeyError):
            cluster.close()


PLACE_TICKETS = 50
ENGINE = DuckDbEngine()


@dataclass
class Place:
    """A tenant's lake and database, and what was asked of models there."""

    kit: ModuleType
    url: str
    lake: Path
    asked: list[str] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)

    @property
    def ports(self) -> RunPorts:
        ports: RunPorts = self.kit.ports_at(self.url, self.lake, self._models())
        return ports

    def _models(self) -> ModelSteps:
        def embed(folder: str, template: str) -> Step:
            step = self.kit.quick_embed(folder, template)
            return lambda rows: self._noted(self.embedded, rows, step)

        def classify(folder: str, labels: list[str], template: str | None = None) -> Step:
            step = self.kit.quick_classify(folder, labels, template)
            return lambda rows: self._noted(self.asked, rows, step)

        # A step is kept by the name of what made it: a place's own must not be another's.
        embed.__qualname__ = classify.__qualname__ = str(self.lake)
        return ModelSteps(embed=embed, classify=classify)

    @staticmethod
    def _noted(where: list[str], rows: pa.Table, step: Step) -> pa.Table:
        where.extend(rows["text"].to_pylist())
        return step(rows)

    def champion(self, version: str = "2") -> Bundle:
        """Return the bundle the runs used, or one whose champions are of another version."""
        found = bundle_of_aliases(self.kit.tasks(), self.ports.registry)
        tasks = tuple(
            replace(task, champion=replace(task.champion, version=version)) for task in found.tasks
        )
        return replace(found, tasks=tasks)

    def plan(
        self, bundle: Bundle, as_of: str = "now", *, publish: bool = False, **more: Any
    ) -> Any:
        request = Request(as_of, bundle, **more)
        return plan_reenrich(request, self.kit.NORTE, self.ports, publish=publish)

    def do(self, plan: Any, hours: int = 1, **how: Any) -> Reenrich:
        at = self.kit.SECOND + timedelta(hours=hours)
        return carry_out(begin(plan, self.kit.NORTE, self.ports, at=at), self.ports, ENGINE, **how)

    def rows(self, contract: Contract) -> pa.Table:
        found = self.ports.store.scan(contract.table, self.kit.NORTE)
        return contract.empty() if found is None else found

    def figures(self) -> Figures:
        """Return Gold as the newest run counted it, leaving out what tells the runs apart."""
        newest = self.ports.log.recent(self.kit.NORTE, limit=1)[0].run.run_id
        return {c: self.rows(c).filter(pc.equal(self.rows(c)["run_id"], newest)) for c in GOLD}


@pytest.fixture(scope="session")
def base(killable: ModuleType, server: str, prepared: Path) -> tuple[str, Path]:
    url, lake = killable.copied(server, prepared, "re_base")
    ports = killable.ports_at(url, lake)
    lines = killable.seeded_lines(7, PLACE_TICKETS)
    killable.land(ports, killable.write_lines(lake.parent / "seeded.jsonl", lines), killable.SECOND)
    killable.second_run(url, lake)
    return url, lake


@pytest.fixture
def place(
    killable: ModuleType, server: str, base: tuple[str, Path], request: pytest.FixtureRequest
) -> Callable[[], Place]:
    """Build copies of the base, each a lake and a database of its own."""
    made = 0

    def make() -> Place:
        nonlocal made
        made += 1
        name = f"re_{abs(hash(request.node.name)) % 10**8}_{made}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE re_base'.encode())
        lake = base[1].parent.parent / name / "lake"
        killable.shutil.copytree(base[1], lake)
        return Place(killable, f"{server}/{name}", lake)

    return make


class WrittenLake:
    """Silver of one tenant, written by hand: tickets with a message each, and labels."""

    def __init__(self, tenant: TenantContext, folder: Path) -> None:
        self.tenant = tenant
        self.store = DeltaTableStore(LakeRoot(str(folder)))
        self._runs = 0

    def tickets(self, found: Mapping[int, tuple[date, str]]) -> None:
        """Write tickets by number, with day and text."""
        rows = [
            {
                "day": day,
                "ticket_id": ticket_uid(n),
                "event_id": ticket_uid(1_000_000 + n),
                "external_id": str(n),
                "source_channel": "email",
                "created_at": datetime.combine(day, time(12), UTC),
            }
            for n, (day, _) in found.items()
        ]
        self._write(TICKETS, rows)
        rows = [self._message(n, day, text, 2_000_000) for n, (day, text) in found.items()]
        self._write(MESSAGES, rows)

    def message(self, number: int, day: date, text: str) -> None:
        """Write one more message of a ticket."""
        self._write(MESSAGES, [self._message(number, day, text, 3_000_000)])

    def labels(
        self,
        task: str,
        found: Mapping[int, tuple[date, str]],
        *,
        at: datetime,
        drawn: Callable[[int], bool],
        **also: Any,
    ) -> None:
        """Write what a person answered about tickets, with day and label."""
        known = {
            "task": task,
            "reviewer": "ana",
            "suggested_label": "agua",
            "suggested_score": 0.5,
            "model_name": "norte.tema",
            "model_version": "1",
            "guideline_version": "tema.v1",
            "responded_at": at,
        }
        rows = [
            {
                **known,
                "day": day,
                "ticket_id": ticket_uid(n),
                "label_id": f"{n}/{at.isoformat()}/{label}/{sorted(also)}",
                "label": label,
                "reason": "audit" if drawn(n) else "doubt",
                **also,
            }
            for n, (day, label) in found.items()
        ]
        self._write(LABELS, rows)

    def _message(self, number: int, day: date, text: str, events: int) -> dict[str, Any]:
        return {
            "day": day,
            "ticket_id": ticket_uid(number),
            "event_id": ticket_uid(events + number),
            "ts": datetime.combine(day, time(12), UTC),
            "role": "citizen",
            "text": text,
            "text_len": len(text),
        }

    def _write(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> None:
        self._runs += 1
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._runs)
        run = RunContext.begin(self.tenant, kind="test", at=at)
        own = {"tenant_id": self.tenant.tenant_id, "run_id": run.run_id, "source": "sim"}
        table = pa.Table.from_pylist([{**own, **row} for row in rows], contract.schema)
        self.store.append(contract.table, table, run)


def ticket_uid(number: int) -> str:
    """Return the identifier of a numbered ticket."""
    return str(UUID(int=number + 1))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[TenantContext], WrittenLake]:
    """Build lakes that are written by hand."""
    return lambda tenant: WrittenLake(tenant, tmp_path / "written")
