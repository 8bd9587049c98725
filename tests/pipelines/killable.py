"""A run over real Delta tables and Postgres with quick models, and a program that kills it.

As a program it prepares one lake and one database a place, runs there until that place, dies by
SIGKILL, and runs again. It forks before any library has started a thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from contracts.tables import BRONZE, GOLD, SILVER
from features.pgvector_index import PgVectorIndex
from lakehouse.compute.batches import Step as BatchStep
from lakehouse.control.landings import LandingIndex
from lakehouse.control.migrate import migrate
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, TenantBusyError
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data import storage
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.data.tables import Layer
from lakehouse.manifest import RunManifest
from lakehouse.tenancy import TenantContext
from models.entities import MENTIONS
from models.folder import CONFIG_FILE
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.backfill import BACKFILL_KIND, Days, carry_out, plan_backfill, unfinished
from pipelines.bundles import bundle_of_aliases
from pipelines.enrich import ModelSteps
from pipelines.ingest import Landed, RawStore, ingest
from pipelines.mapping import ColumnMapping
from pipelines.promotion import Decision, promote_bundle
from pipelines.run import RunPorts, run_tenant
from pipelines.source_files import SourceFile
from pipelines.steps import unobserved
from pipelines.tenant_config import default_config
from registry.errors import UnknownAliasError
from registry.refs import ModelPackage, ModelRef, PromptRef, VersionInfo

NORTE = TenantContext.parse("norte")
FIRST = datetime(2026, 1, 10, 12, tzinfo=UTC)
SECOND = FIRST + timedelta(days=1)
THIRD = FIRST + timedelta(days=2)
DIMENSIONS = 8


class FixedRegistry:
    """A registry in which every alias means one version: `champion` 2, everything else 1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def resolve_model(self, name: str, alias: str = "champion") -> ModelRef:
        version = "2" if alias == "champion" else "1"
        return ModelRef(name, version, f"digest-{name}-{version}")

    def resolve_prompt(self, name: str, alias: str = "champion") -> PromptRef:
        if alias != "champion":
            raise UnknownAliasError.of("prompt", name, alias, ["champion"], remedy="")
        return PromptRef(name, "1", f"digest-{name}")

    def model_version(self, name: str, version: str) -> ModelRef:
        return ModelRef(name, version, f"digest-{name}-{version}")

    def prompt_version(self, name: str, version: str) -> PromptRef:
        return PromptRef(name, version, f"digest-{name}")

    def fetch(self, model: ModelRef) -> Path:
        folder = self._folder / f"{model.name}-{model.version}"
        folder.mkdir(exist_ok=True)
        (folder / CONFIG_FILE).write_text('{"family": "rules"}', encoding="utf-8")
        return folder

    def template(self, prompt: PromptRef) -> str:
        return "query: {{text}}"

    def register_model(self, package: ModelPackage) -> ModelRef:
        raise NotImplementedError

    def register_prompt(
        self, name: str, template: str, *, note: str, tests: str | None = None
    ) -> PromptRef:
        raise NotImplementedError

    def prompt_tests(self, prompt: PromptRef) -> str:
        return ""

    def promote_model(self, name: str, version: str, alias: str = "champion") -> ModelRef:
        raise NotImplementedError

    def promote_prompt(self, name: str, version: str, alias: str = "champion") -> PromptRef:
        raise NotImplementedError

    def models(self) -> Sequence[VersionInfo]:
        return []

    def prompts(self) -> Sequence[VersionInfo]:
        return []


class PromotedRegistry(FixedRegistry):
    """The same after a promotion: `champion` means 3."""

    def resolve_model(self, name: str, alias: str = "champion") -> ModelRef:
        version = "3" if alias == "champion" else "1"
        return ModelRef(name, version, f"digest-{name}-{version}")


def promoted(ports: RunPorts) -> RunPorts:
    """Hand out the same ports after a promotion."""
    folder = ports.registry._folder  # type: ignore[attr-defined]
    ports = replace(ports, registry=PromotedRegistry(folder))
    promote_aliases(NORTE, tasks(), ports)
    return ports


