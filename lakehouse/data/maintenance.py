"""Maintenance: when a table's files and log want tidying, and what may go.

Every run adds small files and a commit. Merged now and then, and the log summed up in checkpoints,
a table stays as quick to write and to read after a thousand runs as after ten. Decisions are pure;
`DeltaTableMaintenance` acts on them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from lakehouse.data.tables import TableRef
from lakehouse.tenancy import TenantContext

CHECKPOINT_EVERY = 50
"""Commits after which a writer sums up the log; a reader reads no more entries than that."""

_ENTRY = re.compile(r"(?P<version>\d{20})\.(json|checkpoint\.parquet|crc)")
_CHECKPOINT = ".checkpoint.parquet"


@dataclass(frozen=True, slots=True)
class TidyPolicy:
    """When to act. `retention` is how long what no version needs is left lying."""

    target_bytes: int = 64 << 20
    mergeable_files: int = 64
    checkpoint_every: int = CHECKPOINT_EVERY
    retention: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a table's newest version. `partition` tells files apart, no more."""

    partition: str
    size: int


@dataclass(frozen=True, slots=True)
class TableHealth:
    """What decides whether a table wants tidying. `checkpoint` is None before the first one."""

    version: int
    files: tuple[DataFile, ...]
    checkpoint: int | None

    @property
    def commits_since_checkpoint(self) -> int:
        """Return how many log entries a reader has to read one by one."""
        return self.version - (-1 if self.checkpoint is None else self.checkpoint)

    def mergeable(self, target_bytes: int) -> int:
        """Return how many files would go if small ones of one partition became one.

        >>> files = (DataFile("a", 10), DataFile("a", 10), DataFile("a", 90), DataFile("b", 10))
        >>> TableHealth(3, files, None).mergeable(100)
        1
        """
        foreseen = self.foreseen(target_bytes)
        return foreseen.merged_files - foreseen.made_files

    def foreseen(self, target_bytes: int) -> Tidied:
        """Say what a compaction would do, give or take the files it cannot fit together."""
        small = Counter(file.partition for file in self.files if file.size < target_bytes // 2)
        crowded = [count for count in small.values() if count > 1]
        return Tidied(merged_files=sum(crowded), made_files=len(crowded))


class Chore(StrEnum):
    """What tidying can do, in the order it does it."""

    COMPACT = "compact"
    CHECKPOINT = "checkpoint"
    VACUUM = "vacuum"
    CLEAN_LOG = "clean log"


def due_chores(health: TableHealth, policy: TidyPolicy) -> tuple[Chore, ...]:
    """Decide what a table wants now; files are deleted when there are new ones in their place.

    >>> due_chores(TableHealth(7, (DataFile("a", 10),) * 8, None), TidyPolicy(mergeable_files=8))
    ()
    >>> [str(c) for c in due_chores(TableHealth(60, (), None), TidyPolicy())]
    ['checkpoint']
    """
    if health.mergeable(policy.target_bytes) >= policy.mergeable_files:
        return tuple(Chore)
    if health.commits_since_checkpoint > policy.checkpoint_every:
        return (Chore.CHECKPOINT,)
    return ()


def expired_entries(
    written: Mapping[str, datetime], pinned: Collection[int], *, before: datetime
) -> list[str]:
    """Choose the log files that may go, oldest version first.

    A version can be read from the last checkpoint at or before it. Pinned versions stay readable,
    and so does every one that was the newest at some moment since `before`.
    """
    entries = {name: _version(name) for name in written if _ENTRY.fullmatch(name)}
    recent = [version for name, version in entries.items() if written[name] >= before]
    earlier = [version for name, version in entries.items() if written[name] < before]
    oldest = min([*pinned, *recent, *sorted(earlier)[-1:]], default=0)
    checkpoints = [v for name, v in entries.items() if name.endswith(_CHECKPOINT)]
    first_kept = max((v for v in checkpoints if v <= oldest), default=0)
    expired = [(v, name) for name, v in entries.items() if v < first_kept]
    return [name for _, name in sorted(expired)]


def _version(name: str) -> int:
    found = _ENTRY.fullmatch(name)
    assert found is not None
    return int(found["version"])


@dataclass(frozen=True, slots=True)
class Tidied:
    """What tidying did to one table."""

    merged_files: int = 0
    made_files: int = 0
    checkpoints: int = 0
    deleted_files: int = 0
    deleted_log_files: int = 0

    def __add__(self, other: Tidied) -> Tidied:
        """Count both together."""
        return Tidied(
            self.merged_files + other.merged_files,
            self.made_files + other.made_files,
            self.checkpoints + other.checkpoints,
            self.deleted_files + other.deleted_files,
            self.deleted_log_files + other.deleted_log_files,
        )


def total(tidied: Iterable[Tidied]) -> Tidied:
    """Count several together.

    >>> total([Tidied(merged_files=3, made_files=1), Tidied(merged_files=2)]).merged_files
    5
    """
    return sum(tidied, Tidied())


OnChore = Callable[[str, Chore], None]
"""Told "before" or "after", and what is about to be done or was. A test kills there."""


def unobserved(moment: str, chore: Chore) -> None:
    """Be an `OnChore` that does nothing."""


class TableMaintenance(Protocol):
    """Chores of tenants' tables. None of them changes a row, and each may run beside writers.

    `pinned` are versions that stay readable whatever their age. A table that was never written
    wants nothing.
    """

    def due(
        self, table: TableRef, tenant: TenantContext, *, policy: TidyPolicy = TidyPolicy()
    ) -> tuple[Chore, ...]:
        """Tell what the table wants now; mostly nothing, and cheap to ask after every run."""
        ...

    def tidy(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        pinned: Collection[int],
        policy: TidyPolicy = TidyPolicy(),
        on_chore: OnChore = unobserved,
    ) -> Tidied:
        """Do what is due. Killed anywhere, no row is lost, and the next time does the rest."""
        ...

    def compact(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        policy: TidyPolicy = TidyPolicy(),
        dry_run: bool = False,
    ) -> Tidied:
        """Merge small files, each within its partition, in one commit; or only say about what."""
        ...

    def vacuum(
        self,
        table: TableRef,
        tenant: TenantContext,
        *,
        pinned: Collection[int],
        policy: TidyPolicy = TidyPolicy(),
        dry_run: bool = False,
    ) -> Tidied:
        """Delete files and log entries past their retention that nothing needs; or only count.

        Kept are the files of the newest version, of pinned ones, and what open runs have staged.
        Hold the tenant's lock for runs: a run that resumes may be about to publish an old file.
        """
        ...
