"""A prepared lake and database, real and killable, that many tests copy and run on."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest


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