def quick_embed(folder: str, template: str) -> BatchStep:
    """Make a step that turns a text's digest into a vector."""

    def embed(rows: pa.Table) -> pa.Table:
        vectors = [_vector(text) for text in rows["text"].to_pylist()]
        return rows.append_column("embedding", pa.array(vectors, pa.list_(pa.float32())))

    return embed


def quick_classify(folder: str, labels: list[str], template: str | None = None) -> BatchStep:
    """Make a step that reads label and score from the digest of folder and text."""

    def classify(rows: pa.Table) -> pa.Table:
        found = [
            hashlib.sha256(f"{folder[-1]}/{t}".encode()).digest() for t in rows["text"].to_pylist()
        ]
        chosen = [labels[digest[0] % len(labels)] for digest in found]
        return pa.table(
            {
                "ticket_id": rows["ticket_id"],
                "predicted_label": chosen,
                "score": [digest[1] / 255 for digest in found],
                "probabilities": [json.dumps({label: 1.0}) for label in chosen],
                "explanation": ["quick"] * len(rows),
            }
        )

    return classify


def other_classify(folder: str, labels: list[str], template: str | None = None) -> BatchStep:
    """Make the step of `quick_classify` as another library would have it: scores a little off."""
    classify = quick_classify(folder, labels, template)

    def otherwise(rows: pa.Table) -> pa.Table:
        answers = classify(rows)
        place = answers.schema.get_field_index("score")
        return answers.set_column(place, "score", pc.multiply(answers["score"], 0.999))

    return otherwise


def _vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()[:DIMENSIONS]
    raw = np.frombuffer(digest, np.uint8).astype(np.float32) - 127.5
    return [float(value) for value in raw / np.linalg.norm(raw)]


def quick_extract(folder: str, kinds: list[str]) -> BatchStep:
    """Make a step that finds nothing in any text."""

    def extract(rows: pa.Table) -> pa.Table:
        return MENTIONS.empty_table()

    return extract


QUICK_MODELS = ModelSteps(embed=quick_embed, classify=quick_classify, extract=quick_extract)


def tasks() -> tuple[Task, ...]:
    """Return the two tasks of the PQRS template; one reads subject and text."""
    types = {"peticion": "Petición", "queja": "Queja", "reclamo": "Reclamo"}
    levels = {"alta": "Alta", "baja": "Baja"}
    policy = RoutingPolicy(accept_at=0.4)
    return (
        Task("tipo", types, "text", "norte.tipo", "norte.tipo.zero-shot", policy, 0.3),
        Task("prioridad", levels, "subject_and_text", "norte.prioridad", "norte.p.zs", policy, 0.3),
    )


def ports_at(url: str, lake: Path, models: ModelSteps = QUICK_MODELS) -> RunPorts:
    """Build the real ports over a database and a lake."""
    postgres = Postgres(url)
    root = LakeRoot(str(lake))
    return RunPorts(
        store=DeltaTableStore(root),
        files=FileStore(root),
        landings=LandingIndex(postgres),
        log=RunLog(postgres),
        registry=FixedRegistry(lake.parent),
        index=PgVectorIndex(postgres),
        postgres=postgres,
        models=models,
    )


def promote_aliases(tenant: TenantContext, asked: Sequence[Task], ports: RunPorts) -> None:
    """Make what the aliases mean the bundle of a tenant's runs; whether it fits is not asked."""
    bundle = bundle_of_aliases(asked, ports.registry)
    promote_bundle(tenant, bundle, Decision("tests", "the first"), ports.promotion)


def uid(name: str) -> str:
    """Return a fixed identifier."""
    return str(uuid5(NAMESPACE_DNS, name))


def event(kind: str, ticket: str, name: str, ts: str, **data: object) -> str:
    """Write one Raw event as a line."""
    values = {"event_id": uid(name), "ticket_id": uid(ticket), "event_type": kind, "ts": ts}
    return json.dumps({**values, "data": data}, ensure_ascii=False)


def created(ticket: str, day: int = 1, **data: object) -> str:
    """Write a TICKET_CREATED line."""
    given = {"external_id": ticket, "source_channel": "email", **data}
    return event("TICKET_CREATED", ticket, f"{ticket}/c", f"2026-01-{day:02d}T10:00:00Z", **given)


