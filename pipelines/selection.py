"""Which of a tenant's tasks are meant."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.errors import InputError
from models.task import Task


def named(tasks: Sequence[Task], name: str | None) -> tuple[Task, ...]:
    """Return the task of that name, or every task where no name is given.

    Raises `InputError` that lists the tasks there are.
    """
    if name is None:
        return tuple(tasks)
    found = tuple(task for task in tasks if task.name == name)
    if not found:
        have = ", ".join(task.name for task in tasks)
        msg = f"no task '{name}'; the tenant's configuration has: {have}"
        raise InputError(msg)
    return found
