"""The live view of `plata up`: one line a service, or one line a change where nobody watches."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from infra.embedded.state import Phase, UnitState

_STYLES = {
    Phase.READY: "green",
    Phase.FAILED: "red",
    Phase.RESTARTING: "yellow",
    Phase.WAITING: "dim",
}


class Progress:
    """Shows how services come up; hand `show` to `start`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=10) if console.is_terminal else None
        self._began = time.monotonic()
        self._shown: dict[str, UnitState] = {}
        self._spinners: dict[str, Spinner] = {}
        self._started = False

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last picture on the screen."""
        if self._live is not None:
            self._live.stop()

    def show(self, units: dict[str, UnitState]) -> None:
        """Draw the newest state of every process."""
        if any(unit.phase is not Phase.READY for unit in units.values()):
            self._started = True
        if self._live is not None:
            self._live.update(self._table(units))
        elif self._started:
            self._print_changes(units)
        self._shown = dict(units)

    def summary(self) -> str:
        """Say what it came to."""
        if not self._started:
            return "The services are up already; see `plata status`."
        seconds = time.monotonic() - self._began
        return f"The services are up after {seconds:.1f} s; see `plata status`."

    def _table(self, units: dict[str, UnitState]) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, unit in units.items():
            text = Text(str(unit.phase), style=_STYLES.get(unit.phase, "cyan"))
            busy = unit.phase in (Phase.PREPARING, Phase.STARTING, Phase.RESTARTING)
            mark = self._spinners.setdefault(name, Spinner("dots")) if busy else _mark(unit.phase)
            detail = unit.message
            if unit.phase is Phase.READY and self._started and unit.ready_after:
                detail = f"{unit.ready_after:.1f} s"
            table.add_row(mark, name, text, Text(detail, style="dim", overflow="ellipsis"))
        return table

    def _print_changes(self, units: dict[str, UnitState]) -> None:
        seconds = time.monotonic() - self._began
        for name, unit in units.items():
            before = self._shown.get(name, UnitState())
            if unit.phase is not before.phase:
                detail = f": {unit.message}" if unit.message else ""
                self._console.print(f"{seconds:6.1f} s  {name} {unit.phase}{detail}")


def _mark(phase: Phase) -> Text:
    marks = {Phase.READY: ("✓", "green"), Phase.FAILED: ("✗", "red")}
    return Text(*marks.get(phase, ("·", "dim")))