def said(ticket: str, text: str, day: int = 1, name: str = "m") -> str:
    """Write a MESSAGE_ADDED line of a citizen."""
    ts = f"2026-01-{day:02d}T10:05:00Z"
    return event("MESSAGE_ADDED", ticket, f"{ticket}/{name}", ts, role="citizen", text=text)


def moved(ticket: str, before: str, after: str, day: int) -> str:
    """Write a STATUS_CHANGED line."""
    ts = f"2026-01-{day:02d}T11:00:00Z"
    name = f"{ticket}/{after}/{day}"
    return event("STATUS_CHANGED", ticket, name, ts, status_from=before, status_to=after)


def attached(ticket: str) -> str:
    """Write an ATTACHMENT_ADDED line."""
    ts = "2026-01-03T10:00:00Z"
    return event("ATTACHMENT_ADDED", ticket, f"{ticket}/a", ts, file_type="pdf", size_kb=12.5)


FIRST_FILE = [
    created("t1", 1, pqrs_type="Q", subject="Factura"),
    said("t1", "No llegó la factura de enero", 1),
    created("t2", 2),
    said("t3", "Este texto llegó antes que su radicado", 2),
]
SECOND_FILE = [
    created("t3", 3, geo_region="Antioquia"),
    said("t2", "Texto que llega después de su radicado", 3),
    said("t1", "Segundo mensaje de t1: no se clasifica otra vez", 3, name="m2"),
    created("t1", 4),
    created("t4", 4, pqrs_type="R", priority="alta"),
    said("t4", "Cobro repetido", 4),
    created("t5", 4),
    said("t5", "Cobro repetido", 4),
    moved("t1", "RESPONDED", "CLOSED", 5),
    moved("t1", "CLOSED", "REOPENED", 7),
    attached("t4"),
    '{"event_type": "MESSAGE_ADDED", "texto": ',
    created("t6", 6),
    moved("t2", "RECEIVED", "RADICATED", 4),
    moved("t2", "RADICATED", "CLASSIFIED", 5),
]


_WORDS = ["agua", "factura", "cobro", "vía", "luz", "basura", "parque", "ruido", "multa"]


def seeded_lines(seed: int, tickets: int) -> list[str]:
    """Make up the events of some tickets: in disorder, some twice, some lines broken."""
    random = Random(seed)
    lines: list[str] = []
    for number in range(tickets):
        ticket, day = f"s{seed}-{number}", random.randint(1, 9)
        text = f"{' '.join(random.choices(_WORDS, k=random.randint(2, 9)))} {number}"
        own = [created(ticket, day, pqrs_type=random.choice("PQRS")), said(ticket, text, day)]
        if random.random() < 0.4:
            own += [
                moved(ticket, "RECEIVED", "RADICATED", day),
                moved(ticket, "RADICATED", "CLASSIFIED", day + 1),
            ]
        if random.random() < 0.1:
            own.append(attached(ticket))
        if random.random() < 0.1:
            own.append(random.choice(own))
        if random.random() < 0.05:
            own.append(own[0][: random.randint(1, 60)])
        lines += own
    random.shuffle(lines)
    return lines


def land(ports: RunPorts, path: Path, at: datetime, mapping: ColumnMapping | None = None) -> Landed:
    """Land one file for the tenant."""
    raw = RawStore(ports.files, ports.landings)
    file = SourceFile.find(path)
    return ingest(file, NORTE, source="sim", mapping=mapping, raw=raw, at=at)


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """Write a file of lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def prepare(url: str, folder: Path) -> None:
    """Migrate a database, complete a first run in it, and land what the second will take."""
    migrate(url)
    ports = ports_at(url, folder / "lake")
    TenantDirectory(ports.postgres).create(NORTE, name="Norte")
    promote_aliases(NORTE, tasks(), ports)
    land(ports, write_lines(folder / "first.jsonl", FIRST_FILE), FIRST)
    run_tenant(NORTE, tasks(), ports, at=FIRST)
    land(ports, write_lines(folder / "second.jsonl", SECOND_FILE), SECOND)
    plain = write_lines(folder / "plain.csv", ["id,texto", "c1,Cobro repetido", "c2,Otra cosa"])
    mapping = ColumnMapping.parse(["text=texto", "external_id=id"])
    land(ports, plain, SECOND, mapping)


def second_run(
    url: str, lake: Path, on_step: Callable[[str], None] = unobserved
) -> RunManifest | None:
    """Run what `prepare` landed, or take it up again."""
    return run_tenant(NORTE, tasks(), ports_at(url, lake), at=SECOND, on_step=on_step)


def tidying(url: str, lake: Path) -> RunPorts:
    """Build the ports of a tenant whose tables are merged as soon as a file can go."""
    ports = ports_at(url, lake)
    upkeep = {"mergeable_files": 1, "checkpoint_every": 1}
    TenantDirectory(ports.postgres).configure(NORTE, {**default_config(), "upkeep": upkeep})
    return replace(ports, maintenance=DeltaTableMaintenance(LakeRoot(str(lake))))


def copied(server: str, folder: Path, name: str) -> tuple[str, Path]:
    """Copy the prepared database and lake."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE prepared'.encode())
    lake = folder / name / "lake"
    shutil.copytree(folder / "lake", lake)
    return f"{server}/{name}", lake


