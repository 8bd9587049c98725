"""Small files that are either whole or absent, and locks that die with their holder."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from infra.embedded.errors import StateFileError

PRIVATE = 0o600


def write_json(path: Path, value: Any) -> None:
    """Replace the file in one step; only the owner may read it."""
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, PRIVATE)
        json.dump(value, file, indent=1, sort_keys=True)
    os.replace(scratch, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in the file, None when there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateFileError.of(path, str(error)) from error
    if not isinstance(value, dict):
        raise StateFileError.of(path, "expected a JSON object")
    return value


def known_fields(kind: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a dataclass has a field for: another version of the code may write more."""
    return {entry.name: value[entry.name] for entry in fields(kind) if entry.name in value}


def take_lock(path: Path) -> int | None:
    """Lock the file for as long as the returned descriptor is open; None when another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(path: Path) -> bool:
    """Tell whether a living process holds the lock."""
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Hold the lock for the block, after waiting for whoever has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
