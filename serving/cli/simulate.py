"""`plata simulate`: a city's requests as Raw events, to a file or a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from serving.cli.bars import bar


def register(app: typer.Typer) -> None:
    """Add the command at the top of the program."""
    app.command()(simulate)


def simulate(
    out: Annotated[Path | None, typer.Option(help="File to write; without it, stdout.")] = None,
    from_: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day (2025-09-01)."),
    ] = None,
    to: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day (2026-02-28).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same bytes.")] = None,
    scale: Annotated[int | None, typer.Option(help="Tickets a day (1,150).")] = None,
    events: Annotated[int | None, typer.Option(help="Stop after about so many events.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file; options win over it.")] = None,
    bad_rows: Annotated[
        float | None, typer.Option(help="Lines that break the contract, as a share of events.")
    ] = None,
    duplicates: Annotated[
        float | None, typer.Option(help="Lines that come twice, as a share of events.")
    ] = None,
    late: Annotated[
        float | None, typer.Option(help="Events delivered 1 to 20 days late, as a share.")
    ] = None,
    invalid_transitions: Annotated[
        float | None, typer.Option(help="Tickets that break the state machine, as a share.")
    ] = None,
    drift_from: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day from which citizens write of other things."),
    ] = None,
    outage: Annotated[
        list[str] | None,
        typer.Option(help="CHANNEL:FROM:TO, a channel that delivers nothing on those days."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="File to write every fault to, one JSON value a line.")
    ] = None,
) -> None:
    """Write simulated Raw events, one JSON value a line. Texts are synthetic, in Spanish.

    Example: plata simulate --events 100000 | plata ingest - --tenant alcaldia-norte
    --source simulador
    """
    from pipelines.simulator.config import read_simulation
    from pipelines.simulator.stream import Summary
    from pipelines.simulator.stream import simulate as stream

    faults: dict[str, Any] = {
        "bad_rows": bad_rows,
        "duplicates": duplicates,
        "late": late,
        "invalid_transitions": invalid_transitions,
        "drift": None if drift_from is None else {"from": drift_from.date()},
        "outages": None if outage is None else [_outage(text) for text in outage],
    }
    options: dict[str, Any] = {
        "from": None if from_ is None else from_.date(),
        "to": None if to is None else to.date(),
        "seed": seed,
        "scale": scale,
        "events": events,
    }
    given = {name: value for name, value in options.items() if value is not None}
    wrong = {name: value for name, value in faults.items() if value is not None}
    plan = read_simulation(config, {**given, "faults": wrong})
    summary = Summary()
    with ExitStack() as stack:
        sink = stack.enter_context(_opened(out))
        notes = None if truth is None else stack.enter_context(_opened(truth))
        progress = stack.enter_context(_events_written(plan.events))
        for block in stream(plan):
            sink.write(block.lines)
            summary.add(block)
            if notes is not None:
                notes.writelines(_line(fault) for fault in block.truth)
            progress(block.count)
        if notes is not None:
            notes.write(_line({"kind": "summary", "lines": summary.lines, **summary.faults}))


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _outage(text: str) -> dict[str, str]:
    from lakehouse.errors import InputError

    parts = text.split(":")
    if len(parts) != 3:
        msg = (
            f"'{text}' is no outage: expected CHANNEL:FROM:TO, such as email:2025-10-01:2025-10-03"
        )
        raise InputError(msg)
    return dict(zip(("channel", "from", "to"), parts, strict=True))


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes]]:
    from lakehouse.errors import InputError

    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        sink = path.open("wb")
    except OSError as error:
        msg = f"'{path}' cannot be written: {error.strerror or error}; name a file that can"
        raise InputError(msg) from error
    with sink:
        yield sink


@contextmanager
def _events_written(total: int | None) -> Iterator[Callable[[int], None]]:
    with bar("events", total=total, transient=True) as (progress, task):
        yield lambda count: progress.advance(task, count)
