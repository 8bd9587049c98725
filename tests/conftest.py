"""Real services for tests: one Postgres for all, and everything else only for those that ask."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.embedded.control import remove_data, start
from infra.embedded.endpoints import Endpoints
from lakehouse.control.migrate import migrate
from lakehouse.settings import Settings


@dataclass(frozen=True, slots=True)
class PlataServices:
    """The addresses of one session's services, and their state folder."""

    home: Path
    endpoints: Endpoints

    @property
    def settings(self) -> Settings:
        """Return settings that lead to these services and to nothing of the developer's."""
        return local_settings(self.home)

    @property
    def postgres_url(self) -> str:
        return self.endpoints.postgres_url

    @property
    def mlflow_url(self) -> str:
        return self.endpoints.mlflow_url

    @property
    def prefect_api_url(self) -> str:
        return self.endpoints.prefect_api_url

    @property
    def argilla_url(self) -> str:
        return self.endpoints.argilla_url

    @property
    def argilla_api_key(self) -> str:
        return self.endpoints.argilla_api_key

    @property
    def dask_address(self) -> str:
        return self.endpoints.dask_address


def local_settings(home: Path) -> Settings:
    """Return the settings of a machine with nothing external, whatever the shell says."""
    return Settings(
        home=home,
        lake_uri=None,
        postgres_url=None,
        mlflow_url=None,
        argilla_url=None,
        argilla_api_key=None,
        prefect_api_url=None,
        dask_address=None,
    )


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a fresh state folder, with a space in its name; all it starts goes away."""
    home = tmp_path / "mi casa" / "estado"
    try:
        yield local_settings(home)
    finally:
        remove_data(home)


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder whose services are stopped and whose data go away with the session."""
    home = tmp_path_factory.mktemp("plata") / "state"
    try:
        yield home
    finally:
        remove_data(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(session_home: Path) -> str:
    """A migrated control database on a real Postgres."""
    endpoints = start(local_settings(session_home), frozenset({"postgres"}))
    migrate(endpoints.postgres_url)
    return endpoints.postgres_url


@pytest.fixture(scope="session")
def plata_services(session_home: Path, postgres_url: str) -> PlataServices:
    """Every service, ready; for tests marked `service`."""
    assert postgres_url
    return PlataServices(session_home, start(local_settings(session_home)))
