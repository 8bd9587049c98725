"""Bundles, their aliases and the audit log on a real Postgres."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest

from lakehouse.control.postgres import Postgres
from lakehouse.control.tenants import TenantDirectory
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from registry.bundle_log import BundleLog
from registry.bundles import Bundle, BundleRef, TaskPins
from registry.errors import ArtifactError, UnknownBundleError
from registry.refs import ModelRef, PromptRef


def bundle(version: int = 1) -> Bundle:
    pins = TaskPins(
        task="tipo",
        labels=("z", "a"),
        text_field="text",
        champion=ModelRef("norte.tipo", str(version), f"c{version}"),
        baseline=ModelRef("norte.tipo", "1", "c1"),
        zero_shot=PromptRef("norte.tipo.zs", "1", "d1"),
        accept_at=0.8,
        audit_share=0.05,
    )
    return Bundle(ModelRef("e5", "1", "a1"), PromptRef("e5-query", "1", "b1"), (pins,), 7)


@pytest.fixture
def postgres(postgres_url: str) -> Postgres:
    return Postgres(postgres_url)


@pytest.fixture
def log(postgres: Postgres) -> BundleLog:
    return BundleLog(postgres)


def tenant_of(postgres: Postgres) -> TenantContext:
    tenant = TenantContext.parse(f"b{uuid4().hex[:10]}")
    TenantDirectory(postgres).create(tenant, name="Prueba")
    return tenant


@pytest.fixture
def norte(postgres: Postgres) -> TenantContext:
    return tenant_of(postgres)


def test_the_same_content_twice_is_one_bundle(log: BundleLog, norte: TenantContext) -> None:
    assert log.keep(norte, "norte", bundle(), by="ana", note="the first")
    assert not log.keep(norte, "norte", bundle(), by="luis", note="the same")
    (kept,) = log.all(norte)
    assert (kept.bundle, kept.made_by, kept.note) == (bundle(), "ana", "the first")


def test_a_bundle_is_found_by_its_alias_by_name_and_id_and_by_id_alone(
    log: BundleLog, norte: TenantContext
) -> None:
    for version in (1, 2):
        log.keep(norte, "norte", bundle(version), by="ana")
    log.move(norte, "norte", "champion", bundle(2).bundle_id, by="ana", reason="better")
    assert log.find(norte, "bundle:/norte@champion") == bundle(2)
    assert log.find(norte, f"bundle:/norte/{bundle(1).bundle_id}") == bundle(1)
    assert log.find(norte, bundle(1).bundle_id) == bundle(1)
    assert log.kept(norte, "bundle:/norte@champion").aliases == ("champion",)


@pytest.mark.parametrize(
    "reference", ["bundle:/norte@retador", "bundle:/sur@champion", "bundle-000000000000"]
)
def test_an_unknown_reference_is_answered_with_what_there_is(
    log: BundleLog, norte: TenantContext, reference: str
) -> None:
    with pytest.raises(UnknownBundleError, match=r"none yet\); make the first with `plata bundles"):
        log.find(norte, reference)
    log.keep(norte, "norte", bundle(), by="ana")
    log.move(norte, "norte", "champion", bundle().bundle_id, by="ana", reason="first")
    with pytest.raises(UnknownBundleError) as error:
        log.find(norte, reference)
    assert f"it has: bundle:/norte@champion, {bundle().bundle_id}" in str(error.value)


@pytest.mark.parametrize("text", ["champion", "bundle:/norte", "bundle-12", "models:/norte.tipo/1"])
def test_what_is_no_reference_is_answered_with_the_ways_to_write_one(text: str) -> None:
    with pytest.raises(InputError, match="names no bundle; write bundle:/alcaldia-norte@champion"):
        BundleRef.parse(text)


def test_every_move_leaves_a_row_and_a_move_to_the_same_place_is_none(
    log: BundleLog, norte: TenantContext
) -> None:
    first, second = bundle(1).bundle_id, bundle(2).bundle_id
    for version in (1, 2):
        log.keep(norte, "norte", bundle(version), by="ana")
    assert log.move(norte, "norte", "champion", first, by="ana", reason="first")
    assert not log.move(norte, "norte", "champion", first, by="ana", reason="again")
    verdict = {"passed": False, "gates": []}
    assert log.move(
        norte, "norte", "champion", second, by="luis", reason="law", forced=True, verdict=verdict
    )
    told = [
        (m.before, m.after, m.by, m.reason, m.forced, m.verdict)
        for m in log.history(norte, "norte")
    ]
    assert told == [
        (first, second, "luis", "law", True, verdict),
        (None, first, "ana", "first", False, None),
    ]
    assert log.aliases(norte, "norte") == {"champion": second}


def test_nobody_can_change_or_delete_a_move_or_a_bundle(
    postgres: Postgres, log: BundleLog, norte: TenantContext
) -> None:
    log.keep(norte, "norte", bundle(), by="ana")
    log.move(norte, "norte", "champion", bundle().bundle_id, by="ana", reason="first")
    for table in ("bundles", "bundle_moves"):
        for statement in (f"UPDATE meta.{table} SET name = 'x'", f"DELETE FROM meta.{table}"):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                postgres.connect(norte) as connection,
            ):
                connection.execute(statement.encode())
            with (
                pytest.raises(psycopg.errors.RaiseException, match="never changed or deleted"),
                postgres.administer() as connection,
            ):
                connection.execute(statement.encode())
        with (
            pytest.raises(psycopg.errors.RaiseException, match="never changed or deleted"),
            postgres.administer() as connection,
        ):
            connection.execute(f"TRUNCATE meta.{table} CASCADE".encode())
    assert len(log.history(norte, "norte")) == 1


def test_a_forced_move_without_a_reason_is_refused_by_the_database_too(
    log: BundleLog, norte: TenantContext
) -> None:
    log.keep(norte, "norte", bundle(), by="ana")
    with pytest.raises(psycopg.errors.CheckViolation):
        log.move(norte, "norte", "champion", bundle().bundle_id, by="x", reason="", forced=True)
    assert log.aliases(norte, "norte") == {}


def test_tenants_see_and_move_only_their_own_bundles(
    postgres: Postgres, log: BundleLog, norte: TenantContext
) -> None:
    sur = tenant_of(postgres)
    log.keep(norte, "norte", bundle(), by="ana")
    log.move(norte, "norte", "champion", bundle().bundle_id, by="ana", reason="first")
    assert log.all(sur) == []
    assert log.aliases(sur, "norte") == {}
    assert log.history(sur, "norte") == []
    with pytest.raises(UnknownBundleError):
        log.find(sur, "bundle:/norte@champion")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        log.move(sur, "norte", "champion", bundle().bundle_id, by="eva", reason="mine now")
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level"),
        postgres.connect(sur) as connection,
    ):
        connection.execute(
            "INSERT INTO meta.bundles (tenant_id, name, bundle_id, content, note, made_by) "
            "VALUES (%s, 'x', 'y', '{}', '', '')",
            [norte.tenant_id],
        )


def test_a_bundle_whose_content_was_changed_behind_plata_is_not_used(
    postgres: Postgres, log: BundleLog, norte: TenantContext
) -> None:
    log.keep(norte, "norte", bundle(), by="ana")
    with postgres.administer() as connection:
        connection.execute("ALTER TABLE meta.bundles DISABLE TRIGGER append_only")
        connection.execute(
            "UPDATE meta.bundles SET content = jsonb_set(content, '{seed}', '8') "
            "WHERE tenant_id = %s",
            [norte.tenant_id],
        )
        connection.execute("ALTER TABLE meta.bundles ENABLE TRIGGER append_only")
    with pytest.raises(ArtifactError, match="is not what was kept"):
        log.find(norte, bundle().bundle_id)


def test_a_bundle_under_two_names_moves_under_each(log: BundleLog, norte: TenantContext) -> None:
    other = replace(bundle(), seed=8)
    for name in ("norte", "prueba"):
        log.keep(norte, name, bundle(), by="ana")
        log.move(norte, name, "champion", bundle().bundle_id, by="ana", reason="first")
    log.keep(norte, "prueba", other, by="ana")
    log.move(norte, "prueba", "champion", other.bundle_id, by="ana", reason="next")
    assert log.find(norte, "bundle:/norte@champion") == bundle()
    assert log.find(norte, "bundle:/prueba@champion") == other
