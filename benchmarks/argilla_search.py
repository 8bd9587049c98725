"""How long a reviewer waits for Argilla's pages, with our search engine and with a plain one.

    python -m benchmarks.argilla_search --records 100000 --repeats 9 [--labels 20] [--json]

Starts Postgres, Valkey and Argilla in a temporary folder, fills a dataset, and asks over HTTP what
Argilla's page asks, in turns with a second server on the same database whose engine keeps nothing
of its own (`benchmarks/argilla_scans`). Then eight reviewers label at once: each takes a page of
ten, answers the ten, and takes the next, in the large dataset and in one of 400. Beside seconds
stands processor time (of servers and database together), which neighbours on the machine change
less. Services and folder go away at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Group
from rich.table import Table

from benchmarks.argilla_cases import (
    DIMENSIONS,
    LABELS,
    PASSWORD,
    VECTOR,
    Queue,
    Server,
    fill,
    make_queue,
)
from benchmarks.progress import Tell, told
from infra.embedded.catalogue import inherited, units_of
from infra.embedded.control import remove_data, start
from infra.embedded.credentials import ensure_credentials
from infra.embedded.files import read_json
from infra.embedded.layout import ROOT, Layout
from infra.embedded.plan import Plan
from infra.embedded.ports import LOOPBACK, choose_ports
from lakehouse.settings import Settings
from serving.cli.output import emit

GOAL_MS = 300
REVIEWERS = 8
SMALL = 400
PEER = ROOT / "benchmarks" / "argilla_scans"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """One question: median milliseconds and processor milliseconds of each side, and the ratio."""

    question: str
    found: int
    plata_ms: float
    plata_cpu_ms: float
    scans_ms: float
    scans_cpu_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Rush:
    """Eight reviewers at once in one dataset."""

    records: int
    labels: int
    errors: int
    answered_twice: int
    labels_per_second: float
    page_ms: float
    submit_ms: float
    slowest_submit_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, and under what load of the machine."""

    records: int
    filled_per_second: float
    load: float
    waits: tuple[Wait, ...]
    rushes: tuple[Rush, ...]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.argilla_search")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--labels", type=int, default=20, help="each reviewer's, in each dataset")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    report = measure(options.records, options.repeats, options.labels, told)
    emit(asdict(report), as_json=options.json, table=lambda: _drawn(report))


def measure(records: int, repeats: int, labels: int, tell: Tell) -> Report:
    """Fill, ask, and let reviewers work."""
    with serving() as (ours, scans):
        large = make_queue(ours, name="grande", reviewers=REVIEWERS)
        small = make_queue(ours, name="chica", reviewers=REVIEWERS)
        begun = time.perf_counter()
        fill(large, ours.database, records, seed=1, tell=tell)
        rate = records / (time.perf_counter() - begun)
        fill(small, ours.database, SMALL, seed=2, tell=tell)
        waits = ask_in_turns(ours, scans, large, repeats, tell)
        rushes = []
        for queue, size in ((large, records), (small, SMALL)):
            tell(f"{REVIEWERS} reviewers in {size:,} records", 0, 0)
            rushes.append(rush(ours, queue, size, labels))
        return Report(records, rate, os.getloadavg()[1], waits, tuple(rushes))


# ---- the two servers


@dataclass
class Side:
    """A server and its processes' processor time."""

    server: Server
    process: psutil.Process
    postmaster: psutil.Process
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=300))

    def cpu(self) -> float:
        """Return the processor seconds that server and database have used so far."""
        backends = self.postmaster.children()
        return sum(_used(one) for one in (self.process, self.postmaster, *backends))


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


