"""A point in the history of tables, as people write it: a version, a run, a day or a moment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from lakehouse.data.history import Commit, VersionGoneError
from lakehouse.data.tables import TableRef
from lakehouse.errors import InputError
from lakehouse.run import RunId

_RUN = re.compile(r"[a-z][a-z0-9-]*-\d{8}T\d{6}-[0-9a-f]{8}")


class NotThereYetError(InputError):
    """A table was written later than the point in time that was asked for, or never."""


@dataclass(frozen=True, slots=True)
class AsOf:
    """One point in time; exactly one of `version`, `run_id` and `moment` is set."""

    text: str
    version: int | None = None
    run_id: RunId | None = None
    moment: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> AsOf:
        """Read a version number, a run id, or a day or moment in ISO 8601.

        A run stands for what was there right after it, a day for its end, and a moment that names
        no time zone is in UTC.

        >>> AsOf.parse("7").version
        7
        >>> AsOf.parse("run-20260102T030405-cfb36bd5").run_id
        'run-20260102T030405-cfb36bd5'
        >>> AsOf.parse("2026-01-02").moment.isoformat()
        '2026-01-02T23:59:59.999999+00:00'
        """
        given = text.strip()
        if given.isascii() and given.isdigit():
            return cls(given, version=int(given))
        if _RUN.fullmatch(given):
            return cls(given, run_id=RunId(given))
        with suppress(ValueError):
            return cls(given, moment=datetime.combine(date.fromisoformat(given), time.max, UTC))
        with suppress(ValueError):
            moment = datetime.fromisoformat(given)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return cls(given, moment=aware.astimezone(UTC))
        msg = (
            f"'{text}' is no point in time: expected a version number such as 7, a run id such as "
            "run-20260102T030405-cfb36bd5, or a day or moment such as 2026-01-02T15:30"
        )
        raise InputError(msg)

    def version_of(
        self, table: TableRef, commits: Sequence[Commit], outputs: Mapping[str, int]
    ) -> int:
        """Say which version of `table` this point means.

        `commits` are the table's, oldest first; `outputs` the versions its run left, by table.
        Raises `NotThereYetError`, `InputError` for a version that never was, and
        `VersionGoneError` for one that is no longer.
        """
        if not commits:
            msg = f"{table} was never written, so it has no version to go back to"
            raise NotThereYetError(msg)
        if self.moment is not None:
            return self._newest_before(table, commits, self.moment)
        version = outputs.get(str(table)) if self.version is None else self.version
        if version is None:
            msg = (
                f"run {self.run_id} left no version of {table}: "
                "it was not there yet, or is not what that run reads and writes"
            )
            raise NotThereYetError(msg)
        if version > commits[-1].version:
            msg = f"{table} has no version {version}; the newest is {commits[-1].version}"
            raise InputError(msg)
        if version < commits[0].version:
            raise VersionGoneError.of(table, version, commits[0].version)
        return version

    def _newest_before(self, table: TableRef, commits: Sequence[Commit], moment: datetime) -> int:
        versions = [commit.version for commit in commits if commit.at <= moment]
        if versions:
            return versions[-1]
        first = commits[0]
        if first.version == 0:
            msg = (
                f"{table} was not there yet at {self.text}: "
                f"its first version is of {first.at.isoformat(timespec='seconds')}"
            )
            raise NotThereYetError(msg)
        msg = (
            f"the versions of {table} at {self.text} were cleaned away; the oldest that can be "
            f"read is {first.version}, of {first.at.isoformat(timespec='seconds')}"
        )
        raise VersionGoneError(msg)