def tables(url: str, lake: Path) -> dict[str, list[Any]]:
    """Return everything runs left behind, sorted, all columns."""
    ports = ports_at(url, lake)
    found: dict[str, list[Any]] = {}
    for contract in (*BRONZE, *SILVER, *GOLD):
        rows = ports.store.scan(contract.table, NORTE)
        found[str(contract.table)] = _sorted(contract.empty() if rows is None else rows)
    with psycopg.connect(url) as connection:
        for name in (*(f"gold.{c.table.entity}" for c in GOLD), *_POSTGRES_TABLES):
            query = f"SELECT * FROM {name}"
            found[name] = sorted(map(str, connection.execute(query.encode()).fetchall()))
        runs = "SELECT run_id, status, plan, manifest - 'seconds' FROM meta.etl_runs ORDER BY 1"
        found["meta.etl_runs"] = connection.execute(runs.encode()).fetchall()
    return found


_POSTGRES_TABLES = (
    "vectors.embeddings",
    "vectors.spaces",
    "meta.manifest_index",
    "meta.data_quality",
)


def _sorted(rows: pa.Table) -> list[str]:
    return sorted(str(sorted(row.items())) for row in rows.to_pylist())


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed: what it left, and the places it went through."""

    found: dict[str, list[Any]]
    places: list[str]


def whole_run(server: str, folder: Path, name: str) -> Whole:
    """Do the second run in a copy of its own, and see what it leaves."""
    url, lake = copied(server, folder, name)
    places: list[str] = []
    second_run(url, lake, places.append)
    return Whole(tables(url, lake), places)


def lose_newest_version(ports: RunPorts, layer: str, entity: str) -> None:
    """Take a table back to the version before its newest, as one who restores it by mistake."""
    table = DeltaTable(f"{lake_of(ports)}/{NORTE.tenant_id}/{layer}/{entity}")
    table.restore(table.version() - 1)


def lake_of(ports: RunPorts) -> Path:
    """Return the folder of the lake that `ports_at` was given."""
    return Path(ports.store._root.uri)  # type: ignore[attr-defined]


def _in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _die_at(place: str) -> Callable[[str], None]:
    def on_step(reached: str) -> None:
        if reached == place:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_step


@contextmanager
def scratch() -> Iterator[DeltaTableStore]:
    """Open a lake that goes away with the block."""
    with TemporaryDirectory() as folder:
        yield DeltaTableStore(LakeRoot(folder))


def _begin_backfill(url: str, lake: Path, layer: Layer) -> None:
    """Lose what the second run brought to a layer, and plan to bring it back.

    Of Silver the messages; and a promotion comes with it, so that the models answer again.
    """
    second_run(url, lake)
    ports = promoted(ports_at(url, lake))
    enrich = tasks() if layer is Layer.SILVER else None
    for entity in ("messages",) if enrich else ("pqrs_events", "quarantine"):
        lose_newest_version(ports, layer, entity)
    days = Days(FIRST.date() - timedelta(days=30), THIRD.date())
    planned = plan_backfill(NORTE, layer, days, ports, scratch, at=THIRD, enrich=enrich)
    ports.log.start(planned.run, BACKFILL_KIND, planned.plan.as_dict())


def _go_on(url: str, lake: Path, number: int) -> None:
    """Go on with the backfill, and die at the place that is reached as the given one."""
    places: list[str] = []

    def on_step(place: str) -> None:
        places.append(place)
        if len(places) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    ports = ports_at(url, lake)
    left = unfinished(NORTE, ports.postgres)
    assert left is not None
    carry_out(left, ports, scratch, on_step=on_step)


def kill_backfill(server: str, folder: Path, name: str, layer: Layer) -> None:
    """In a copy of its own, kill a backfill at its first place, its second, until it ends.

    Writes one line: how often it was killed.
    """
    url, lake = copied(server, folder, name)
    assert _in_child(lambda: _begin_backfill(url, lake, layer)) == 0
    deaths = 0
    while _in_child(partial(_go_on, url, lake, deaths + 1)) == -signal.SIGKILL:
        deaths += 1
    sys.stdout.write(f"killed {deaths} times\n")


@dataclass(frozen=True)
class Life:
    """A run over a seed's data, and where it is killed: files at ingest, then places of the run."""

    url: str
    lake: Path
    seed: int

    @property
    def file(self) -> Path:
        """The file this life ingests before it runs."""
        return self.lake.parent / f"seed-{self.seed}.jsonl"

    def ingest(self) -> None:
        """Land the seed's file, or go on where a landing was killed."""
        if not self.file.exists():
            write_lines(self.file, seeded_lines(self.seed, SEEDED_TICKETS))
        land(ports_at(self.url, self.lake), self.file, SECOND)

    def run(self, on_step: Callable[[str], None] = unobserved) -> None:
        """Run what waits, or take it up again once the lock of a dead run's connection is gone."""
        deadline = time.monotonic() + 30
        while True:
            try:
                ports = tidying(self.url, self.lake)
                run_tenant(NORTE, tasks(), ports, at=SECOND, on_step=on_step)
            except TenantBusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def die(self, point: str) -> None:
        """Do a part of this life until `point`, and die there.

        `torn/N`, `put/N`: while the Nth file is half written, right after it is in place.
        """
        work, _, place = point.partition(" ")
        kind, _, number = place.partition("/")
        if kind in ("torn", "put"):
            _die_at_file(int(number), torn=kind == "torn")
        if work == "ingest":
            self.ingest()
        else:
            self.run(_die_at(place))


