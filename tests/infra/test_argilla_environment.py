from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from infra.embedded import argilla_environment
from infra.embedded.argilla_environment import PLUGIN, environment_for, is_complete
from infra.embedded.layout import ROOT
from lakehouse.settings import Settings


def test_an_environment_without_its_stamp_is_not_complete(tmp_path: Path) -> None:
    """A build that was killed leaves all but the stamp, which is written last."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert not is_complete(tmp_path)


def test_an_environment_of_another_lock_is_not_complete(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "plata-lock.sha256").write_text("0" * 64)
    assert not is_complete(tmp_path)


def test_the_environment_can_be_put_elsewhere(tmp_path: Path) -> None:
    assert environment_for(Settings(home=tmp_path, argilla_env=tmp_path / "e")) == tmp_path / "e"


def test_the_lock_names_no_place_of_this_machine() -> None:
    lock = argilla_environment.LOCK.read_text()
    lines = [line for line in lock.splitlines() if not line.startswith("#")]
    assert all("==" in line and "/" not in line for line in lines)
    assert argilla_environment.version() == "2.8.0"


def test_argilla_sees_one_package_and_none_of_ours() -> None:
    packages = {path.parent.name for path in PLUGIN.glob("*/*.py")}
    assert packages == {"plata_argilla_search"}
    assert PLUGIN.is_relative_to(ROOT)


@pytest.mark.parametrize(
    ("typed", "query"),
    [
        ("cobro doble", "('cobro' & 'doble')"),
        ('"cobro doble" -agua', "('cobro doble' & !'agua')"),
        ("luz | agua", "('luz' | 'agua')"),
        ("(luz | agua) factur*", "(('luz' | 'agua') & 'factur':*)"),
        ("d'agua \\ : & !", "'d agua'"),
        ("| ( ) - +", ""),
        ("((luz", "'luz'"),
        ("luz) agua", "('luz' & 'agua')"),
        ("pre-pago", "'pre pago'"),
    ],
)
def test_what_reviewers_type_becomes_a_query_that_is_always_valid(typed: str, query: str) -> None:
    spec = importlib.util.spec_from_file_location(
        "textquery", PLUGIN / "plata_argilla_search" / "textquery.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.to_tsquery(typed) == query
