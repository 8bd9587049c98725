"""A process that asked for it takes large columns from what it freed, not from the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import pyarrow as pa
import pyarrow.compute as pc
from lakehouse.compute.memory import reuse_freed_memory

{ask}

numbers = pa.array(range(1_000_000), pa.int64())

def make():
    return pc.add(numbers, 1)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

make()
before = faults()
for _ in range(20):
    make()
print(faults() - before, pa.default_memory_pool().backend_name)
"""


def program(ask: str) -> tuple[int, str]:
    done = subprocess.check_output([sys.executable, "-c", PROGRAM.format(ask=ask)], text=True)
    count, pool = done.split()
    return int(count), pool


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no mallopt")
def test_columns_take_the_memory_of_columns_that_are_gone() -> None:
    """Eight megabytes are 1,953 pages; twenty columns of new memory would fault on every one."""
    asked, pool = program("reuse_freed_memory()")
    assert pool == "system"
    assert asked < 20 * 1_953 / 2
