from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.embedded.credentials import Credentials
from infra.embedded.errors import UnknownServiceError
from infra.embedded.plan import (
    SERVICES,
    Plan,
    databases_for,
    external_services,
    services_to_run,
)
from lakehouse.errors import ConfigurationError
from lakehouse.settings import Settings


def settings(**given: Any) -> Settings:
    return Settings.alone(Path("/nowhere"), **given)


def test_everything_runs_here_when_nothing_is_external() -> None:
    assert services_to_run(settings()) == SERVICES


def test_what_is_asked_for_brings_what_it_needs() -> None:
    assert services_to_run(settings(), frozenset({"argilla"})) == ("postgres", "valkey", "argilla")


def test_an_external_service_is_not_started() -> None:
    given = settings(mlflow_url="http://mlflow:5000", dask_address="tcp://dask:8786")
    assert services_to_run(given) == ("postgres", "valkey", "prefect", "argilla")


def test_argilla_is_not_started_where_people_review_at_the_terminal() -> None:
    running = services_to_run(settings(review="postgres"))
    assert set(SERVICES) - set(running) == {"argilla", "valkey"}
    asked = services_to_run(settings(review="postgres"), frozenset({"argilla"}))
    assert asked == ("postgres", "valkey", "argilla")


def test_an_external_argilla_brings_its_own_queue() -> None:
    given = settings(argilla_url="http://argilla:6900", argilla_api_key="k")
    assert "valkey" not in services_to_run(given)


def test_an_argilla_without_its_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="PLATA_ARGILLA_API_KEY"):
        services_to_run(settings(argilla_url="http://argilla:6900"))


def test_an_unknown_service_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownServiceError, match=r"mysql.*postgres, valkey"):
        services_to_run(settings(), frozenset({"mysql"}))


def test_no_password_of_an_external_server_is_shown() -> None:
    given = settings(postgres_url="postgresql://ana:secreto@db:5432/plata")
    assert external_services(given) == {"postgres": "postgresql://ana:***@db:5432/plata"}


def test_databases_of_an_external_server_stand_beside_platas() -> None:
    given = settings(postgres_url="postgresql://ana:x@db:5432/plata?sslmode=require")
    made = databases_for(given, Credentials(), 5433)
    assert made.prefect == "postgresql://ana:x@db:5432/plata_prefect?sslmode=require"


def test_a_postgres_url_without_a_database_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigurationError) as refused:
        databases_for(settings(postgres_url="postgresql://ana:secreto@db"), Credentials(), 5433)
    assert "secreto" not in str(refused.value)


def test_a_plan_survives_its_file() -> None:
    databases = databases_for(settings(), Credentials(), 5433)
    plan = Plan("/h", ("postgres", "dask-worker"), 2, {"postgres": 5433}, databases, False, "/e")
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.units() == ("postgres", "dask-worker-1", "dask-worker-2")


def test_a_plan_that_newer_code_wrote_is_read_all_the_same() -> None:
    databases = databases_for(settings(), Credentials(), 5433)
    plan = Plan("/h", ("postgres",), 2, {"postgres": 5433}, databases, False, "/e")
    newer = {**plan.to_json(), "retries": 3}
    newer["databases"] = {**newer["databases"], "grafana": "postgresql://db/grafana"}
    assert Plan.from_json(newer) == plan
