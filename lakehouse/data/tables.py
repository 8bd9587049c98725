"""The words of the data plane: a table's name, one immutable version of it, the port to both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from lakehouse.data.content import Content
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext, TenantId

PARTITION_COLUMNS = ("source", "day")

WHOLE = "all"
"""The part of a run that appends to a table once."""


class Layer(StrEnum):
    """The four layers; structure (Bronze) never mixes with semantics (Silver)."""

    RAW = "raw"
    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table's name, without tenant or location.

    >>> str(TableRef(Layer.SILVER, "tickets"))
    'silver_tickets'
    """

    layer: Layer
    entity: str

    def __str__(self) -> str:
        return f"{self.layer}_{self.entity}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One immutable version of one tenant's table."""

    table: TableRef
    tenant_id: TenantId
    version: int


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One Parquet file inside a table's folder. `path` is relative to it.

    `partition` names the file's value in each partition column; `statistics` is Delta's JSON.
    """

    path: str
    size: int
    partition: tuple[tuple[str, str | None], ...]
    statistics: str


@dataclass(frozen=True, slots=True)
class Staged:
    """One part of a run's rows for one table: written, and seen by nobody until published.

    Small whatever the rows weigh: it travels from a worker and is kept as text. `schema` is the
    rows' own, as Delta writes it; it says the shape where there are no rows and so no files.
    `content` is of the rows as they were handed in; None in a note of before it was kept.
    """

    table: TableRef
    run_id: RunId
    part: str
    schema: str
    rows: int
    files: tuple[StagedFile, ...]
    content: Content | None = None

    def as_json(self) -> str:
        """Write it as text that `of_json` reads."""
        content = None if self.content is None else self.content.as_text()
        return json.dumps({**asdict(self), "content": content}, sort_keys=True)

    @classmethod
    def of_json(cls, text: str) -> Staged:
        """Read what `as_json` wrote."""
        values = json.loads(text)
        files = tuple(
            StagedFile(
                file["path"],
                file["size"],
                tuple((name, value) for name, value in file["partition"]),
                file["statistics"],
            )
            for file in values["files"]
        )
        table = TableRef(Layer(values["table"]["layer"]), values["table"]["entity"])
        run_id, part = RunId(values["run_id"]), values["part"]
        told = values.get("content")
        content = None if told is None else Content.of_text(told)
        return cls(table, run_id, part, values["schema"], values["rows"], files, content)


class TableStore(Protocol):
    """Tables of tenants, appended to by runs and read at a version.

    A run stages its rows part by part, from as many processes as it likes, and publishes them in
    one commit: readers see the whole of a run or nothing of it.
    """

    def head(self, table: TableRef, tenant: TenantContext) -> Snapshot | None:
        """Return the newest version, or None where nothing was ever written."""
        ...

    def scan(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        at: int | None = None,
        columns: Sequence[str] | None = None,
        run_id: RunId | None = None,
    ) -> pa.Table | None:
        """Read rows, at version `at` (else the head), of one run where `run_id` is given.

        The order of rows is not defined, and a column the table does not have yet is left out.
        None where the table was never written. Raises
        `VersionGoneError` where maintenance took what version `at` was made of.
        """
        ...

    def pieces(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        run_id: RunId,
        columns: Sequence[str],
        rows: int,
    ) -> Iterator[pa.Table]:
        """Read one run's rows of the head in pieces of whole files, by partition.

        A piece has `rows` rows or more only by its last file. Nothing where there are none.
        """
        ...

    def stage(self, table: TableRef, rows: pa.Table, run: RunContext, *, part: str) -> Staged:
        """Write `rows` into the table's folder and keep what was staged, seen by nobody.

        The same rows of a run and part again give the same files. Every row carries `tenant_id`
        and `run_id`, and both must be the run's own.
        """
        ...

    def staged(self, table: TableRef, run: RunContext) -> tuple[Staged, ...]:
        """Return what the run staged and did not yet publish, by part; so a killed run resumes."""
        ...

    def preview(
        self,
        table: TableRef,
        run: RunContext,
        *,
        columns: Sequence[str] | None = None,
        parts: Sequence[Staged] | None = None,
    ) -> pa.Table | None:
        """Read the rows the run staged and did not yet publish; None where there is no part.

        All that `staged` tells of, unless some of its `parts` are handed in.
        """
        ...

    def publish(self, table: TableRef, staged: Sequence[Staged], run: RunContext) -> Snapshot:
        """Add all staged parts in ONE commit, fenced by the run; a second time adds nothing.

        Columns the table does not have are added to it where rows may leave them empty.
        """
        ...

    def published(self, table: TableRef, run: RunContext) -> bool:
        """Tell whether the run has published to this table."""
        ...

    def content(self, table: TableRef, run: RunContext) -> Content | None:
        """Return what the run's one commit says it added, without reading a row.

        None where no commit tells: the run appended in several, or not at all.
        """
        ...

    def discard(self, table: TableRef, run: RunContext) -> None:
        """Forget what the run staged and did not publish; its files go with the next vacuum."""
        ...

    def append(
        self, table: TableRef, rows: pa.Table, run: RunContext, *, part: str = WHOLE
    ) -> Snapshot:
        """Add `rows` in one commit; the same run and part again adds nothing.

        For a run that writes one part: several are better staged and published together.
        """
        ...
