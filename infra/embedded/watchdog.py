"""Outlive the supervisor by a moment: when its pipe closes, kill every process it left.

Run by path like `child.py`, with the supervisor's pipe as standard input and the value of the
marker as only argument. The supervisor writes `+GROUP` and `-GROUP` lines as services come and
go; a clean end empties the set, so that closing the pipe kills nothing but stragglers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

MARKER = "PLATA_SUPERVISED_BY"
GRACE_SECONDS = 3.0


def marked(value: str) -> list[int]:
    """Find the processes started under this marker: also those that left their group."""
    wanted = f"{MARKER}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as environ:
                if wanted in environ.read().split(b"\0"):
                    found.append(int(entry))
    return found


def kill_groups(groups: set[int], number: int) -> None:
    """Signal whole process groups; those already gone do not matter."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def kill_marked(value: str, number: int) -> bool:
    """Signal every marked process and tell whether there was any."""
    found = marked(value)
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return bool(found)


def sweep(value: str, groups: set[int]) -> None:
    """End what is left: ask first, kill after. Direct children are dying of their death signal."""
    kill_groups(groups, signal.SIGTERM)
    kill_marked(value, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and marked(value):
        time.sleep(0.05)
    kill_groups(groups, signal.SIGKILL)
    while kill_marked(value, signal.SIGKILL):
        time.sleep(0.02)


def main(value: str) -> None:
    """Follow the supervisor's lines until the pipe closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    sweep(value, groups)


if __name__ == "__main__":
    main(sys.argv[1])
