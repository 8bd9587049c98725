"""What reviewers are asked to go by: one text a task, versioned, never edited once in use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

_GENERAL = "general"
_FILE = re.compile(r"(?P<name>[a-z0-9_-]+)\.v(?P<number>\d+)\.md")


@dataclass(frozen=True, slots=True)
class Guideline:
    """One version of a task's guideline. `version` is what a label records."""

    version: str
    text: str


def newest(task: str) -> Guideline:
    """Return the newest guideline for a task, the general one where it has none of its own.

    >>> newest("tipo").version
    'tipo.v1'
    >>> newest("tema").version
    'general.v1'
    """
    folder = resources.files("labeling").joinpath("guidelines")
    found = [(_FILE.fullmatch(file.name), file) for file in folder.iterdir()]
    versions = {(m["name"], int(m["number"])): file for m, file in found if m is not None}
    name = task if any(task == known for known, _ in versions) else _GENERAL
    number = max(number for known, number in versions if known == name)
    text = versions[name, number].read_text(encoding="utf-8").strip()
    return Guideline(f"{name}.v{number}", text)
