"""The most memory that some processes held together while a block ran."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil

_PAUSE_SECONDS = 0.05


class Peak:
    """The largest sum of resident sizes that was seen, in bytes.

    A page that two processes share counts for each: the sum is at most too high.
    """

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def watched(pids: Sequence[int], peak: Peak) -> Iterator[None]:
    """Raise `peak` to what the processes hold together, looked at many times a second."""
    processes = [psutil.Process(pid) for pid in pids]
    over = threading.Event()

    def look() -> None:
        while not over.wait(_PAUSE_SECONDS):
            peak.bytes = max(peak.bytes, sum(process.memory_info().rss for process in processes))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
