"""Say on standard error how far a long benchmark is."""

from __future__ import annotations

import sys
from collections.abc import Callable

Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


def told(what: str, done: int, total: int) -> None:
    """Rewrite one line on a terminal; elsewhere print a line at the start of each thing."""
    counted = f" {done:,} of {total:,}" if total else ""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what}{counted}")
    elif done == 0 or done == total:
        sys.stderr.write(f"{what}{counted}\n")
    sys.stderr.flush()
