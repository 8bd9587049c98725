"""What goes wrong between us and the reviewers."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.errors import InputError, PlataError, Terminal


class QueueMismatchError(PlataError, Terminal):
    """A queue was opened for other labels than its task has now."""

    @classmethod
    def of(cls, queue: str, have: Iterable[str], want: Iterable[str]) -> QueueMismatchError:
        """Show both lists and the two ways out."""
        return cls(
            f"review queue '{queue}' asks for the labels {', '.join(have)}; the task now has "
            f"{', '.join(want)}. Labels of a queue cannot change: pull what was answered and "
            "delete its dataset in Argilla, or give the changed task a new name"
        )


class ForeignCaseError(PlataError, Terminal):
    """A queue holds a record that Plata did not put there."""


class QueueRefusedError(PlataError, Terminal):
    """The labelling service answers, but will not do what it is asked."""


class NotLetInError(InputError):
    """Somebody answers who was not let into the tenant's queues."""
