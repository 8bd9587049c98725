"""Rows a second from a file to Gold, layer by layer, Plata against a naive script in one run.

    python -m benchmarks.end_to_end --rows 1000 --repeats 3

Both sides take the same CSV files on the same machine into the same Postgres, in turns, and are
warm: Plata's workers have their models open, the script has its encoder in memory. Each may use two
cores: Plata's two single-threaded workers, and the script two threads. The services, started for
the purpose in a folder of their own, go away at the end. Ratios hold; seconds are this machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table

from benchmarks.memory import Peak, watched
from benchmarks.texts import as_csv, distinct_texts
from features.e5_package import unpacked
from infra.embedded.control import remove_data, start
from infra.embedded.layout import Layout
from infra.embedded.state import read_state
from lakehouse.control.migrate import migrate
from lakehouse.run import RunContext
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines.bootstrap import Platform, code_version
from pipelines.bundles import Changes
from pipelines.demo_corpus import TEXT_COLUMNS, labelled_history
from pipelines.ingest import RawStore, ingest
from pipelines.labelled_texts import LabelsFile
from pipelines.mapping import ColumnMapping
from pipelines.onboard import onboard
from pipelines.promotion import Decision, promote_bundle, successor
from pipelines.source_files import SourceFile
from pipelines.tenant_config import default_config
from pipelines.train import register_embedding_model, train
from serving.cli.output import emit

Seconds = Mapping[str, float]

LAYERS = ("ingest", "bronze", "silver", "embeddings", "classifications", "index", "gold")
REST = "plan, flow, close"
ALL = "all"
CORES = 2
WARM_UP_ROWS = 128

_SERVICES = frozenset({"postgres", "mlflow", "prefect", "dask-scheduler", "dask-worker"})
_TENANT = TenantContext.parse("banco-de-pruebas")
_TASK = "tipo"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side took for one batch, in seconds a layer."""

    plata: Seconds
    naive: Seconds


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the result. None where a side has nothing to do there."""

    layer: str
    plata_rows_per_second: float
    naive_rows_per_second: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. Memory is the most that each side's own processes held, in MB."""

    rows: int
    repeats: int
    lines: tuple[Line, ...]
    plata_memory: float
    naive_memory: float
    turns: tuple[Turn, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    say = Console(stderr=True).log
    with _services(say) as settings:
        report = measure(settings, rows=options.rows, repeats=options.repeats, say=say)
    emit(asdict(report), as_json=options.json, table=lambda: _drawn(report))


def measure(settings: Settings, *, rows: int, repeats: int, say: Say) -> Report:
    """Let both sides take turns at `repeats` batches of `rows` texts."""
    files = _Files(settings.home / "texts")
    plata = Plata(settings, files, say)
    with closing(plata), _peer(plata, files) as peer:
        say(f"warming up with {WARM_UP_ROWS} rows")
        warm = files.batch("calor", WARM_UP_ROWS)
        peer.run(warm)
        plata.run(warm)
        peaks = Peak(), Peak()
        turns = []
        for number in range(1, repeats + 1):
            batch = files.batch(f"tanda{number}-", rows)
            with watched([peer.pid], peaks[1]):
                naive = peer.run(batch)
            with watched(plata.processes(), peaks[0]):
                own = plata.run(batch)
            say(f"turn {number}: naive {naive[ALL]:.1f} s, Plata {own[ALL]:.1f} s")
            turns.append(Turn(own, naive))
    own_memory, naive_memory = (peak.bytes / 1e6 for peak in peaks)
    return Report(rows, repeats, compared(turns, rows), own_memory, naive_memory, tuple(turns))


def compared(turns: Sequence[Turn], rows: int) -> tuple[Line, ...]:
    """Return a line a layer: the medians of rows a second, and of the turns' ratios."""
    return tuple(_line(layer, turns, rows) for layer in (*LAYERS, REST, ALL))


def _line(layer: str, turns: Sequence[Turn], rows: int) -> Line:
    plata = rows / statistics.median(turn.plata[layer] for turn in turns)
    if layer not in turns[0].naive:
        return Line(layer, plata, None, None)
    naive = rows / statistics.median(turn.naive[layer] for turn in turns)
    ratio = statistics.median(turn.naive[layer] / turn.plata[layer] for turn in turns)
    return Line(layer, plata, naive, ratio)


class Plata:
    """Our side: one tenant, with a trained champion for one task."""

    def __init__(self, settings: Settings, files: _Files, say: Say) -> None:
        say("starting services")
        self.endpoints = start(settings, _SERVICES)
        self._home = settings.home
        self._platform = Platform(settings, self.endpoints)
        migrate(self.endpoints.postgres_url)
        say("registering and training")
        self.model = unpacked(settings.home)
        register_embedding_model(self._platform.registry, self.model)
        values = {"tasks": {_TASK: default_config()["tasks"][_TASK]}}
        onboard(
            _TENANT,
            name="Banco de pruebas",
            values=values,
            tenants=self._platform.tenants,
            promotion=self._platform.promotion,
            by="banco",
        )
        self._train(files.labelled)

    def _train(self, labelled: Path) -> None:
        platform = self._platform
        (task,) = platform.tasks(_TENANT)
        now = datetime.now(UTC)
        report = train(
            LabelsFile(labelled, text_column="texto", label_column=_TASK),
            task,
            RunContext.begin(_TENANT, kind="train", at=now, code_version=code_version()),
            registry=platform.registry,
            cluster=platform.cluster,
        )
        trained = Changes(models={_TASK: report.model})
        bundle = successor(_TENANT, (task,), trained, platform.promotion)
        promote_bundle(_TENANT, bundle, Decision("banco", "trained"), platform.promotion)

    def run(self, texts: Path) -> Seconds:
        """Take the CSV from file to Gold as `plata ingest` and `plata run` do."""
        platform = self._platform
        began = time.perf_counter()
        ingest(
            SourceFile.find(texts),
            _TENANT,
            source="banco",
            mapping=ColumnMapping.parse([f"{k}={v}" for k, v in TEXT_COLUMNS.items()]),
            raw=RawStore(platform.files, platform.landings),
            at=datetime.now(UTC),
        )
        ingested = time.perf_counter() - began
        manifest = platform.run(_TENANT)
        total = time.perf_counter() - began
        assert manifest is not None, "a file that had not landed before has rows to run"
        took = {"ingest": ingested, **manifest.seconds}
        return {**took, REST: total - sum(took.values()), ALL: total}

    def close(self) -> None:
        """Leave the services, which are about to stop."""
        self._platform.close()

    def processes(self) -> list[int]:
        """Return the processes that do the work: this one, the scheduler and the workers."""
        state = read_state(Layout.of(self._home))
        units = {} if state is None else state.units
        found = (unit.pid for name, unit in units.items() if name.startswith("dask"))
        return [os.getpid(), *(pid for pid in found if pid is not None)]


class _Files:
    """The files both sides read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.labelled = folder / "historia.jsonl"
        self.labelled.write_text(labelled_history(), encoding="utf-8")

    def batch(self, name: str, rows: int) -> Path:
        path = self._folder / f"{name}.csv"
        path.write_text(as_csv(distinct_texts(rows, batch=name), batch=name), encoding="utf-8")
        return path


class _Peer:
    """The script in a process of its own, so that its memory and its threads are its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self._answer()

    def run(self, texts: Path) -> Seconds:
        assert self._process.stdin is not None
        print(texts, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Seconds:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the script has ended; what it said stands above"
        answer: Seconds = json.loads(line)
        return answer


@contextmanager
def _peer(plata: Plata, files: _Files) -> Iterator[_Peer]:
    values = (files.labelled, plata.model, plata.endpoints.postgres_url, CORES)
    command = [sys.executable, "-m", "benchmarks.naive", *map(str, values)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield _Peer(process)
        finally:
            process.terminate()


@contextmanager
def _services(say: Say) -> Iterator[Settings]:
    home = Path(tempfile.mkdtemp(prefix="plata-bench-"))
    settings = Settings.alone(home, workers=CORES)
    try:
        yield settings
    finally:
        say("stopping services")
        remove_data(home)
        shutil.rmtree(home, ignore_errors=True)


def _drawn(report: Report) -> Group:
    title = f"{report.rows:,} rows, median of {report.repeats} turns, {CORES} cores for each side"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("layer")
    for name in ("Plata, rows/s", "naive, rows/s", "Plata : naive"):
        table.add_column(name, justify="right")
    for line in report.lines:
        naive, ratio = line.naive_rows_per_second, line.ratio
        table.add_row(
            line.layer,
            f"{line.plata_rows_per_second:,.0f}",
            "–" if naive is None else f"{naive:,.0f}",
            "–" if ratio is None else f"{ratio:.2f} ×",
            style="bold" if line.layer == ALL else None,
        )
    memory = (
        f"Peak memory: Plata {report.plata_memory:,.0f} MB (program, scheduler, "
        f"{CORES} workers), naive {report.naive_memory:,.0f} MB. Not counted: Postgres, which both "
        "use, and MLflow and Prefect, which only Plata needs."
    )
    return Group(table, memory, _MORE)


_MORE = (
    "Plata does more for its time: Raw kept with checksums, every line checked or put in "
    "quarantine, every layer written as a Delta table besides Postgres, three models asked "
    "(champion, rules, zero-shot) where the script asks one, exact versions on every row, "
    "quality checks, a run that can be killed and resumed."
)


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="benchmarks.end_to_end", description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="texts a turn (1000)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
