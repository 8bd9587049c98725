"""What goes wrong while looking for drift."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.errors import PlataError, Terminal


class ReferenceShapeError(PlataError, Terminal):
    """A table to compare lacks columns."""

    @classmethod
    def of(cls, what: str, missing: Sequence[str]) -> ReferenceShapeError:
        """Name the table and its missing columns, and the remedy."""
        return cls(
            f"the {what} to compare for drift lacks {', '.join(missing)}; "
            "a model trained with `plata models train` keeps a reference that has them all"
        )


class ReportError(PlataError, Terminal):
    """Evidently could not draw its report."""