@contextmanager
def serving() -> Iterator[tuple[Server, Server]]:
    """Start Argilla in a folder of its own, and beside it the server of the peer."""
    home = Path(tempfile.mkdtemp(prefix="plata-bench-"))
    try:
        start(Settings.alone(home), frozenset({"postgres", "valkey", "argilla"}))
        layout = Layout.of(home)
        credentials = ensure_credentials(layout)
        plan = Plan.from_json(read_json(layout.plan) or {})
        url = f"http://{LOOPBACK}:{plan.ports['argilla']}"
        ours = Server(url, credentials.argilla_api_key, plan.databases.argilla)
        command = units_of(plan, layout, credentials)["argilla"].command()
        port = choose_ports({"peer": plan.ports["argilla"] + 50})["peer"]
        argv = ["argilla_scans.asgi:app" if ":app" in word else word for word in command.argv]
        argv[argv.index("--port") + 1] = str(port)
        paths = os.pathsep.join([command.env["PYTHONPATH"], str(PEER)])
        own = {"PYTHONPATH": paths, "ARGILLA_SEARCH_ENGINE": "scans"}
        with subprocess.Popen(
            argv,
            env={**inherited(), **command.env, **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                scans = Server(f"http://{LOOPBACK}:{port}", ours.api_key, ours.database)
                _wait_for(scans, process)
                yield ours, scans
            finally:
                process.terminate()
    finally:
        remove_data(home)
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(f"{server.url}/api/v1/status", timeout=30).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    sys.exit("the peer's server did not come up")


# ---- one reviewer's questions, in turns

_STATUS = {"entity": "response", "property": "status"}
_PENDING = [
    {"type": "terms", "scope": _STATUS, "values": ["pending"]},
    {"type": "terms", "scope": {"entity": "record", "property": "status"}, "values": ["pending"]},
]


def _metadata(name: str, **wanted: Any) -> Json:
    kind = "terms" if "values" in wanted else "range"
    return {"type": kind, "scope": {"entity": "metadata", "metadata_property": name}, **wanted}


def _filtered(*more: Json) -> Json:
    return {"query": {}, "filters": {"and": [*_PENDING, *more]}}


def _said(words: str) -> Json:
    return {**_filtered(), "query": {"text": {"q": words}}}


def questions(record: str) -> dict[str, tuple[Json, int]]:
    """Return what the page sends for each thing a reviewer does, with the size of its page."""
    vector = {"name": VECTOR, "record_id": record, "max_results": 50, "order": "most_similar"}
    return {
        "pending page": (_filtered(), 10),
        "a word (3.6 % of the records)": (_said("factura"), 10),
        "two words": (_said("factura energía"), 10),
        "a phrase": (_said('"la factura"'), 10),
        "metadata: a term (20 %)": (_filtered(_metadata("channel", values=["chat"])), 10),
        "metadata: a range (6 %)": (_filtered(_metadata("score", ge=0.2, le=0.5)), 10),
        "find similar": ({**_filtered(), "query": {"vector": vector}}, 50),
        "find similar in a channel": (
            {
                **_filtered(_metadata("channel", values=["chat"])),
                "query": {"vector": vector},
            },
            50,
        ),
    }


def ask_in_turns(
    ours: Server, scans: Server, queue: Queue, repeats: int, tell: Tell
) -> tuple[Wait, ...]:
    """Ask both sides the same, one after the other; the first turn warms up and is not counted."""
    reviewer = queue.reviewers[0]
    sides = [_side(server, reviewer) for server in (ours, scans)]
    first = _search(sides[0].client, queue, _filtered(), 1).json()["items"][0]["record"]["id"]
    asked = questions(first)
    took: dict[tuple[str, int], list[tuple[float, float]]] = {}
    found: dict[str, int] = {}
    for turn in range(repeats + 1):
        tell("turns", turn, repeats)
        for name, (body, size) in asked.items():
            for number, side in enumerate(sides):
                if number == 1 and turn > max(2, repeats // 3):
                    continue  # the peer takes seconds; a few turns say so
                cpu, begun = side.cpu(), time.perf_counter()
                answer = _search(side.client, queue, body, size).json()
                wall = time.perf_counter() - begun
                if turn:
                    took.setdefault((name, number), []).append((wall, side.cpu() - cpu))
                found[name] = answer["total"]
    tell("turns", repeats, repeats)
    return tuple(_wait(name, found[name], took) for name in asked)


def _wait(name: str, found: int, took: dict[tuple[str, int], list[tuple[float, float]]]) -> Wait:
    (mine, my_cpu), (theirs, their_cpu) = (
        [round(statistics.median(times) * 1000, 1) for times in zip(*took[name, side], strict=True)]
        for side in (0, 1)
    )
    return Wait(name, found, mine, my_cpu, theirs, their_cpu, round(theirs / mine, 1))


def _side(server: Server, reviewer: str) -> Side:
    port = int(server.url.rpartition(":")[2])
    database = int(server.database.rpartition(":")[2].partition("/")[0])
    side = Side(server, _listening(port), _listening(database))
    _log_in(side.client, server, reviewer)
    return side


def _listening(port: int) -> psutil.Process:
    for one in psutil.net_connections("tcp"):
        listens = one.status == psutil.CONN_LISTEN and getattr(one.laddr, "port", 0) == port
        if listens and one.pid:
            return psutil.Process(one.pid)
    raise LookupError(f"nothing listens on port {port}")


def _log_in(client: httpx.Client, server: Server, reviewer: str) -> None:
    client.base_url = httpx.URL(f"{server.url}/api/v1/")
    answer = client.post("token", data={"username": reviewer, "password": PASSWORD})
    token = answer.raise_for_status().json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"


def _search(client: httpx.Client, queue: Queue, body: Json, size: int) -> httpx.Response:
    return client.post(
        f"me/datasets/{queue.dataset}/records/search",
        params={"include": ["responses", "suggestions"], "offset": 0, "limit": size},
        json=body,
    ).raise_for_status()


# ---- eight reviewers at once


@dataclass
class _Shift:
    """What one reviewer did."""

    answered: list[str] = field(default_factory=list)
    errors: int = 0
    pages: list[float] = field(default_factory=list)
    submits: list[float] = field(default_factory=list)


def rush(server: Server, queue: Queue, records: int, labels: int) -> Rush:
    """Let all reviewers label at once, each so many records, and count what went wrong."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(queue.reviewers)) as pool:
        shifts = list(pool.map(lambda name: _work(server, queue, name, labels), queue.reviewers))
    seconds = time.perf_counter() - begun
    answered = Counter(record for shift in shifts for record in shift.answered)
    submits = [took for shift in shifts for took in shift.submits]
    pages = [took for shift in shifts for took in shift.pages]
    done = sum(answered.values())
    return Rush(
        records=records,
        labels=done,
        errors=sum(shift.errors for shift in shifts),
        answered_twice=sum(1 for times in answered.values() if times > 1),
        labels_per_second=round(done / seconds, 1),
        page_ms=round(statistics.median(pages) * 1000, 1),
        submit_ms=round(statistics.median(submits) * 1000, 1),
        slowest_submit_ms=round(max(submits) * 1000, 1),
    )


def _work(server: Server, queue: Queue, reviewer: str, labels: int) -> _Shift:
    shift = _Shift()
    with httpx.Client(timeout=120) as client:
        _log_in(client, server, reviewer)
        while len(shift.answered) < labels and shift.errors < labels:
            begun = time.perf_counter()
            page = client.post(
                f"me/datasets/{queue.dataset}/records/search",
                params={"include": ["responses", "suggestions"], "offset": 0, "limit": 10},
                json=_filtered(),
            )
            shift.pages.append(time.perf_counter() - begun)
            if page.is_error:
                shift.errors += 1
                continue
            items = page.json()["items"][: labels - len(shift.answered)]
            if not items:
                break
            for item in items:
                _answer(client, item["record"]["id"], queue, shift)
    return shift


def _answer(client: httpx.Client, record: str, queue: Queue, shift: _Shift) -> None:
    values = {queue.question: {"value": LABELS[len(shift.answered) % len(LABELS)]}}
    begun = time.perf_counter()
    answer = client.post(
        f"records/{record}/responses", json={"status": "submitted", "values": values}
    )
    shift.submits.append(time.perf_counter() - begun)
    if answer.is_error:
        shift.errors += 1
    else:
        shift.answered.append(record)


# ---- the report


def _drawn(report: Report) -> Group:
    waits = Table(
        title=f"{report.records:,} records of {DIMENSIONS} dimensions; "
        f"load of the machine {report.load:.1f}; goal {GOAL_MS} ms"
    )
    for column in ("a reviewer asks", "found", "plata", "processor", "scans", "processor", "ratio"):
        waits.add_column(column, justify="left" if column.startswith("a ") else "right")
    for wait in report.waits:
        waits.add_row(
            wait.question,
            f"{wait.found:,}",
            f"{wait.plata_ms:,.0f} ms",
            f"{wait.plata_cpu_ms:,.0f} ms",
            f"{wait.scans_ms:,.0f} ms",
            f"{wait.scans_cpu_ms:,.0f} ms",
            f"{wait.ratio:.1f} ×",
        )
    rushes = Table(title=f"{REVIEWERS} reviewers at once")
    for column in ("records", "labels", "errors", "answered twice", "labels/s", "page", "submit"):
        rushes.add_column(column, justify="right")
    for one in report.rushes:
        rushes.add_row(
            f"{one.records:,}",
            str(one.labels),
            str(one.errors),
            str(one.answered_twice),
            f"{one.labels_per_second:.1f}",
            f"{one.page_ms:,.0f} ms",
            f"{one.submit_ms:,.0f} ms (slowest {one.slowest_submit_ms:,.0f})",
        )
    return Group(waits, rushes)


if __name__ == "__main__":
    main()
