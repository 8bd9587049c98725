"""Process trees: what memory they hold and which ports they listen on, by the kernel's accounts."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping

import psutil


def children_by_parent() -> dict[int, list[int]]:
    """Return every living process under its parent."""
    found: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as stat:
                # The name may hold spaces and parentheses; the fields begin after its last one.
                found[int(stat.read().rpartition(")")[2].split()[1])].append(int(entry))
    return found


def tree(root: int, children: Mapping[int, Iterable[int]]) -> list[int]:
    """Return a process and all its descendants.

    >>> tree(1, {1: [2, 3], 3: [4]})
    [1, 2, 3, 4]
    """
    members = [root]
    for pid in members:
        members.extend(children.get(pid, ()))
    return members


def serves(root: int, port: int) -> bool:
    """Tell whether a process or a descendant listens on a TCP port.

    Where the kernel does not let us look into one of them, it may be the one: then too.
    """
    for pid in tree(root, children_by_parent()):
        try:
            found = psutil.Process(pid).net_connections(kind="tcp")
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            return True
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in found):
            return True
    return False


def memory_of(pids: Iterable[int]) -> int:
    """Return the bytes the processes hold: shared pages are counted once, divided among sharers."""
    return sum(_proportional(pid) for pid in pids)


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            lines = (line.split() for line in rollup if line.startswith("Pss:"))
            return sum(int(words[1]) * 1024 for words in lines)
    except OSError:
        return _resident(pid)


def _resident(pid: int) -> int:
    """Return the resident set, for processes whose map we may not read."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
