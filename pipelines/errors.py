"""What goes wrong between the parts."""

from __future__ import annotations

from lakehouse.errors import PlataError, Terminal, Transient


class NotStartedError(PlataError, Transient):
    """The local services are not up, and no external ones are named."""


class RunFailedError(PlataError, Terminal):
    """A critical check failed: nothing of the layer was published."""
