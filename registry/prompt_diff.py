"""What sets two texts of a prompt apart, line by line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

_NO_NEWLINE = "\\ no newline at the end"


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """A unified diff: `lines` are empty where the texts are the same, letter by letter."""

    before: str
    after: str
    lines: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing sets them apart."""
        return not self.lines


def prompt_diff(before: str, after: str, old: str, new: str) -> PromptDiff:
    """Compare the text `old`, called `before`, with `new`, called `after`.

    >>> prompt_diff("1", "2", "query: {{text}}\\n", "busca: {{text}}\\n").lines[-2:]
    ('-query: {{text}}', '+busca: {{text}}')
    """
    found: list[str] = []
    was, now = (text.splitlines(keepends=True) for text in (old, new))
    for line in difflib.unified_diff(was, now, before, after):
        found.append(line.rstrip("\r\n"))
        if not line.endswith("\n"):
            found.append(_NO_NEWLINE)
    return PromptDiff(before, after, tuple(found))
