from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.embedded.credentials import Credentials
from infra.embedded.endpoints import local_endpoints, merge, read_endpoints, resolve
from infra.embedded.ports import DEFAULTS
from lakehouse.errors import ServiceUnavailableError
from lakehouse.settings import Settings

LOCAL = local_endpoints(dict(DEFAULTS), Credentials())
HEAVY = {"mlflow", "prefect", "dask", "distributed", "psycopg", "argilla", "asyncio"}


def test_external_addresses_win() -> None:
    given = Settings(
        home=Path("/nowhere"), mlflow_url="http://mlflow:5000/", dask_address="tcp://d:1"
    )
    merged = merge(LOCAL, given)
    assert merged.mlflow_url == "http://mlflow:5000"
    assert (merged.dask_address, merged.dask_dashboard_url) == ("tcp://d:1", "")
    assert merged.postgres_url == LOCAL.postgres_url


def test_an_external_argilla_is_entered_with_its_own_key() -> None:
    given = Settings(
        home=Path("/nowhere"), argilla_url="http://a:1", argilla_api_key=SecretStr("suya")
    )
    merged = merge(LOCAL, given)
    assert (merged.argilla_api_key, merged.argilla_password) == ("suya", "")


def test_nothing_running_is_told_at_once_with_the_remedy(tmp_path: Path) -> None:
    assert read_endpoints(tmp_path) is None
    with pytest.raises(ServiceUnavailableError, match=r"dask.*postgres.*plata up"):
        resolve(Settings(home=tmp_path, prefect_api_url=None))


def test_nothing_is_missed_of_argilla_where_people_review_at_the_terminal(tmp_path: Path) -> None:
    external = {
        "postgres_url": "postgresql://a:b@db/plata",
        "mlflow_url": "http://mlflow:5000",
        "prefect_api_url": "http://prefect/api",
        "dask_address": "tcp://dask:8786",
    }
    with pytest.raises(ServiceUnavailableError, match="argilla"):
        resolve(Settings.alone(tmp_path, **external))
    found = resolve(Settings.alone(tmp_path, review="postgres", **external))
    assert found.argilla_url == ""


def test_no_secret_is_shown_by_accident() -> None:
    secrets = {LOCAL.argilla_api_key, LOCAL.argilla_password, LOCAL.postgres_url}
    assert not any(secret in repr(LOCAL) for secret in secrets)


def test_reading_addresses_loads_nothing_heavy() -> None:
    code = "import sys, infra.embedded.endpoints; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert not (HEAVY - {"asyncio"}) & set(loaded.split())
