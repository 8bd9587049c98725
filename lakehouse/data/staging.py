"""Staged files: rows cut by partition, encoded as Parquet, named so that a repeat is the same file.

Nothing here touches storage. A file's name holds a digest of its run, part, partition and bytes:
the same rows staged again give the same name, other rows give another, and no file that is
already part of a table is ever written over.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lakehouse.data.tables import PARTITION_COLUMNS, StagedFile
from lakehouse.errors import InputError, TenantMismatchError
from lakehouse.run import RunContext, RunId

STAGED_FOLDER = "_staged"
"""Beside a table's files; Delta reads nothing that begins with an underscore, nor vacuums it."""

_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
_LONGEST_STATISTIC = 64
_DIGEST_LETTERS = 20
_SAMPLE_VALUES = 1000


def partition_columns(schema: pa.Schema) -> list[str]:
    """Return the columns a table of this shape is partitioned by: all of them, or none.

    Gold has a day but no source: a few thousand rows in a file a day would be all overhead.
    """
    return list(PARTITION_COLUMNS) if set(PARTITION_COLUMNS) <= set(schema.names) else []


def encode_files(
    rows: pa.Table, run: RunContext, part: str
) -> Iterator[tuple[StagedFile, pa.Buffer]]:
    """Cut rows by partition and yield each file with its bytes; order within one is kept.

    Files are encoded side by side, as many as Arrow has threads, and yielded in one order always.
    """
    encode = partial(_encoded, rows.drop_columns(partition_columns(rows.schema)), run, part)
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        yield from pool.map(encode, _partitions(rows))


def _encoded(
    rows: pa.Table, run: RunContext, part: str, partition: _Partition
) -> tuple[StagedFile, pa.Buffer]:
    """Do the work of one file; the rows are copied here, so that copies are few at a time."""
    own = rows.slice(partition.begin, len(partition.codes))
    is_own = partition.codes == partition.codes[0]
    if not is_own.all():
        own = own.filter(pa.array(is_own))
    content = _as_parquet(own.combine_chunks())
    metadata = pq.read_metadata(pa.BufferReader(content))
    file = StagedFile(
        path=_path(run.run_id, part, partition.values, content),
        size=content.size,
        partition=tuple(partition.values.items()),
        statistics=json.dumps(_statistics(metadata)),
    )
    return file, content


def marker_folder(run_id: RunId) -> str:
    """Return where a run keeps what it staged, inside the table's folder."""
    return f"{STAGED_FOLDER}/{quote(run_id, safe='')}"


def marker_path(run_id: RunId, part: str) -> str:
    """Return where a run keeps what it staged of one part."""
    return f"{marker_folder(run_id)}/{_digest(part.encode())}.json"


def null_counts(file: StagedFile) -> Mapping[str, int]:
    """Return how many nulls each column of a file holds."""
    counts: dict[str, int] = json.loads(file.statistics)["nullCount"]
    return counts


@dataclass(frozen=True, slots=True)
class _Partition:
    """Rows of one partition: of those from `begin` on, the ones with the same code as the first."""

    values: Mapping[str, str | None]
    begin: int
    codes: NDArray[np.int64]


def _partitions(rows: pa.Table) -> Iterator[_Partition]:
    if len(rows) == 0:
        return
    columns = partition_columns(rows.schema)
    codes = np.zeros(len(rows), dtype=np.int64)
    for name in columns:
        coded = rows[name].combine_chunks().dictionary_encode(null_encoding="encode")
        codes = codes * len(coded.dictionary) + coded.indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    _, from_the_end = np.unique(codes[::-1], return_index=True)
    ends = len(codes) - from_the_end
    for begin, end in zip(first.tolist(), ends.tolist(), strict=True):
        values = {name: _as_text(name, rows[name][begin].as_py()) for name in columns}
        yield _Partition(values, begin, codes[begin:end])


def _as_text(name: str, value: Any) -> str | None:
    if value == "":
        msg = f"partition column '{name}' is an empty text, expected a value or null"
        raise InputError(msg)
    return value.isoformat() if isinstance(value, date) else value


def _as_parquet(rows: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    repeating = [name for name in rows.column_names if _repeats(rows[name])]
    pq.write_table(rows, sink, compression="zstd", store_schema=False, use_dictionary=repeating)
    return sink.getvalue()


def _repeats(values: pa.ChunkedArray) -> bool:
    """Tell by the first values whether a dictionary is worth its room: for ids it is not."""
    if pa.types.is_nested(values.type):
        return False
    sample = values.slice(0, _SAMPLE_VALUES)
    distinct: int = pc.count_distinct(sample, mode="all").as_py()
    return 2 * distinct <= len(sample)


def _path(run_id: RunId, part: str, partition: Mapping[str, str | None], content: pa.Buffer) -> str:
    whose = [run_id, part, partition, hashlib.sha256(content).hexdigest()]
    readable = re.sub(r"[^A-Za-z0-9-]", "-", run_id)[:60]
    name = f"{readable}-{_digest(json.dumps(whose).encode())}.zstd.parquet"
    folders = [
        f"{column}={_NULL_FOLDER if value is None else quote(value, safe='')}"
        for column, value in partition.items()
    ]
    return "/".join([*folders, name])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_LETTERS]


def _statistics(metadata: pq.FileMetaData) -> dict[str, Any]:
    """Sum up a file as Delta wants it; only columns that are not nested are told about."""
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    group_count = metadata.num_row_groups
    for place in range(metadata.num_columns):
        chunks = [metadata.row_group(group).column(place) for group in range(group_count)]
        name, found = chunks[0].path_in_schema, [chunk.statistics for chunk in chunks]
        if "." in name or any(s is None or not s.has_null_count for s in found):
            continue
        nulls[name] = sum(s.null_count for s in found)
        bounds = [s for s in found if s.has_min_max]
        if bounds and len(bounds) == sum(1 for s in found if s.num_values):
            low, high = _low(min(s.min for s in bounds)), _high(max(s.max for s in bounds))
            if low is not None and high is not None:
                least[name], most[name] = low, high
    return {
        "numRecords": metadata.num_rows,
        "minValues": least,
        "maxValues": most,
        "nullCount": nulls,
    }


def _low(value: Any) -> Any:
    return value[:_LONGEST_STATISTIC] if isinstance(value, str) else _as_json(value)


def _high(value: Any) -> Any:
    """Return a bound from above that is no longer than a statistic may be; None where none is."""
    if not isinstance(value, str) or len(value) <= _LONGEST_STATISTIC:
        return _as_json(value)
    kept = value[:_LONGEST_STATISTIC].rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)


def _as_json(value: Any) -> Any:
    """Return what JSON can hold; None for truth values, bytes, and floats that are not finite."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def require_filled(rows: pa.Table) -> None:
    """Refuse nulls in columns whose field is required."""
    for field in rows.schema:
        if not field.nullable and (count := rows[field.name].null_count):
            msg = f"column '{field.name}' is required and is null in {count} rows"
            raise InputError(msg)


def require_own(rows: pa.Table, run: RunContext) -> None:
    """Refuse rows that are not of this tenant and this run."""
    expected = {"tenant_id": run.tenant.tenant_id, "run_id": run.run_id}
    for column, value in expected.items():
        if column not in rows.column_names:
            msg = f"rows to append need a column '{column}', found {rows.column_names}"
            raise InputError(msg)
        found = pc.unique(rows[column]).to_pylist()
        if found not in ([], [value]):
            msg = f"rows to append for {column} '{value}' carry {found}"
            raise TenantMismatchError(msg)
