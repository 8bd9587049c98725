from __future__ import annotations

from uuid import UUID

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.known_ids import KnownIds

FEW = st.integers(0, 3).map(lambda number: str(UUID(int=number << 64 | number)))
ALIKE = st.sampled_from([0, 1, 2**64, 2**64 + 1, 2**128 - 1]).map(lambda n: str(UUID(int=n)))
BATCHES = st.lists(st.lists(FEW | ALIKE | st.uuids().map(str), max_size=12), max_size=6)


@given(BATCHES, BATCHES)
def test_an_id_is_admitted_once_whatever_it_came_with(
    before: list[list[str]], batches: list[list[str]]
) -> None:
    known, seen = KnownIds(), set()
    for batch in before:
        known.add(pa.array(batch, pa.string()))
        seen.update(batch)
    for batch in batches:
        fresh = known.admit(pa.array(["-" * 36, *batch], pa.string()).slice(1)).tolist()
        assert fresh == [
            uid not in seen and uid not in batch[:place] for place, uid in enumerate(batch)
        ]
        seen.update(batch)
