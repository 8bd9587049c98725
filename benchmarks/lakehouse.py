"""Events a second from Raw to Gold, Plata against the same steps in plain Python, in one run.

    python -m benchmarks.lakehouse --events 100000 --repeats 3 [--lean]

Both sides read the same simulated file, in turns, each in a process of its own. Plata's writes
Delta tables under contracts and quality checks, over a real Postgres that is started for the
purpose; the peer writes JSON lines and, like Plata, judges and hashes what it writes and says where
it came from. `--lean` lets the peer leave that out: an afternoon's script, which nobody could rely
on. A quarter of the file is run too, to see whose memory grows
with it. Ratios hold; seconds are this machine's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table

from infra.embedded.control import remove_data, start
from lakehouse.control.migrate import migrate
from lakehouse.settings import Settings
from pipelines.simulator.config import Faults, Simulation
from pipelines.simulator.stream import simulate
from serving.cli.output import emit

LINES = ("bronze", "silver", "gold", "plan, manifest")
ALL = "Raw to Gold"
NOT_COUNTED = ("ingest", "rules")
"""Steps that one side alone has: shown, and left out of the total."""

FAULTS = Faults(bad_rows=0.005, duplicates=0.005, late=0.01, invalid_transitions=0.01)
MONTH = 490_940
"""Events of the simulated month that the target is set for."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side took for one file: seconds a step, processor seconds, most memory in bytes."""

    seconds: Mapping[str, float]
    cpu: float
    memory: int

    @property
    def total(self) -> float:
        """The seconds from Raw to Gold."""
        return sum(took for step, took in self.seconds.items() if step not in NOT_COUNTED)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the result. None where a side has nothing to do there."""

    step: str
    plata_events_per_second: float | None
    peer_events_per_second: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """The most memory of each side, in MB, by events of the file."""

    events: int
    plata: float
    peer: float


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `cpu_ratio` compares processor time, ingest and rules included."""

    events: int
    megabytes: float
    lines: tuple[Line, ...]
    cpu_ratio: float
    memory: tuple[Memory, ...]
    ratios: tuple[float, ...]
    lean_peer: bool = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with _postgres() as (folder, url):
        report = measure(
            folder, url, events=options.events, repeats=options.repeats, lean=options.lean
        )
    emit(asdict(report), as_json=options.json, table=lambda: _drawn(report))


