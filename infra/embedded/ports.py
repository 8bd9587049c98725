"""Which port each service listens on: the usual one, unless somebody has it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType

from lakehouse.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
DEFAULTS: Mapping[str, int] = MappingProxyType(
    {
        "postgres": 5433,
        "valkey": 6380,
        "mlflow": 5000,
        "prefect": 4200,
        "argilla": 6900,
        "dask-scheduler": 8786,
        "dask-dashboard": 8787,
    }
)
_TRIES = 200


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose_ports(
    wanted: Mapping[str, int], free: Callable[[int], bool] = is_free
) -> dict[str, int]:
    """Give each name its wanted port, or the next one that is free and not given already.

    >>> choose_ports({"a": 5000, "b": 5000}, free=lambda port: port != 5001)
    {'a': 5000, 'b': 5002}
    """
    chosen: dict[str, int] = {}
    for name, start in wanted.items():
        candidates = range(start, min(start + _TRIES, 65536))
        port = next((p for p in candidates if p not in chosen.values() and free(p)), None)
        if port is None:
            msg = f"no free port for {name} from {start} to {candidates.stop - 1} on {LOOPBACK}"
            raise ConfigurationError(msg)
        chosen[name] = port
    return chosen