SEEDED_TICKETS = 25


def _die_at_file(number: int, *, torn: bool) -> None:
    """Make this process die at the Nth file that it puts into the lake."""
    whole = storage._replace
    left = [number]

    def replace(target: Path, content: bytes | memoryview | Path) -> None:
        left[0] -= 1
        if left[0] == 0 and torn:
            data = content.read_bytes() if isinstance(content, Path) else bytes(content)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.killed.tmp")
            draft.write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        whole(target, content)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    storage._replace = replace


def live(server: str, folder: Path, name: str, seed: int) -> Whole:
    """Live a seed's life without a death."""
    life = Life(*copied(server, folder, name), seed)
    places: list[str] = []
    life.ingest()
    life.run(places.append)
    return Whole(tables(life.url, life.lake), places)


def kill_life(server: str, folder: Path, name: str, seed: int, points: Sequence[str]) -> None:
    """In a copy of its own, kill a seed's life at each point in turn, then let it end.

    Writes one line: which points it outlived, and how it ended.
    """
    life = Life(*copied(server, folder, name), seed)
    codes = [_in_child(partial(life.die, p)) for p in points if p.startswith("ingest ")]
    ingested = _in_child(life.ingest)
    codes += [_in_child(partial(life.die, p)) for p in points if p.startswith("run ")]
    ended = _in_child(life.run)
    by_point = zip(points, codes, strict=True)
    alive = [f"{p}: {code}" for p, code in by_point if code != -signal.SIGKILL]
    sys.stdout.write(f"outlived {alive}, ended {ingested} {ended}\n")


def program(server: str, folder: Path, name: str, *words: str) -> subprocess.Popen[str]:
    """Run this file as a program."""
    command = [sys.executable, __file__, server, str(folder), name, *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    if sys.argv[4] == "--backfill":
        kill_backfill(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Layer(sys.argv[5]))
    else:
        kill_life(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:])
