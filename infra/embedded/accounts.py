"""The operating-system account Postgres runs as, and what that account can reach.

Postgres refuses to run as root. When we are root it runs as `postgres`, or else as `nobody`;
that account must be able to pass every folder down to its programs and its data.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from lakehouse.errors import ConfigurationError

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An account to change to before executing a program."""

    name: str
    uid: int
    gid: int

    def groups(self) -> frozenset[int]:
        """Return every group the account is in."""
        return frozenset(os.getgrouplist(self.name, self.gid))


def postgres_account() -> Account | None:
    """Return the account to change to, None when we may run Postgres as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    msg = "Postgres does not run as root, and there is neither a 'postgres' nor a 'nobody' account"
    raise ConfigurationError(msg)


def can_reach(account: Account | None, path: Path) -> bool:
    """Tell whether the account may pass every existing folder from the root down to `path`."""
    if account is None:
        return True
    groups = account.groups()
    folders = [folder for folder in (path, *path.parents) if folder.is_dir()]
    return all(_may_enter(account, groups, folder.stat()) for folder in folders)


def _may_enter(account: Account, groups: frozenset[int], found: os.stat_result) -> bool:
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid in groups:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
