"""How commands print: a table for people, one JSON value for programs, errors in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 120


def console() -> Console:
    """Return the console for people's eyes; wide enough for tables when piped.

    Brackets are printed as they are: a masked text holds '[número]', which is no markup of ours.
    """
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(highlight=False, markup=False, width=width)


def emit(value: Any, *, as_json: bool, table: Callable[[], RenderableType]) -> None:
    """Print `value` as JSON, or what `table()` draws of it.

    Values JSON does not know (dates, paths, enums) are written as their text.
    """
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")
    else:
        console().print(table())


def grid(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    whole: Sequence[str] = (),
) -> Table:
    """Draw rows under a title; numbers are set to the right, columns of `whole` never broken."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for position, name in enumerate(columns):
        cells = [row[position] for row in rows]
        numeric = bool(cells) and all(isinstance(cell, int | float) for cell in cells)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


def write_page(path: Path, text: str) -> None:
    """Write a page to a file. Raises `InputError` where that cannot be."""
    from lakehouse.errors import InputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"cannot write '{path}': {error.strerror or error}"
        raise InputError(msg) from error


def operator() -> str:
    """Return who is at the keyboard, for the audit log: the name the system knows them by."""
    import os
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def fail(message: str) -> None:
    """Print an error as one line on standard error."""
    sys.stderr.write("error: " + " ".join(message.split()) + "\n")
