"""Tenants and runs validate themselves, and settings find their state folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.settings import Settings, state_folder
from lakehouse.tenancy import TenantContext

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("name", ["alcaldia-norte", "a", "norte2", "a-1-b"])
def test_a_plain_name_is_a_tenant(name: str) -> None:
    assert TenantContext.parse(name).tenant_id == name


@pytest.mark.parametrize(
    "name", ["", "Norte", "norte/", "../sur", "-a", "a-", "a--b", "año", "1a", "a b", "a" * 41]
)
def test_what_could_not_be_a_path_or_a_label_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a tenant name"):
        TenantContext.parse(name)


@given(st.text(max_size=50))
def test_no_tenant_name_ever_leaves_its_folder(name: str) -> None:
    try:
        tenant = TenantContext.parse(name)
    except InputError:
        return
    assert Path("/lake", tenant.tenant_id).resolve().parent == Path("/lake")


def test_a_run_is_named_by_its_instant_not_by_its_time_zone() -> None:
    norte = TenantContext.parse("norte")
    bogota = NOON.astimezone(timezone(timedelta(hours=-5)))
    here, there = (RunContext.begin(norte, kind="run", at=at) for at in (NOON, bogota))
    assert here == there


def test_two_tenants_never_share_a_run() -> None:
    norte, sur = (
        RunContext.begin(TenantContext.parse(t), kind="run", at=NOON) for t in ("norte", "sur")
    )
    assert norte.run_id != sur.run_id


def test_the_state_folder_is_found_from_below(tmp_path: Path) -> None:
    (tmp_path / ".plata").mkdir()
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    assert state_folder(tmp_path / "docs" / "deep") == tmp_path / ".plata"


def test_a_relative_lake_is_made_absolute_and_a_bucket_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(lake_uri="lake").lake == str(tmp_path / "lake")
    assert Settings(lake_uri="s3://bucket/lake").lake == "s3://bucket/lake"
    assert Settings(home=tmp_path / "state").lake == str(tmp_path / "state" / "lake")


def test_the_environment_names_external_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATA_POSTGRES_URL", "postgresql://ana:secreto@db/plata")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    settings = Settings()
    assert settings.postgres_url is not None
    assert "secreto" not in repr(settings)
    assert settings.prefect_api_url == "http://prefect:4200/api"


def test_a_machine_alone_has_nothing_external_whatever_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("LAKE_URI", "POSTGRES_URL", "MLFLOW_URL", "ARGILLA_URL", "DASK_ADDRESS"):
        monkeypatch.setenv(f"PLATA_{name}", "http://otra.example")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    alone = Settings.alone(tmp_path, workers=3)
    external = (alone.postgres_url, alone.mlflow_url, alone.argilla_url, alone.prefect_api_url)
    assert (*external, alone.argilla_api_key, alone.dask_address) == (None,) * 6
    assert (alone.lake, alone.workers) == (str(tmp_path / "lake"), 3)


def test_a_bucket_is_reached_under_the_names_aws_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATA_LAKE_URI", "s3://lake/plata")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "plata")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "una-clave")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    settings = Settings()
    assert settings.lake_options == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "plata",
        "AWS_SECRET_ACCESS_KEY": "una-clave",
        "AWS_ALLOW_HTTP": "true",
        "AWS_CONDITIONAL_PUT": "etag",
    }
    assert "una-clave" not in repr(settings.model_dump())
    assert Settings(lake_uri="lake").lake_options == {}
