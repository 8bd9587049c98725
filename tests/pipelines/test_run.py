from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from contracts.tables import BRONZE, GOLD, SILVER
from pipelines.run import RunPorts

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


def tables(url: str, lake: Path, killable: ModuleType) -> dict[str, list[Any]]:
    """Everything a run leaves behind, sorted, all columns."""
    ports: RunPorts = killable.ports_at(url, lake)
    found: dict[str, list[Any]] = {}
    for contract in (*BRONZE, *SILVER, *GOLD):
        rows = ports.store.scan(contract.table, killable.NORTE)
        found[str(contract.table)] = _sorted(contract.empty() if rows is None else rows)
    with psycopg.connect(url) as connection:
        for name in (*(f"gold.{c.table.entity}" for c in GOLD), *_POSTGRES_TABLES):
            query = f"SELECT * FROM {name}"
            found[name] = sorted(map(str, connection.execute(query.encode()).fetchall()))
        runs = "SELECT run_id, status, plan, manifest - 'seconds' FROM meta.etl_runs ORDER BY 1"
        found["meta.etl_runs"] = connection.execute(runs.encode()).fetchall()
    return found


_POSTGRES_TABLES = (
    "vectors.embeddings",
    "vectors.spaces",
    "meta.manifest_index",
    "meta.data_quality",
)


def _sorted(rows: pa.Table) -> list[str]:
    return sorted(str(sorted(row.items())) for row in rows.to_pylist())


def without_versions(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return found


def test_a_run_killed_anywhere_and_run_again_leaves_the_same_tables(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    url, lake = killable.copied(server, prepared, "whole")
    places: list[str] = []
    killable.second_run(url, lake, places.append)
    expected = tables(url, lake, killable)
    assert len(places) == len(set(places)) >= 30

    command = [sys.executable, str(HELPER), server, str(prepared), *places]
    environment = {**os.environ, "PYTHONPATH": str(HELPER.parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    killed = -signal.SIGKILL
    assert done.stdout.split("\n")[:-1] == [f"{killed} 0"] * len(places)

    for number, place in enumerate(places):
        name = f"killed-{number}"
        found = tables(f"{server}/{name}", prepared / name / "lake", killable)
        for table, rows in expected.items():
            assert found[table] == rows, f"{table} differs after a kill at '{place}'"
