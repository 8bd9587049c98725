"""What goes wrong between the parts."""

from __future__ import annotations

from lakehouse.errors import PlataError, Terminal


class RunFailedError(PlataError, Terminal):
    """A critical check failed: nothing of the layer was published."""
