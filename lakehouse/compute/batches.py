"""Map a step over a table in batches: in this process, or on Dask with its model loaded once."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa

Step = Callable[[pa.Table], pa.Table]
"""A pure function from rows to rows; it may return another number of them."""

_loaded: OrderedDict[str, Step] = OrderedDict()
_KEPT = 16
"""Steps a process keeps, the latest used: a worker lives long and meets many versions."""


class Cluster(Protocol):
    """Somewhere batches are sent: each is encoded, run where the step lives, and comes back."""

    def map(self, task: Callable[[bytes], bytes], batches: list[bytes]) -> Iterator[bytes]:
        """Run `task` over every batch and yield the results in the order of `batches`."""
        ...

    def close(self) -> None:
        """Leave; what the workers have loaded stays loaded."""
        ...


def map_batches(
    rows: pa.Table,
    make: Callable[..., Step],
    arguments: Mapping[str, Any],
    *,
    cluster: Cluster | None = None,
    batch_rows: int = 64,
    progress: Callable[[int], None] = lambda done: None,
) -> pa.Table:
    """Apply the step that `make(**arguments)` builds to `rows`, batch by batch, order kept.

    `make` is a function of a module (workers import it by name) and `arguments` are JSON values
    (paths, digests, names): a worker builds the step once and keeps it for every later batch that
    asks for the same. A table without rows goes through once, so that the result has its schema.
    `progress` is told the number of input rows finished since its last call.
    """
    batches = [rows.slice(start, batch_rows) for start in range(0, max(len(rows), 1), batch_rows)]
    key = json.dumps([make.__module__, make.__qualname__, arguments], sort_keys=True)
    done = (
        _here(batches, make, arguments, key)
        if cluster is None
        else _there(batches, make, arguments, key, cluster)
    )
    results = []
    for batch, result in zip(batches, done, strict=True):
        progress(len(batch))
        results.append(result)
    return pa.concat_tables(results).combine_chunks()


def _here(
    batches: list[pa.Table], make: Callable[..., Step], arguments: Mapping[str, Any], key: str
) -> Iterator[pa.Table]:
    for batch in batches:
        yield _step(make, arguments, key)(batch)


def _there(
    batches: list[pa.Table],
    make: Callable[..., Step],
    arguments: Mapping[str, Any],
    key: str,
    cluster: Cluster,
) -> Iterator[pa.Table]:
    task = _Task(make, dict(arguments), key)
    for payload in cluster.map(task, [_encode(batch) for batch in batches]):
        yield _decode(payload)


class _Task:
    """What travels to a worker: a function's name and its arguments, never the model itself."""

    def __init__(self, make: Callable[..., Step], arguments: dict[str, Any], key: str) -> None:
        self._make, self._arguments, self._key = make, arguments, key

    def __call__(self, payload: bytes) -> bytes:
        return _encode(_step(self._make, self._arguments, self._key)(_decode(payload)))


def _step(make: Callable[..., Step], arguments: Mapping[str, Any], key: str) -> Step:
    if key not in _loaded:
        _loaded[key] = make(**arguments)
        while len(_loaded) > _KEPT:
            _loaded.popitem(last=False)
    _loaded.move_to_end(key)
    return _loaded[key]


def _encode(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


def _decode(payload: bytes) -> pa.Table:
    with pa.ipc.open_stream(payload) as reader:
        return reader.read_all()
