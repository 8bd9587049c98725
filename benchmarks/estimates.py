"""Does a plan's interval hold what the work then takes? Plans and real reenrichments, in turns.

    python -m benchmarks.estimates --tickets 600 --repeats 20

Each repeat plans a reenrichment (a pilot of some of its texts), then does it, and sees whether what
it took lies within the plan's 90 % interval. The embedding model is the packaged one, and each
repeat reads the texts through a prompt of its own, so that nothing is known from the one before.
`--clock cpu` counts processor time instead of the wall's: what others do on the machine is then
left out. `--model tiny` embeds with a model of a few numbers instead: the work is then of tables
and of what a batch takes whatever its size, and many repeats take a minute. A Postgres of its own
is started in a folder that goes away at the end.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table
from scipy.stats import binomtest

from benchmarks.texts import as_csv, distinct_texts
from features.e5_package import unpacked
from features.embed import QUERY_PROMPT, embed_step
from features.pgvector_index import PgVectorIndex
from features.tiny import write_tiny_model
from infra.embedded.control import remove_data, start
from lakehouse.control.landings import LandingIndex
from lakehouse.control.migrate import migrate
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from models.routing import RoutingPolicy
from models.steps import classify_step
from models.task import Task
from pipelines.budget import Price
from pipelines.bundles import bundle_of_aliases
from pipelines.demo_corpus import TEXT_COLUMNS
from pipelines.enrich import ModelSteps
from pipelines.estimates import estimate_reenrich
from pipelines.ingest import RawStore, ingest
from pipelines.mapping import ColumnMapping
from pipelines.pilot import Estimate
from pipelines.plan import RUN_KIND
from pipelines.promotion import Decision, promote_bundle
from pipelines.reenrich import carry_out
from pipelines.reenrich_plan import Request, begin, plan_reenrich
from pipelines.run import RunPorts, Step, close_run, execute, open_run
from pipelines.source_files import SourceFile
from pipelines.train import register_embedding_model, register_zero_shot_prompt
from registry.bundles import Bundle, TaskPins
from registry.memory import MemoryRegistry
from serving.cli.output import console, emit

TENANT = TenantContext.parse("banco-de-pruebas")
TYPES = {"peticion": "Petición", "queja": "Queja", "reclamo": "Reclamo", "sugerencia": "Sugerencia"}
MODELS: dict[str, Callable[[Path], Path]] = {
    "packaged": unpacked,
    "tiny": lambda home: write_tiny_model(
        home / "tiny", " ".join(distinct_texts(840, batch="a")).split()
    ),
}
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, slots=True)
class Turn:
    """One plan and what its work took, in seconds."""

    told: Estimate
    took: float
    planning: float

    @property
    def held(self) -> bool:
        """Whether the interval held it."""
        return self.told.low <= self.took <= self.told.high


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _options(arguments)
    with _place() as (home, url):
        turns = list(_turns(home, url, options))
    emit(_report(turns, options), as_json=options.json, table=lambda: _drawn(turns, options))


def _turns(home: Path, url: str, options: argparse.Namespace) -> Iterator[Turn]:
    registry = MemoryRegistry()
    task = Task("tipo", TYPES, "text", "b.tipo", "b.tipo.zero-shot", RoutingPolicy(0.8))
    register_embedding_model(registry, MODELS[options.model](home))
    register_zero_shot_prompt(registry, TENANT, task)
    ports = _ports(home, url, registry)
    _fill(home, ports, options.tickets)
    clock, engine = CLOCKS[options.clock], DuckDbEngine()
    for number in range(options.repeats):
        request = Request("now", _bundle(registry, task, number))
        plan = plan_reenrich(request, TENANT, ports)
        began, now = clock(), datetime.now(UTC)
        told = estimate_reenrich(
            plan, TENANT, ports, engine, _scratch, at=now, price=Price(), clock=clock
        ).seconds
        planned = clock()
        work = begin(plan, TENANT, ports, at=datetime.now(UTC))
        begun = clock()
        done = carry_out(work, ports, engine)
        assert done.over
        turn = Turn(told, clock() - begun, planned - began)
        if not options.json:
            missed = "" if turn.held else ", missed"
            ends = f"{told.low:.2f} … {told.expected:.2f} … {told.high:.2f} s"
            console().print(f"{number + 1}: {ends}, took {turn.took:.2f} s{missed}")
        yield turn


def _bundle(registry: MemoryRegistry, task: Task, number: int) -> Bundle:
    """Read texts through a prompt that no earlier repeat used, drawing by another seed."""
    prompt = registry.register_prompt(QUERY_PROMPT, f"query: {{{{text}}}}{' ' * number}", note="")
    embedding = registry.resolve_model(task.embedding.model)
    zero_shot = registry.resolve_prompt(task.zero_shot_prompt)
    pins = TaskPins(
        task=task.name,
        labels=task.labels,
        text_field=task.text_field,
        champion=embedding,
        champion_prompt=zero_shot,
        baseline=embedding,
        zero_shot=zero_shot,
        accept_at=task.routing.accept_at,
        audit_share=task.audit_share,
    )
    return Bundle(embedding, prompt, (pins,), seed=number)


def _ports(home: Path, url: str, registry: MemoryRegistry) -> RunPorts:
    postgres, root = Postgres(url), LakeRoot(str(home / "lake"))
    return RunPorts(
        store=DeltaTableStore(root),
        files=FileStore(root),
        landings=LandingIndex(postgres),
        log=RunLog(postgres),
        registry=registry,
        index=PgVectorIndex(postgres),
        postgres=postgres,
        models=ModelSteps(embed=embed_step, classify=classify_step),
    )


def _fill(home: Path, ports: RunPorts, tickets: int) -> None:
    """Take texts to Silver; no task, so that no model is asked yet."""
    TenantDirectory(ports.postgres).create(TENANT, name="Banco de pruebas")
    nobody = bundle_of_aliases((), ports.registry)
    promote_bundle(TENANT, nobody, Decision("banco", "asks no model"), ports.promotion)
    file = home / "textos.csv"
    file.write_text(as_csv(distinct_texts(tickets, batch="a"), batch="a"), encoding="utf-8")
    raw, now = RawStore(ports.files, ports.landings), datetime.now(UTC)
    mapping = ColumnMapping.parse([f"{field}={name}" for field, name in TEXT_COLUMNS.items()])
    ingest(SourceFile.find(file), TENANT, source="banco", mapping=mapping, raw=raw, at=now)
    with ports.log.exclusive(TENANT, RUN_KIND):
        planned = open_run(TENANT, (), ports, at=datetime.now(UTC))
        assert planned is not None, "a file that has just landed waits"
        seconds = execute(planned, ports, steps=[Step.BRONZE, Step.SILVER, Step.CLASSIFICATIONS])
        close_run(planned, ports, seconds=seconds)


@contextmanager
def _scratch() -> Iterator[DeltaTableStore]:
    with TemporaryDirectory(prefix="plata-bench-") as folder:
        yield DeltaTableStore(LakeRoot(folder))


@contextmanager
def _place() -> Iterator[tuple[Path, str]]:
    home = Path(tempfile.mkdtemp(prefix="plata-bench-"))
    try:
        url = start(Settings.alone(home), frozenset({"postgres"})).postgres_url
        migrate(url)
        yield home, url
    finally:
        remove_data(home)
        shutil.rmtree(home, ignore_errors=True)


def _report(turns: Sequence[Turn], options: argparse.Namespace) -> dict[str, Any]:
    held = sum(turn.held for turn in turns)
    share = binomtest(held, len(turns)).proportion_ci(method="wilson")
    took = sum(turn.took for turn in turns)
    return {
        "tickets": options.tickets,
        "clock": options.clock,
        "model": options.model,
        "repeats": len(turns),
        "held": held,
        "held_share": held / len(turns),
        "held_share_95": [share.low, share.high],
        "mean_error": sum(turn.told.expected - turn.took for turn in turns) / took,
        "mean_width": sum(turn.told.high - turn.told.low for turn in turns) / took,
        "planning": sum(turn.planning for turn in turns) / took,
        "turns": [asdict(turn) for turn in turns],
    }


def _drawn(turns: Sequence[Turn], options: argparse.Namespace) -> Table:
    report = _report(turns, options)
    low, high = report["held_share_95"]
    table = Table(
        title=f"{len(turns)} plans of {options.tickets:,} texts, {options.clock} time, "
        f"{options.model} model"
    )
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("intervals that held", f"{report['held']} of {len(turns)}")
    table.add_row("that share, 95 %", f"{low:.0%} to {high:.0%}")
    table.add_row("expected less real", f"{report['mean_error']:+.1%}")
    table.add_row("width of the interval", f"{report['mean_width']:.1%} of the work")
    table.add_row("what planning took", f"{report['planning']:.1%} of the work")
    return table


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("--tickets", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--model", choices=sorted(MODELS), default="packaged")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
