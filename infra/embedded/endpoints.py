"""Where the services are, for the rest of the code: cheap to read, external ones win."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from infra.embedded.credentials import ARGILLA_OWNER, Credentials, read_credentials
from infra.embedded.files import is_locked, read_json
from infra.embedded.layout import Layout
from infra.embedded.ports import DEFAULTS, LOOPBACK
from lakehouse.errors import ServiceUnavailableError
from lakehouse.settings import Settings


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses and log-ins. A field is empty when that service is neither local nor given."""

    postgres_url: str = field(default="", repr=False)
    mlflow_url: str = ""
    prefect_api_url: str = ""
    prefect_ui_url: str = ""
    argilla_url: str = ""
    argilla_api_key: str = field(default="", repr=False)
    argilla_username: str = ""
    argilla_password: str = field(default="", repr=False)
    dask_address: str = ""
    dask_dashboard_url: str = ""


def local_endpoints(ports: dict[str, int], credentials: Credentials) -> Endpoints:
    """Spell the addresses of the supervisor's own services."""
    http = {name: f"http://{LOOPBACK}:{port}" for name, port in ports.items()}
    return Endpoints(
        postgres_url=database_url(ports["postgres"], "plata", credentials.postgres),
        mlflow_url=http["mlflow"],
        prefect_api_url=f"{http['prefect']}/api",
        prefect_ui_url=http["prefect"],
        argilla_url=http["argilla"],
        argilla_api_key=credentials.argilla_api_key,
        argilla_username=ARGILLA_OWNER,
        argilla_password=credentials.argilla_password,
        dask_address=f"tcp://{LOOPBACK}:{ports['dask-scheduler']}",
        dask_dashboard_url=f"{http['dask-dashboard']}/status",
    )


def database_url(port: int, name: str, password: str) -> str:
    """Address one of our databases; its owner has its name."""
    return f"postgresql://{name}:{password}@{LOOPBACK}:{port}/{name}"


def read_endpoints(home: Path) -> Endpoints | None:
    """Return the addresses of the services running for this state folder; None when none run."""
    layout = Layout.of(home)
    if not is_locked(layout.lock):
        return None
    credentials, chosen = read_credentials(layout), read_json(layout.services)
    if credentials is None or chosen is None:
        return None
    return local_endpoints({**DEFAULTS, **chosen["ports"]}, credentials)


def merge(local: Endpoints | None, settings: Settings) -> Endpoints:
    """Put what the settings give in place of the local services' addresses."""
    merged = replace(local or Endpoints(), **_given(settings))
    if settings.argilla_url:
        merged = replace(merged, argilla_username="", argilla_password="")
    if settings.prefect_api_url:
        ui = settings.prefect_api_url.rstrip("/").removesuffix("/api")
        merged = replace(merged, prefect_ui_url=ui)
    return replace(merged, dask_dashboard_url="") if settings.dask_address else merged


def _given(settings: Settings) -> dict[str, str]:
    secret = {
        "postgres_url": settings.postgres_url,
        # The key belongs to its server: one without the other would log in with a foreign key.
        "argilla_api_key": settings.argilla_api_key if settings.argilla_url else None,
    }
    plain = {
        "mlflow_url": settings.mlflow_url,
        "prefect_api_url": settings.prefect_api_url,
        "argilla_url": settings.argilla_url,
        "dask_address": settings.dask_address,
    }
    opened = {name: value.get_secret_value() for name, value in secret.items() if value}
    return opened | {name: value.rstrip("/") for name, value in plain.items() if value}


def resolve(settings: Settings) -> Endpoints:
    """Return every address this process should use, or say which service is missing."""
    merged = merge(read_endpoints(settings.home), settings)
    optional = {"prefect_ui_url", "argilla_username", "argilla_password", "dask_dashboard_url"}
    if settings.review != "argilla":
        optional |= {"argilla_url", "argilla_api_key"}
    missing = [
        f.name for f in fields(merged) if not getattr(merged, f.name) and f.name not in optional
    ]
    if missing:
        names = ", ".join(sorted({name.split("_")[0] for name in missing}))
        msg = (
            f"not running for {settings.home}: {names}. Start the services with `plata up`, "
            "or point at others by settings such as PLATA_POSTGRES_URL"
        )
        raise ServiceUnavailableError(msg)
    return merged