def measure(
    folder: Path, postgres_url: str, *, events: int, repeats: int, lean: bool = False
) -> Report:
    """Let both sides take turns at one file, and once each at a quarter of it."""
    say = Console(stderr=True).log
    whole, part = folder / "events.jsonl", folder / "part.jsonl"
    for file, count in ((whole, events), (part, events // 4)):
        with file.open("wb") as sink:
            sink.writelines(b.lines for b in simulate(Simulation(events=count, faults=FAULTS)))
    sides = _Sides(folder, postgres_url, lean)
    turns = []
    for number in range(1, repeats + 1):
        peer, plata = sides.peer(whole), sides.plata(whole)
        say(f"turn {number}: peer {peer.total:.1f} s, Plata {plata.total:.1f} s")
        turns.append((plata, peer))
    small = (sides.plata(part), sides.peer(part))
    count = _lines_of(whole)
    return Report(
        count,
        whole.stat().st_size / 1e6,
        compared(turns, count),
        statistics.median(peer.cpu / plata.cpu for plata, peer in turns),
        (_memory(_lines_of(part), [small]), _memory(count, turns)),
        tuple(peer.total / plata.total for plata, peer in turns),
        lean,
    )


def compared(turns: Sequence[tuple[Turn, Turn]], events: int) -> tuple[Line, ...]:
    """Return a line a step: the medians of events a second, and of the turns' ratios."""
    pairs = [({**a.seconds, ALL: a.total}, {**b.seconds, ALL: b.total}) for a, b in turns]
    return tuple(_line(step, pairs, events) for step in (*NOT_COUNTED, *LINES, ALL))


def _line(
    step: str, pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], events: int
) -> Line:
    plata = [own[step] for own, _ in pairs if step in own]
    peer = [other[step] for _, other in pairs if step in other]
    ratios = [b / a for a, b in zip(plata, peer, strict=True)] if plata and peer else []
    return Line(
        step,
        events / statistics.median(plata) if plata else None,
        events / statistics.median(peer) if peer else None,
        statistics.median(ratios) if ratios else None,
    )


def _memory(events: int, turns: Sequence[tuple[Turn, Turn]]) -> Memory:
    plata = max(own.memory for own, _ in turns)
    peer = max(other.memory for _, other in turns)
    return Memory(events, plata / 1e6, peer / 1e6)


class _Sides:
    """Starts each side in a process of its own and removes what it wrote."""

    def __init__(self, folder: Path, postgres_url: str, lean: bool) -> None:
        self._work = folder / "work"
        self._url = postgres_url
        self._peer = ["--lean"] if lean else []

    def plata(self, events: Path) -> Turn:
        return self._turn("benchmarks.lakehouse_side", str(events), str(self._work), self._url)

    def peer(self, events: Path) -> Turn:
        return self._turn("benchmarks.plain_python", str(events), str(self._work), *self._peer)

    def _turn(self, module: str, *arguments: str) -> Turn:
        try:
            out = subprocess.check_output([sys.executable, "-m", module, *arguments], text=True)
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
        return Turn(**json.loads(out.splitlines()[-1]))


def _lines_of(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


@contextmanager
def _postgres() -> Iterator[tuple[Path, str]]:
    home = Path(tempfile.mkdtemp(prefix="plata-bench-"))
    settings = Settings.alone(home)
    try:
        url = start(settings, frozenset({"postgres"})).postgres_url
        migrate(url)
        yield home, url
    finally:
        remove_data(home)
        shutil.rmtree(home, ignore_errors=True)


def _drawn(report: Report) -> Group:
    title = f"{report.events:,} events, {report.megabytes:,.0f} MB, in turns"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("step")
    for name in ("Plata, events/s", "plain Python, events/s", "Plata : plain"):
        table.add_column(name, justify="right")
    for line in report.lines:
        step = f"{line.step} (not counted)" if line.step in NOT_COUNTED else line.step
        table.add_row(
            step,
            _number(line.plata_events_per_second),
            _number(line.peer_events_per_second),
            "–" if line.ratio is None else f"{line.ratio:.2f} ×",
            style="bold" if line.step == ALL else None,
        )
    memory = Table(title="Most memory, MB", title_justify="left", header_style="bold")
    for name in ("events", "Plata", "plain Python"):
        memory.add_column(name, justify="right")
    for row in report.memory:
        memory.add_row(f"{row.events:,}", f"{row.plata:,.0f}", f"{row.peer:,.0f}")
    spread = ", ".join(f"{ratio:.2f}" for ratio in report.ratios)
    cpu = f"Turns: {spread}. By processor time, all steps: {report.cpu_ratio:.2f} ×."
    return Group(table, cpu, memory, _SAME, _LEAN if report.lean_peer else _FULL)


_SAME = (
    "Both check every line against the Raw contract and quarantine the bad and the repeated, run "
    "the state machine, write Bronze, Silver and Gold. Plata stages files and publishes them as "
    "Delta tables, serves Gold in Postgres, compares with earlier runs, keeps a catalogue, and can "
    "be killed and resumed."
)
_FULL = (
    "Both also hash the file, each line and each table, say where each row came from, and judge "
    "every table before it is written."
)
_LEAN = (
    "The lean peer hashes nothing, judges nothing but lines, leaves no manifest, and counts no "
    "quantiles; Plata does all of it."
)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="benchmarks.lakehouse", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--events", type=int, default=100_000, help="events of the file (100000)")
    size.add_argument(
        "--month", action="store_const", const=MONTH, dest="events", help=f"{MONTH:,} events"
    )
    parser.add_argument("--lean", action="store_true", help="let the peer leave out trust")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
