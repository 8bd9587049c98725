"""Our top-level names are common words: nobody else may bring them."""

from __future__ import annotations

import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OURS: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("name", OURS)
def test_no_other_distribution_claims_the_name(name: str) -> None:
    assert set(packages_distributions().get(name, ["plata"])) <= {"plata"}


def test_the_guards_watch_every_package() -> None:
    floors = PROJECT["tool"]["importlinter"]
    assert floors["root_packages"] == OURS
    named = {
        word
        for layer in floors["contracts"][0]["layers"]
        for word in layer.replace("|", " ").split()
    }
    assert named == set(OURS)


def test_the_tests_are_no_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("name", OURS)
def test_importing_a_package_runs_nothing_but_its_docstring(name: str) -> None:
    files = [*(ROOT / name).rglob("__init__.py")]
    assert files
    with_code = [
        str(file.relative_to(ROOT))
        for file in files
        if len(compile_body(file)) != 1 and "infra/argilla_search" not in file.as_posix()
    ]
    assert with_code == []


def compile_body(file: Path) -> list[object]:
    import ast

    return list(ast.parse(file.read_text(encoding="utf-8")).body)


def test_the_lock_names_no_machine_and_no_registry() -> None:
    locks = [ROOT / "requirements.lock", ROOT / "infra" / "argilla_search" / "requirements.lock"]
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "--find-links" not in text
        assert "://" not in text
        assert "+cpu" not in text
