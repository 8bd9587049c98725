"""How this process takes memory for its columns."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Options of glibc's `mallopt`, by their numbers in malloc.h."""
_LARGEST = 1 << 30
"""Bytes: pieces up to this size are taken from what was freed before."""
_ARENAS = 2
"""Heaps that threads share: each keeps what it freed, so with one a thread memory would grow."""


def reuse_freed_memory() -> None:
    """Let Arrow and NumPy take their columns from what this process freed, not from the kernel.

    A run makes and drops columns of some megabytes by the thousand. By default many are mapped anew
    and given back, and the kernel clears their pages again: a third of Bronze's processor time on
    a machine with many neighbours, a fifteenth of a run's on one at rest. Where the C library has
    no `mallopt`, only Arrow's pool is changed.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _LARGEST)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_ARENA_MAX, _ARENAS)
