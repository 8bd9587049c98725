"""One bar on standard error for work that is counted; nothing where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def bar(
    what: str, *, total: int | None = None, transient: bool = False
) -> Iterator[tuple[Progress, TaskID]]:
    """Draw a bar while the block runs; a total of None is not known yet.

    A transient one is wiped away at the end. What it counts is told to the `Progress`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=transient, disable=not console.is_terminal
    ) as progress:
        yield progress, progress.add_task(what, total=total)
