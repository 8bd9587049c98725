"""The most memory that some processes held together while a block ran."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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


def own_peak() -> int:
    """Return the most that this process itself ever held, in bytes.

    The kernel's mark of this program, not `getrusage`: that one begins at what the parent held.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
