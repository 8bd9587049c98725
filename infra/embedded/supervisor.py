"""The daemon that keeps the local services running: `python -m infra.embedded.supervisor HOME`.

One thread and one event loop: the kernel's parent-death signal is tied to the thread that made
the child. Every process is in a group of its own and carries a marker in its environment, and a
watchdog outside knows the groups, so that nothing is left behind however this process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

import psycopg

from infra.embedded import child, postgres, watchdog
from infra.embedded.catalogue import Command, Unit, inherited, units_of
from infra.embedded.credentials import Credentials, ensure_credentials
from infra.embedded.files import read_json, take_lock, write_json
from infra.embedded.layout import Layout
from infra.embedded.plan import Plan
from infra.embedded.probes import NotReadyError
from infra.embedded.processes import serves
from infra.embedded.state import Phase, SupervisorState, UnitState
from infra.embedded.watchdog import MARKER
from lakehouse.errors import PlataError

_HEALTHY_SECONDS = 60.0
_MOST_FAILURES = 6
_FIRST_START_ATTEMPTS = 2
_LONGEST_PAUSE = 10.0
_LOG_BYTES = 10_000_000
_ISOLATED = (sys.executable, "-I", "-S")


class _GaveUpError(Exception):
    """A process will not be tried again; the message is for the operator."""


def pause_before(failures: int) -> float:
    """Return how long to wait before the next attempt, in seconds.

    >>> [pause_before(n) for n in (1, 2, 3, 9)]
    [0.2, 0.4, 0.8, 10.0]
    """
    return min(0.1 * 2.0**failures, _LONGEST_PAUSE)


class Supervisor:
    """Starts what the plan names, in order of need, and keeps it running until told to stop."""

    def __init__(self, layout: Layout, credentials: Credentials) -> None:
        self._layout = layout
        self._credentials = credentials
        self._units: dict[str, Unit] = {}
        self._states: dict[str, UnitState] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._up: dict[str, asyncio.Event] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._watchdog: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._databases_made = asyncio.Event()
        self._stop = asyncio.Event()
        self._began = 0.0
        self._order = ""

    async def run(self) -> None:
        """Keep the plan's services running until a signal says stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._follow_plan)
        await self._start_watchdog()
        self._watching = asyncio.create_task(self._keep_watchdog())
        self._follow_plan()
        await self._stop.wait()
        await self._stop_all()

    # ---- the plan

    def _follow_plan(self) -> None:
        """Begin what the plan names and does not run yet, or has failed."""
        stored = read_json(self._layout.plan)
        if stored is None:
            return
        plan = Plan.from_json(stored)
        self._began = asyncio.get_running_loop().time()
        if plan.external_postgres and "databases" not in self._tasks:
            self._states = {
                name: UnitState() if s.phase is Phase.FAILED else s
                for name, s in self._states.items()
            }
            self._tasks["databases"] = asyncio.create_task(self._make_databases(plan))
        elif not plan.external_postgres:
            self._databases_made.set()
        wanted = units_of(plan, self._layout, self._credentials)
        for name, unit in wanted.items():
            task = self._tasks.get(name)
            if task is None or task.done():
                self._units[name] = unit
                self._up[name] = asyncio.Event()
                self._states[name] = UnitState()
                self._tasks[name] = asyncio.create_task(self._keep(unit), name=name)
                self._tasks[name].add_done_callback(self._report_defect)
        self._order = plan.order
        self._write_state()

    def _report_defect(self, task: asyncio.Task[None]) -> None:
        """Show what nobody foresaw as a failure of that process, instead of waiting for ever."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            traceback.print_exception(error)
            message = f"{type(error).__name__}: {error} (see the supervisor's log)"
            self._note(task.get_name(), UnitState(Phase.FAILED, message=message))

    async def _make_databases(self, plan: Plan) -> None:
        try:
            await postgres.ensure_databases(plan.databases, external=True)
        except (PlataError, psycopg.Error) as error:
            for name in (
                n for n, unit in self._units.items() if n in ("mlflow", "prefect", "argilla")
            ):
                self._note(name, UnitState(Phase.FAILED, message=f"external Postgres: {error}"))
            del self._tasks["databases"]
            return
        self._databases_made.set()

    # ---- one process

    async def _keep(self, unit: Unit) -> None:
        try:
            await self._wait_for_needs(unit)
            await self._prepare(unit)
            await self._run_again_and_again(unit)
        except _GaveUpError as error:
            self._note(
                unit.name,
                replace(self._states[unit.name], phase=Phase.FAILED, pid=None, message=str(error)),
            )
        except (PlataError, psycopg.Error, OSError) as error:
            self._note(unit.name, UnitState(Phase.FAILED, message=str(error).strip()))

    async def _wait_for_needs(self, unit: Unit) -> None:
        if unit.needs:
            self._change(unit.name, message=f"for {', '.join(unit.needs)}")
        for need in unit.needs:
            up = asyncio.create_task(self._up[need].wait())
            await asyncio.wait({up, self._tasks[need]}, return_when=asyncio.FIRST_COMPLETED)
            if not self._up[need].is_set():
                up.cancel()
                raise _GaveUpError(f"needs {need}, which did not start")
        await self._databases_made.wait()

    async def _prepare(self, unit: Unit) -> None:
        for step in unit.steps:
            if await step.is_done():
                continue
            process = await self._spawn(unit, step.command())
            self._change(unit.name, phase=Phase.PREPARING, message=step.title, pid=process.pid)
            status = await self._reap(unit.name, process)
            step.afterwards(status == 0)
            if status != 0:
                raise _GaveUpError(f"failed while {step.title} ({_ending(status)})")

    async def _run_again_and_again(self, unit: Unit) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stop.is_set():
            began = loop.time()
            process = await self._spawn(unit, unit.command())
            self._change(unit.name, phase=Phase.STARTING, pid=process.pid, message="")
            await self._watch(unit, process)
            status = await self._reap(unit.name, process)
            if self._stop.is_set():
                return
            failures = 1 if loop.time() - began > _HEALTHY_SECONDS else failures + 1
            first = not self._up[unit.name].is_set()
            if failures >= (_FIRST_START_ATTEMPTS if first else _MOST_FAILURES):
                raise _GaveUpError(f"ended {failures} times in a row ({_ending(status)})")
            self._change(
                unit.name, phase=Phase.RESTARTING, pid=None, message=_ending(status),
                restarts=self._states[unit.name].restarts + 1,
            )  # fmt: skip
            await asyncio.sleep(pause_before(failures))

    async def _watch(self, unit: Unit, process: asyncio.subprocess.Process) -> None:
        """Wait until the process answers, then until it ends; one that never answers is killed."""
        ended = asyncio.create_task(process.wait())
        ready = asyncio.create_task(self._wait_until_ready(unit, process.pid))
        await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ready.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ready
            return
        try:
            problem = ready.result()
        except (PlataError, psycopg.Error) as error:
            problem = str(error).strip()
        if problem:
            _signal_group(process.pid, signal.SIGKILL)
            await ended
            raise _GaveUpError(f"did not come up: {problem}")
        elapsed = round(asyncio.get_running_loop().time() - self._began, 2)
        first = self._states[unit.name].ready_after
        self._change(unit.name, phase=Phase.READY, ready_after=first or elapsed, message="")
        self._up[unit.name].set()
        await ended

    async def _wait_until_ready(self, unit: Unit, pid: int) -> str:
        """Return nothing when the process is up, else what the last probe said.

        A good answer counts only from this process: another program may have taken the port.
        """
        loop = asyncio.get_running_loop()
        deadline, problem = loop.time() + unit.start_seconds, ""
        while loop.time() < deadline:
            try:
                await unit.probe()
                if unit.port is not None and not await asyncio.to_thread(serves, pid, unit.port):
                    raise NotReadyError(f"another program answers on port {unit.port}")
                await unit.once_up()
            except (NotReadyError, psycopg.OperationalError, ValueError, KeyError) as error:
                problem = str(error)
                await asyncio.sleep(0.1)
            else:
                return ""
        return problem

    # ---- processes

    async def _spawn(self, unit: Unit, command: Command) -> asyncio.subprocess.Process:
        account = command.account
        uid, gid = (account.uid, account.gid) if account else (-1, -1)
        numbers = (os.getpid(), int(unit.death_signal), uid, gid)
        process = await asyncio.create_subprocess_exec(
            *_ISOLATED, child.__file__, *map(str, numbers), *command.argv,
            env={**inherited(), **command.env, MARKER: str(self._layout.home)},
            cwd="/" if account else self._layout.home,
            stdin=asyncio.subprocess.DEVNULL, stdout=_open_log(self._layout, unit.name),
            stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._processes[unit.name] = process
        self._tell_watchdog("+", process.pid)
        return process

    async def _reap(self, name: str, process: asyncio.subprocess.Process) -> int:
        """Wait for the process, then end what is left of its group."""
        status = await process.wait()
        _signal_group(process.pid, signal.SIGKILL)
        self._tell_watchdog("-", process.pid)
        self._processes.pop(name, None)
        return status

    async def _start_watchdog(self) -> None:
        self._watchdog = await asyncio.create_subprocess_exec(
            *_ISOLATED, watchdog.__file__, str(self._layout.home),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=_open_log(self._layout, "supervisor"), start_new_session=True, cwd="/",
        )  # fmt: skip
        for process in self._processes.values():
            self._tell_watchdog("+", process.pid)

    async def _keep_watchdog(self) -> None:
        while self._watchdog is not None:
            await self._watchdog.wait()
            await asyncio.sleep(0.2)
            await self._start_watchdog()

    def _tell_watchdog(self, sign: str, group: int) -> None:
        pipe = self._watchdog.stdin if self._watchdog else None
        if pipe is not None and not pipe.is_closing():
            pipe.write(f"{sign}{group}\n".encode())

    # ---- the end

    async def _stop_all(self) -> None:
        """Stop in reverse order of need; what nobody needs any more stops together."""
        left = set(self._units)
        while left:
            needed = {need for name in left for need in self._units[name].needs}
            leaves = left - needed
            await asyncio.gather(*(self._stop_one(self._units[name]) for name in leaves))
            left -= leaves
        if self._watching is not None:
            self._watching.cancel()
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            await self._watchdog.wait()

    async def _stop_one(self, unit: Unit) -> None:
        process = self._processes.get(unit.name)
        if process is not None:
            self._change(unit.name, phase=Phase.STOPPING, message="")
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(unit.stop_signal)
        task = self._tasks[unit.name]
        if process is None:
            task.cancel()
        done, _ = await asyncio.wait({task}, timeout=unit.stop_seconds)
        if not done and process is not None:
            _signal_group(process.pid, signal.SIGKILL)
            task.cancel()
            await asyncio.wait({task})
        self._note(unit.name, UnitState(Phase.STOPPED))

    # ---- what others see

    def _change(self, name: str, **changes: object) -> None:
        self._note(name, replace(self._states[name], **changes))  # type: ignore[arg-type]

    def _note(self, name: str, state: UnitState) -> None:
        self._states[name] = state
        self._write_state()

    def _write_state(self) -> None:
        state = SupervisorState(os.getpid(), self._states, self._order)
        write_json(self._layout.state, state.to_json())


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    names: Mapping[int, str] = {int(number): number.name for number in signal.Signals}
    return f"killed by {names.get(-status, f'signal {-status}')}"


def _open_log(layout: Layout, name: str) -> IO[bytes]:
    """Open a log for appending; one that has grown too long becomes the previous one."""
    path = layout.log(name)
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab", buffering=0)


def _lock(layout: Layout) -> int | None:
    """Take the supervisor's lock. Those who only look hold it for an instant: try for a while."""
    for _ in range(100):
        lock = take_lock(layout.lock)
        if lock is not None:
            return lock
        time.sleep(0.02)
    return None


def main(home: Path) -> int:
    """Detach from whoever started us, take the lock and supervise. Returns the exit status."""
    layout = Layout.of(home)
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    if _lock(layout) is None:
        return 1
    log = _open_log(layout, "supervisor")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    try:
        asyncio.run(Supervisor(layout, ensure_credentials(layout)).run())
    except PlataError:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
