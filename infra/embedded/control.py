"""Start and stop the local services from a program: what `plata up`, `down` and the tests call."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from infra.embedded import argilla_environment, postgres, watchdog
from infra.embedded.catalogue import inherited, python_path
from infra.embedded.credentials import Credentials, ensure_credentials, read_credentials
from infra.embedded.endpoints import Endpoints, local_endpoints, merge
from infra.embedded.errors import ServiceFailedError, SupervisorError
from infra.embedded.files import is_locked, read_json, waiting_for, write_json
from infra.embedded.layout import Layout
from infra.embedded.plan import Plan, databases_for, services_to_run
from infra.embedded.ports import DEFAULTS, choose_ports, is_free
from infra.embedded.state import Phase, SupervisorState, UnitState, last_lines, read_state
from lakehouse.settings import Settings

OnProgress = Callable[[dict[str, UnitState]], None]
_POLL_SECONDS = 0.1
_SUPERVISOR_SECONDS = 20.0
_STOP_SECONDS = 60.0
_MOST_MOVES = 3
_PORTS_OF = {"dask-scheduler": ("dask-scheduler", "dask-dashboard")}
"""The ports of a service that has not just one of its own name."""


def _unseen(states: dict[str, UnitState]) -> None:
    return None


def start(
    settings: Settings,
    only: frozenset[str] | None = None,
    on_progress: OnProgress = _unseen,
) -> Endpoints:
    """Bring up what is asked for and not up yet, wait until it answers, return the addresses.

    Idempotent; two calls at once take turns. Raises ServiceFailedError for the first service that
    does not come up, and leaves the others running. One whose port another program took between the
    choice and its start is started at another.
    """
    layout = Layout.of(settings.home)
    names = services_to_run(settings, only)
    layout.create()
    with waiting_for(layout.start_lock):
        credentials = ensure_credentials(layout)
        if not names:
            return merge(None, settings)
        plan = _launch(layout, settings, names, credentials)
        wanted = Plan.units(_narrowed(plan, names))
        for moves_left in reversed(range(_MOST_MOVES + 1)):
            try:
                _wait_until_up(layout, wanted, plan.order, on_progress)
                break
            except ServiceFailedError as error:
                if not moves_left or not _lost_its_port(layout, plan, error.service):
                    raise
                plan = _move(layout, settings, plan, error.service, credentials)
    return merge(local_endpoints(dict(plan.ports), credentials), settings)


def stop(home: Path) -> bool:
    """Stop everything that runs for the state folder; tell whether anything did."""
    layout = Layout.of(home)
    if not layout.run.is_dir():
        return False
    with waiting_for(layout.start_lock):
        state = read_state(layout)
        if state is None:
            return _sweep(layout)
        _signal(state, signal.SIGTERM)
        if not _until(lambda: not is_locked(layout.lock), _STOP_SECONDS):
            _signal(state, signal.SIGKILL)
            _sweep(layout)
        return True


def remove_data(home: Path) -> None:
    """Stop everything and delete the databases, artifacts and secrets, wherever they are."""
    layout = Layout.of(home)
    stop(home)
    credentials = read_credentials(layout)
    if credentials is not None:
        shutil.rmtree(postgres.SHARED / credentials.installation, ignore_errors=True)
    for name in ("postgres", "valkey", "mlflow", "prefect", "argilla", "dask", "run", "logs"):
        shutil.rmtree(layout.home / name, ignore_errors=True)
    for file in (layout.secrets, layout.services):
        file.unlink(missing_ok=True)


def _narrowed(plan: Plan, names: tuple[str, ...]) -> Plan:
    return Plan.from_json({**plan.to_json(), "services": names})


def _launch(
    layout: Layout, settings: Settings, names: tuple[str, ...], credentials: Credentials
) -> Plan:
    """Hand the plan to the supervisor, a new one when none lives; return the plan in force."""
    state = read_state(layout)
    running = read_json(layout.plan) if state is not None else None
    if state is not None and running is not None:
        before = Plan.from_json(running)
        if not _needs_order(before, names, state):
            return before
        plan = before.with_services(names, order=_new_order())
        _hand_over(layout, plan)
        return plan
    _sweep(layout)
    plan = _new_plan(layout, settings, names, credentials)
    write_json(layout.services, {"ports": dict(plan.ports)})
    write_json(layout.plan, plan.to_json())
    layout.state.unlink(missing_ok=True)
    _spawn_supervisor(layout)
    return plan


def _needs_order(plan: Plan, names: tuple[str, ...], state: SupervisorState) -> bool:
    wanted = _narrowed(plan, names).units()
    running = {name for name, unit in state.units.items() if unit.phase is not Phase.FAILED}
    return not running.issuperset(wanted)


def _new_plan(
    layout: Layout, settings: Settings, names: tuple[str, ...], credentials: Credentials
) -> Plan:
    remembered = read_json(layout.services) or {"ports": {}}
    ports = choose_ports({**DEFAULTS, **remembered["ports"]})
    return Plan(
        home=str(layout.home),
        services=names,
        workers=settings.workers,
        ports=ports,
        databases=databases_for(settings, credentials, ports["postgres"]),
        external_postgres=settings.postgres_url is not None,
        argilla_environment=str(argilla_environment.environment_for(settings)),
        order=_new_order(),
    )


def _lost_its_port(layout: Layout, plan: Plan, service: str) -> bool:
    """Tell whether a service that was never up found its port taken; nobody has its address yet."""
    state = read_state(layout)
    unit = None if state is None else state.units.get(service)
    if unit is None or unit.ready_after is not None or service not in plan.ports:
        return False
    said = " ".join(last_lines(layout, service, 30)).lower()
    taken = not all(is_free(plan.ports[name]) for name in _PORTS_OF.get(service, (service,)))
    return taken or "address already in use" in said


def _move(
    layout: Layout, settings: Settings, plan: Plan, service: str, credentials: Credentials
) -> Plan:
    """Give a service that failed other ports, and have the supervisor try again."""
    own = _PORTS_OF.get(service, (service,))
    others = {port for name, port in plan.ports.items() if name not in own}
    found = choose_ports(
        {name: plan.ports[name] for name in own},
        free=lambda port: port not in others and is_free(port),
    )
    ports = {**plan.ports, **found}
    databases = databases_for(settings, credentials, ports["postgres"])
    moved = replace(plan, ports=ports, databases=databases, order=_new_order())
    write_json(layout.services, {"ports": ports})
    _hand_over(layout, moved)
    return moved


def _hand_over(layout: Layout, plan: Plan) -> None:
    """Have the supervisor that lives follow a plan."""
    write_json(layout.plan, plan.to_json())
    state = read_state(layout)
    if state is not None:
        _signal(state, signal.SIGHUP)


def _new_order() -> str:
    return secrets.token_hex(8)


def _spawn_supervisor(layout: Layout) -> None:
    # It forks and the parent leaves: the daemon is nobody's child and no zombie of ours.
    with layout.log("supervisor").open("ab") as log:
        done = subprocess.run(
            (sys.executable, "-m", "infra.embedded.supervisor", str(layout.home)),
            env={**inherited(), "PYTHONPATH": python_path()},
            cwd=layout.home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
    alive = done.returncode == 0 and _until(
        lambda: bool((read_state(layout) or _NOBODY).pid), _SUPERVISOR_SECONDS
    )
    if not alive:
        gist = " / ".join(last_lines(layout, "supervisor", 2))
        msg = f"the supervisor did not start; {layout.log('supervisor')} ends: {gist or 'nothing'}"
        raise SupervisorError(msg)


_NOBODY = SupervisorState(0, {})


def _wait_until_up(
    layout: Layout, wanted: tuple[str, ...], order: str, on_progress: OnProgress
) -> None:
    while True:
        state = read_state(layout)
        if state is None:
            msg = (
                f"the supervisor ended while services were starting; see {layout.log('supervisor')}"
            )
            raise SupervisorError(msg)
        known = state.units if state.order == order else {}
        units = {name: known.get(name, UnitState()) for name in wanted}
        on_progress({name: _detailed(layout, name, unit) for name, unit in units.items()})
        settled = (Phase.READY, Phase.FAILED)
        if all(unit.phase in settled for unit in units.values()):
            break
        time.sleep(_POLL_SECONDS)
    failed = [name for name, unit in units.items() if unit.phase is Phase.FAILED]
    # One that only waited for another is not the cause.
    failed.sort(key=lambda name: units[name].message.startswith("needs "))
    if failed:
        name = failed[0]
        raise ServiceFailedError(name, units[name].message, gist_of(last_lines(layout, name, 30)))


def _detailed(layout: Layout, name: str, unit: UnitState) -> UnitState:
    """Add what a long preparation last said."""
    if unit.phase is not Phase.PREPARING:
        return unit
    said = last_lines(layout, name, 1)
    message = " · ".join([unit.message, *(line.strip()[:60] for line in said)])
    return UnitState(unit.phase, unit.pid, message, unit.restarts, unit.ready_after)


def gist_of(lines: list[str]) -> str:
    """Pick the line of a log that most likely says what went wrong.

    >>> gist_of(["INFO start", "ERROR: no space left on device", "bye"])
    'ERROR: no space left on device'
    """
    telling = ("error", "fatal", "panic", "cannot", "refused", "denied", "no such", "failed")
    kept = [line.strip() for line in lines if line.strip()]
    worst = [line for line in kept if any(word in line.lower() for word in telling)]
    return (worst or kept or [""])[-1][:240]


def _sweep(layout: Layout) -> bool:
    """End what a supervisor that died unnaturally left behind, and tell whether there was any."""
    value = str(layout.home)
    if not watchdog.marked(value):
        return False
    watchdog.sweep(value, set())
    return True


def _signal(state: SupervisorState, number: signal.Signals) -> None:
    """Signal the supervisor. Of one that wrote nothing yet no pid is known, and 0 would be us."""
    if state.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, number)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS / 2)
    return True
