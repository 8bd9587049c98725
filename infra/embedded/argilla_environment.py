"""Argilla's own Python environment, built from its lock the first time it is needed.

Argilla's pins and ours exclude each other, so its server lives apart. Run as a program it builds
the environment and says on standard output how far it is:
`python -m infra.embedded.argilla_environment FOLDER`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.embedded.errors import EnvironmentBuildError
from infra.embedded.files import waiting_for
from infra.embedded.layout import ROOT
from lakehouse.settings import Settings

PLUGIN = ROOT / "infra" / "argilla_search"
"""Put on Argilla's path: it holds one package, and none of ours with their common names."""
LOCK = PLUGIN / "requirements.lock"
SCHEMA = PLUGIN / "plata_argilla_search" / "schema.sql"
_STAMP = "plata-lock.sha256"


def environment_for(settings: Settings) -> Path:
    """Choose the folder: the given one, else one beside ours that every state folder shares."""
    if settings.argilla_env is not None:
        return settings.argilla_env.expanduser().absolute()
    beside = Path(sys.prefix).parent
    ours = sys.prefix != sys.base_prefix and os.access(beside, os.W_OK)
    return (beside if ours else settings.home.absolute()) / ".venv-argilla"


def python_of(environment: Path) -> Path:
    """Return the environment's interpreter."""
    return environment / "bin" / "python"


def is_complete(environment: Path) -> bool:
    """Tell whether the environment was built to its end from the lock of this version."""
    stamp = environment / _STAMP
    return (
        stamp.is_file() and stamp.read_text() == _lock_digest() and python_of(environment).exists()
    )


def version() -> str:
    """Return the version of Argilla the lock pins."""
    pins = (line.split("#")[0].strip() for line in LOCK.read_text().splitlines())
    return next(pin.split("==")[1] for pin in pins if pin.startswith("argilla-server=="))


def prepared_version() -> str:
    """Return what `plata_argilla_search.prepare` leaves on a database that is up to date."""
    return f"{version()}+{hashlib.sha256(SCHEMA.read_bytes()).hexdigest()[:12]}"


def build(environment: Path) -> None:
    """Make the environment. The stamp comes last: a build that was killed is done again."""
    environment.parent.mkdir(parents=True, exist_ok=True)
    with waiting_for(environment.with_name(environment.name + ".lock")):
        if is_complete(environment):
            return
        uv = find_uv()
        base = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        _run(uv, "venv", "--clear", "--no-project", "--python", base, str(environment))
        _run(uv, "pip", "install", "--python", str(python_of(environment)), "-r", str(LOCK))
        (environment / _STAMP).write_text(_lock_digest())


def find_uv() -> str:
    """Find the `uv` program beside our interpreter or on the path."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        msg = "the program `uv` builds Argilla's environment and was not found; run `make setup`"
        raise EnvironmentBuildError(msg)
    return found


def _run(*command: str) -> None:
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS", "")
    # The environment we run in must not be mistaken for the one to build.
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    env |= {"UV_FIND_LINKS": links, "UV_NO_PROGRESS": "1"} if links else {"UV_NO_PROGRESS": "1"}
    if subprocess.run(command, env=env, check=False).returncode != 0:
        msg = f"`uv {command[1]}` failed while building Argilla's environment from {LOCK.name}"
        raise EnvironmentBuildError(msg)


def _lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except EnvironmentBuildError as error:
        sys.exit(str(error))
