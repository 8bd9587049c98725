"""What goes wrong between the parts."""

from __future__ import annotations

from lakehouse.errors import PlataError, Terminal


class RawChangedError(PlataError, Terminal):
    """A file in Raw is not the one that landed."""


class RunFailedError(PlataError, Terminal):
    """A critical check failed: nothing of the layer was published."""


class NothingToDoError(PlataError, Terminal):
    """A layer was asked to work and has nothing to work on yet."""


class SpaceMismatchError(PlataError, Terminal):
    """A model was trained on vectors of another embedding space than the one it would read."""


class BundleMismatchError(PlataError, Terminal):
    """The parts of a bundle do not fit together, the tenant's tasks, or what MLflow shows."""
