"""What one supervisor is asked to run: worked out from the settings, handed over as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from infra.embedded.credentials import Credentials
from infra.embedded.endpoints import database_url
from infra.embedded.errors import UnknownServiceError
from infra.embedded.files import known_fields
from lakehouse.errors import ConfigurationError
from lakehouse.settings import Settings

WORKER = "dask-worker"
SERVICES = ("postgres", "valkey", "mlflow", "prefect", "argilla", "dask-scheduler", WORKER)
"""The names an operator uses; `dask-worker` stands for all of them."""
NEEDS: Mapping[str, tuple[str, ...]] = {
    "mlflow": ("postgres",),
    "prefect": ("postgres",),
    "argilla": ("postgres", "valkey"),
    WORKER: ("dask-scheduler",),
}


@dataclass(frozen=True, slots=True)
class Databases:
    """A database URL for each that keeps its state in Postgres."""

    plata: str
    mlflow: str
    prefect: str
    argilla: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One supervisor's work: names of `SERVICES` to run, with their ports and databases."""

    home: str
    services: tuple[str, ...]
    workers: int
    ports: Mapping[str, int]
    databases: Databases
    external_postgres: bool
    argilla_environment: str
    order: str = ""
    """Names this version of the plan, so that who gave it can see when it is followed."""

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read what `to_json` returned, of this version of the code or of another."""
        given = known_fields(cls, value)
        services = tuple(given["services"])
        databases = Databases(**known_fields(Databases, given["databases"]))
        return cls(**{**given, "services": services, "databases": databases})

    def units(self) -> tuple[str, ...]:
        """Return the supervised processes by name, every worker its own."""
        return tuple(
            name for service in self.services for name in unit_names(service, self.workers)
        )

    def with_services(self, more: tuple[str, ...], order: str) -> Plan:
        """Return a plan that runs these too, under another name."""
        return replace(self, services=_ordered({*self.services, *more}), order=order)


def unit_names(service: str, workers: int) -> tuple[str, ...]:
    """Name the processes of a service.

    >>> unit_names("dask-worker", 2)
    ('dask-worker-1', 'dask-worker-2')
    """
    if service != WORKER:
        return (service,)
    return tuple(f"{WORKER}-{number}" for number in range(1, workers + 1))


def external_services(settings: Settings) -> dict[str, str]:
    """Return the services the settings point elsewhere, with their URL (without a password)."""
    given = {
        "postgres": settings.postgres_url and redacted(settings.postgres_url.get_secret_value()),
        "mlflow": settings.mlflow_url,
        "prefect": settings.prefect_api_url,
        "argilla": settings.argilla_url,
        "dask-scheduler": settings.dask_address,
    }
    return {name: url for name, url in given.items() if url}


def redacted(url: str) -> str:
    """Hide the password of a URL.

    >>> redacted("postgresql://ana:secreto@db/plata")
    'postgresql://ana:***@db/plata'
    """
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@", 1) if parts.password else url


def services_to_run(settings: Settings, only: frozenset[str] | None = None) -> tuple[str, ...]:
    """Return what the supervisor must run: what is asked for, what that needs, less the external.

    Valkey and the Dask workers serve Argilla and the scheduler: external ones bring their own.
    Where people review at the terminal there is no Argilla, unless it is asked for by name.
    """
    unknown = sorted((only or frozenset()) - set(SERVICES))
    if unknown:
        raise UnknownServiceError.among(unknown[0], SERVICES)
    if settings.argilla_url and not settings.argilla_api_key:
        msg = "PLATA_ARGILLA_URL is set without PLATA_ARGILLA_API_KEY: set the key of that server"
        raise ConfigurationError(msg)
    external = set(external_services(settings))
    asked = set(only if only is not None else SERVICES) - external
    if only is None:
        asked -= unused(settings)
        asked -= {"valkey"} if "argilla" in external else set()
    if "dask-scheduler" in external:
        asked.discard(WORKER)
    if "dask-scheduler" in asked and only is not None:
        asked.add(WORKER)
    needed = {need for name in asked for need in NEEDS.get(name, ())}
    return _ordered((asked | needed) - external)


def unused(settings: Settings) -> frozenset[str]:
    """Return what nobody needs here: Argilla and its queue, where people review at the terminal."""
    return frozenset() if settings.review == "argilla" else frozenset({"argilla", "valkey"})


def _ordered(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in SERVICES if name in names)


def databases_for(settings: Settings, credentials: Credentials, port: int) -> Databases:
    """Give each its database: on our server, or beside Plata's on the external one."""
    if settings.postgres_url is None:
        return Databases(
            plata=database_url(port, "plata", credentials.postgres),
            mlflow=database_url(port, "mlflow", credentials.mlflow),
            prefect=database_url(port, "prefect", credentials.prefect),
            argilla=database_url(port, "argilla", credentials.argilla_database),
        )
    url = settings.postgres_url.get_secret_value()
    return Databases(url, *(beside(url, name) for name in ("mlflow", "prefect", "argilla")))


def beside(url: str, suffix: str) -> str:
    """Address a sister database on the same server, with the same account.

    >>> beside("postgresql://ana:x@db:5432/plata?sslmode=require", "mlflow")
    'postgresql://ana:x@db:5432/plata_mlflow?sslmode=require'
    """
    parts = urlsplit(url)
    name = parts.path.strip("/")
    if parts.scheme not in ("postgresql", "postgres") or not name:
        msg = (
            f"PLATA_POSTGRES_URL is '{redacted(url)}'; expected "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
        raise ConfigurationError(msg)
    return parts._replace(scheme="postgresql", path=f"/{name}_{suffix}").geturl()


def with_driver(url: str, driver: str) -> str:
    """Name the SQLAlchemy driver in a URL.

    >>> with_driver("postgresql://db/plata", "asyncpg")
    'postgresql+asyncpg://db/plata'
    """
    scheme, rest = url.split("://", 1)
    return f"{scheme.split('+')[0]}+{driver}://{rest}"
