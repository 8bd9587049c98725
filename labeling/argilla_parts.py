"""The datasets of a task in Argilla: one for each number of answers, the next where one is full.

How many people answer a record is a property of the dataset there, not of the record. So the cases
that several people answer have datasets of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_REST = re.compile(r"(?: \((?P<wanted>\d+) personas\))?(?:\.(?P<number>\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One dataset of a task, in which `wanted` people answer each record."""

    task: str
    wanted: int = 1
    number: int = 1

    def __str__(self) -> str:
        """Return the dataset's name, as reviewers read it.

        >>> str(Part("tipo")), str(Part("tipo", 2, 3))
        ('tipo', 'tipo (2 personas).3')
        """
        people = f" ({self.wanted} personas)" if self.wanted > 1 else ""
        return self.task + people + (f".{self.number}" if self.number > 1 else "")

    @property
    def next(self) -> Part:
        """The one that follows when this one is full."""
        return replace(self, number=self.number + 1)

    @classmethod
    def parse(cls, name: str, task: str) -> Part | None:
        """Read a dataset's name; None where it is no part of `task`.

        >>> Part.parse("tipo.2", "tipo"), Part.parse("tipo-viejo", "tipo")
        (Part(task='tipo', wanted=1, number=2), None)
        """
        if not name.startswith(task):
            return None
        rest = _REST.fullmatch(name.removeprefix(task))
        if rest is None:
            return None
        return cls(task, int(rest["wanted"] or 1), int(rest["number"] or 1))
