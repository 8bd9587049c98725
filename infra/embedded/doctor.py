"""Look for what would keep the services from running, and say how to mend it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from infra.embedded import argilla_environment, postgres, watchdog
from infra.embedded.accounts import can_reach, postgres_account
from infra.embedded.errors import EnvironmentBuildError
from infra.embedded.files import read_json
from infra.embedded.layout import Layout
from infra.embedded.plan import external_services, services_to_run, unused
from infra.embedded.ports import DEFAULTS, is_free
from infra.embedded.state import Phase, SupervisorState, read_state
from lakehouse.errors import PlataError
from lakehouse.settings import Settings

_DISK_BYTES = 5 * 2**30
_MEMORY_BYTES = 3 * 2**30


class Verdict(StrEnum):
    """How a check ended. A warning does not keep anything from running."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found and, when it is not right, what to do."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Check]:
    """Run every check; none changes anything."""
    layout = Layout.of(settings.home)
    state = read_state(layout)
    return [
        _python(),
        _settings(settings),
        _state_folder(layout),
        _disk(layout),
        _memory(state),
        _secrets(layout),
        _postgres_account(settings, layout),
        *_ports(layout, settings, state),
        _argilla(settings),
        _embedding_model(layout),
        _leftovers(layout, state),
        *_services(state),
    ]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    verdict = Verdict.OK if sys.version_info[:2] == (3, 11) else Verdict.ERROR
    return Check("python", verdict, version, "" if verdict == "ok" else "use Python 3.11")


def _settings(settings: Settings) -> Check:
    try:
        names = services_to_run(settings)
    except PlataError as error:
        return Check("settings", Verdict.ERROR, str(error), "correct the variable it names")
    external = ", ".join(sorted(external_services(settings))) or "none"
    return Check("settings", Verdict.OK, f"{len(names)} services here; external: {external}")


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _state_folder(layout: Layout) -> Check:
    folder = _existing(layout.home)
    if os.access(folder, os.W_OK | os.X_OK):
        note = "" if folder == layout.home else " (made by `plata up`)"
        return Check("state folder", Verdict.OK, f"{layout.home}{note}")
    remedy = f"make {folder} writable, or set PLATA_HOME to another folder"
    return Check("state folder", Verdict.ERROR, f"{folder} is not writable", remedy)


def _disk(layout: Layout) -> Check:
    free = shutil.disk_usage(_existing(layout.home)).free
    enough = free >= _DISK_BYTES
    remedy = "" if enough else f"free some space: at least {_gib(_DISK_BYTES)} is wanted"
    return Check("disk", Verdict.OK if enough else Verdict.WARNING, f"{_gib(free)} free", remedy)


def _memory(state: SupervisorState | None) -> Check:
    lines = Path("/proc/meminfo").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    free = values["MemAvailable"]
    enough = free >= _MEMORY_BYTES or state is not None
    remedy = "" if enough else f"close something: the demo wants {_gib(_MEMORY_BYTES)}"
    found = f"{_gib(free)} available"
    return Check("memory", Verdict.OK if enough else Verdict.WARNING, found, remedy)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _secrets(layout: Layout) -> Check:
    if not layout.secrets.exists():
        return Check("secrets", Verdict.OK, "made by the first `plata up`")
    mode = stat.S_IMODE(layout.secrets.stat().st_mode)
    if mode & 0o077:
        remedy = f"chmod 600 '{layout.secrets}'"
        return Check("secrets", Verdict.ERROR, f"others may read them (mode {mode:o})", remedy)
    return Check("secrets", Verdict.OK, f"{layout.secrets} (mode {mode:o})")


def _postgres_account(settings: Settings, layout: Layout) -> Check:
    if settings.postgres_url:
        return Check("postgres account", Verdict.OK, "external")
    try:
        account = postgres_account()
        programs = postgres.packaged_programs()
    except PlataError as error:
        return Check("postgres account", Verdict.ERROR, str(error), "see the message")
    if account is None:
        return Check("postgres account", Verdict.OK, "yours")
    reached = can_reach(account, programs) and can_reach(account, layout.home)
    where = "" if reached else f"; what it cannot reach is kept in {postgres.SHARED}"
    return Check("postgres account", Verdict.OK, f"'{account.name}', as you are root{where}")


def _ports(layout: Layout, settings: Settings, state: SupervisorState | None) -> list[Check]:
    if state is not None:
        return [Check("ports", Verdict.OK, "in use by the running services")]
    stored = read_json(layout.services) or {"ports": {}}
    wanted = {**DEFAULTS, **stored["ports"]}
    needed = {*services_to_run(settings), "dask-dashboard"} - set(external_services(settings))
    taken = [
        f"{port} ({name})" for name, port in wanted.items() if name in needed and not is_free(port)
    ]
    if not taken:
        return [Check("ports", Verdict.OK, "all free")]
    remedy = "nothing: the next free port is used and remembered; `plata status` shows it"
    return [Check("ports", Verdict.WARNING, f"taken: {', '.join(taken)}", remedy)]


def _argilla(settings: Settings) -> Check:
    if settings.argilla_url:
        return Check("argilla environment", Verdict.OK, "external")
    if "argilla" in unused(settings):
        return Check(
            "argilla environment", Verdict.OK, f"not needed: PLATA_REVIEW={settings.review}"
        )
    folder = argilla_environment.environment_for(settings)
    if argilla_environment.is_complete(folder):
        return Check("argilla environment", Verdict.OK, str(folder))
    try:
        argilla_environment.find_uv()
    except EnvironmentBuildError as error:
        return Check("argilla environment", Verdict.ERROR, str(error), "make setup")
    found = f"{folder} is not built yet"
    return Check("argilla environment", Verdict.WARNING, found, "nothing: `plata up` builds it")


def _embedding_model(layout: Layout) -> Check:
    found = sorted(path.parent.name for path in (layout.home / "models").glob("*/config.json"))
    if found:
        return Check("embedding model", Verdict.OK, ", ".join(found))
    return Check("embedding model", Verdict.OK, "unpacked from its package when first used")


def _leftovers(layout: Layout, state: SupervisorState | None) -> Check:
    if state is not None:
        return Check("supervisor", Verdict.OK, f"running, pid {state.pid}")
    left = watchdog.marked(str(layout.home))
    if left:
        found = f"gone, but {len(left)} processes of its services are left"
        return Check("supervisor", Verdict.WARNING, found, "plata down")
    return Check("supervisor", Verdict.OK, "not running; start with `plata up`")


def _services(state: SupervisorState | None) -> list[Check]:
    units = state.units.items() if state else ()
    return [
        Check(name, Verdict.ERROR, unit.message, f"plata logs {name}; then plata up")
        for name, unit in units
        if unit.phase is Phase.FAILED
    ]
