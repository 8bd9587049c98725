"""Say on standard error how far long work is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def told() -> Iterator[Callable[[str, int, int], None]]:
    """Show on standard error what is being done; a line each where nobody watches."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    said: set[str] = set()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        line = progress.add_task("")

        def tell(what: str, done: int, total: int) -> None:
            counted = f" {done:,} of {total:,}" if total else ""
            progress.update(line, description=what + counted)
            if what not in said and not console.is_terminal:
                console.print(what)
            said.add(what)

        yield tell
