"""Batches keep their order, and a step is built once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lakehouse.compute.batches import Cluster, Step, map_batches

built: list[int] = []


def adding(amount: int) -> Step:
    """A step worth loading once: it counts how often it was built."""
    built.append(amount)

    def step(rows: pa.Table) -> pa.Table:
        return rows.append_column("sum", pc.add(rows["n"], amount))

    return step


class EncodedHere:
    """What a cluster does to batches, without one: bytes in, bytes out."""

    def map(self, task: Callable[[bytes], bytes], batches: list[bytes]) -> Iterator[bytes]:
        yield from (task(batch) for batch in batches)

    def close(self) -> None:
        """Have nothing to leave."""


@pytest.mark.parametrize("cluster", [None, EncodedHere()], ids=["here", "encoded"])
def test_rows_come_back_in_order(cluster: Cluster | None) -> None:
    rows = pa.table({"n": pa.array(range(10), pa.int64())})
    done: list[int] = []
    result = map_batches(
        rows, adding, {"amount": 5}, cluster=cluster, batch_rows=4, progress=done.append
    )
    assert result["sum"].to_pylist() == list(range(5, 15))
    assert done == [4, 4, 2]


def test_a_step_is_built_once_for_equal_arguments() -> None:
    rows = pa.table({"n": pa.array(range(10), pa.int64())})
    built.clear()
    for _ in range(3):
        map_batches(rows, adding, {"amount": 41}, batch_rows=2)
    assert built == [41]


def test_a_table_without_rows_still_gets_its_columns() -> None:
    rows = pa.table({"n": pa.array([], pa.int64())})
    assert map_batches(rows, adding, {"amount": 1}).column_names == ["n", "sum"]


def test_a_worker_forgets_the_steps_it_used_longest_ago() -> None:
    rows = pa.table({"n": pa.array([1], pa.int64())})
    for amount in range(100, 120):
        map_batches(rows, adding, {"amount": amount})
    built.clear()
    map_batches(rows, adding, {"amount": 119})
    map_batches(rows, adding, {"amount": 100})
    assert built == [100]
