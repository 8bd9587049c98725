"""The live view of work in stages: what is done, what is at work, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@dataclass(frozen=True, slots=True)
class Done:
    """A stage that is over."""

    title: str
    result: str
    seconds: float


class StageView:
    """Draws stages on a console; where nobody watches, prints one line a stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.done: list[Done] = []

    @contextmanager
    def at_work(self, title: str) -> Iterator[_AtWork]:
        """Draw a stage while the block runs, then leave its line behind."""
        began = time.perf_counter()
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", style="dim"),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            work = _AtWork(progress, title)
            yield work
        stage = Done(title, work.result, time.perf_counter() - began)
        self.done.append(stage)
        self._console.print(
            f"[green]✓[/] {stage.title}  [dim]{stage.result} ({stage.seconds:.1f} s)[/]",
            markup=True,
        )

    @contextmanager
    def timed(self, title: str) -> Iterator[_Quiet]:
        """Only take the time of a stage that draws itself."""
        began = time.perf_counter()
        work = _Quiet()
        yield work
        self.done.append(Done(title, work.result, time.perf_counter() - began))


@dataclass(slots=True)
class _Quiet:
    """A stage that draws itself; `result` is what is kept of it."""

    result: str = ""


class _AtWork:
    """The stage being drawn; `result` is what its line will say."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None, detail="")
        self.result = ""

    def say(self, what: str, done: int, total: int) -> None:
        """Show what is being done; a total of 0 is not known."""
        count = f"{what} {done:,}/{total:,}" if total else what
        self._progress.update(self._task, detail=count, completed=done, total=total or None)
