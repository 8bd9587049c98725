"""The door to skops, without the libraries that importing it would bring in beside it.

To know every estimator there is, skops imports every module of scikit-learn as it comes in: also
the adapters to other libraries' arrays, which hold none, and with them all of torch and dask. Here
the adapters are left out meanwhile. Torch itself is hidden from nobody, before or after.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ADAPTERS = tuple(
    f"sklearn.externals.array_api_compat.{library}" for library in ("cupy", "dask", "torch")
)


@contextmanager
def _adapters_left_out() -> Iterator[None]:
    """Let importing an adapter fail, as it does where its library is not installed."""
    absent = [name for name in _ADAPTERS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # Python's own sign for it
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


with _adapters_left_out():
    from skops.io import load
    from skops.io.exceptions import UntrustedTypesFoundException

__all__ = ["UntrustedTypesFoundException", "load"]
