"""A prepared lake and database, real and quick, that many tests copy and run on."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

HELPER = Path(__file__).with_name("killable.py")


@pytest.fixture(scope="session")
def killable() -> ModuleType:
    spec = spec_from_file_location("killable", HELPER)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["killable"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def server(postgres_url: str) -> str:
    return postgres_url.rsplit("/", 1)[0]


@pytest.fixture(scope="session")
def prepared(killable: ModuleType, server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared con espacio")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE prepared")
    killable.prepare(f"{server}/prepared", folder)
    return folder


@pytest.fixture(scope="session")
def whole(killable: ModuleType, server: str, prepared: Path) -> Any:
    """A run that nobody killed; see `killable.Whole`."""
    return killable.whole_run(server, prepared, "whole")
