from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import UUID

MEGABYTE = 1 << 20
TAKE = """
import resource, sys
from pathlib import Path
from benchmarks import bronze_sides
from pipelines import bronze, raw_blocks
bronze.PART_BYTES, raw_blocks.BLOCK_BYTES = 4 << 20, 1 << 18
bronze_sides.plata()(Path(sys.argv[1]), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
"""Small parts, so that a file of some megabytes is many of them."""


def file_of(path: Path, megabytes: int) -> Path:
    path.parent.mkdir(parents=True)
    text = "x" * 150
    with path.open("w") as sink:
        for number in range(megabytes * MEGABYTE // 340):
            uid = UUID(int=number * 2**64 + number, version=4)
            sink.write(
                f'{{"event_id":"{uid}","ticket_id":"{uid}","event_type":"MESSAGE_ADDED",'
                f'"ts":"2026-01-02T03:04:05Z","data":{{"role":"citizen","text":"{text}"}}}}\n'
            )
    return path


def peak_of(folder: Path, megabytes: int) -> int:
    """Take a file to Bronze in a process of its own; return the most bytes it held."""
    file = file_of(folder / "banco" / "raw.jsonl", megabytes)
    done = subprocess.run(
        [sys.executable, "-c", TAKE, str(file), str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout.split()[-1])


def test_a_file_five_times_as_large_needs_hardly_more_memory(tmp_path: Path) -> None:
    small, large = peak_of(tmp_path / "small", 16), peak_of(tmp_path / "large", 80)
    assert large - small < 24 * MEGABYTE
