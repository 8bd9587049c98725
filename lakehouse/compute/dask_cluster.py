"""The door to Dask: a running scheduler as a `Cluster`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from distributed import Client
from distributed.comm import get_address_host_port

from lakehouse.errors import ServiceUnavailableError


class DaskCluster:
    """Batches as Dask tasks. Tasks are pure: one that dies with its worker runs again elsewhere."""

    def __init__(self, address: str, *, timeout_seconds: float = 15.0) -> None:
        try:
            # Where nobody listens, the client itself would go on asking until its time is up.
            socket.create_connection(get_address_host_port(address), timeout_seconds).close()
            self._client = Client(address, timeout=timeout_seconds, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ServiceUnavailableError.of("Dask", address, str(error)) from error

    def map(self, task: Callable[[bytes], bytes], batches: list[bytes]) -> Iterator[bytes]:
        """Send every batch at once; Dask balances them over the workers."""
        futures = self._client.map(task, batches, pure=False)
        try:
            for future in futures:
                yield future.result()
        finally:
            self._client.cancel(futures)

    def close(self) -> None:
        """Leave the scheduler; its workers keep their models."""
        self._client.close()
