"""The program as a person runs it, against the session's services; and one demo for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from infra.embedded.layout import ROOT
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import TableStore


@dataclass(frozen=True)
class Program:
    """`plata` in a process of its own, with nothing of the developer's shell but its path."""

    home: Path
    postgres_url: str
    mlflow_url: str

    def __call__(
        self, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever the end is."""
        return subprocess.run(
            self.command(*words),
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    def json(self, *words: str) -> Any:
        """Return what a command prints for programs; it must succeed."""
        done = self(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run beside the test."""
        return subprocess.Popen(
            self.command(*words),
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "serving.cli", *words]

    @cached_property
    def environment(self) -> dict[str, str]:
        foreign = ("PLATA_", "PREFECT_", "PYTHONDONTWRITEBYTECODE")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return {**kept, "PLATA_HOME": str(self.home), "PYTHONPATH": str(ROOT)}

    @cached_property
    def store(self) -> TableStore:
        """The lake, as it is on disk."""
        return DeltaTableStore(LakeRoot(str(self.home / "lake")))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask Postgres as its owner."""
        with psycopg.connect(self.postgres_url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def model_versions(self) -> set[tuple[str, str]]:
        """Ask MLflow for every version of every model."""
        answer = httpx.get(
            f"{self.mlflow_url}/api/2.0/mlflow/model-versions/search",
            params={"max_results": 1000},
            timeout=60,
        ).raise_for_status()
        return {(v["name"], v["version"]) for v in answer.json().get("model_versions", [])}


@dataclass(frozen=True)
class Demo:
    """Two demos one after the other: what each printed, and the models there were after each."""

    printed: tuple[dict[str, Any], dict[str, Any]]
    shown: str
    models: tuple[set[tuple[str, str]], set[tuple[str, str]]]


@pytest.fixture(scope="session")
def plata(plata_services: Any) -> Program:
    """The command line, for tests marked `service`."""
    return Program(plata_services.home, plata_services.postgres_url, plata_services.mlflow_url)


@pytest.fixture(scope="session")
def embedding(plata: Program) -> str:
    """The embedding model, registered: what a run needs besides a tenant."""
    return str(plata.json("models", "embedding")["model"])


@pytest.fixture(scope="session")
def demo(plata: Program) -> Demo:
    """The bundled demo, twice."""
    first = plata("demo", "--json")
    assert first.returncode == 0, first.stderr
    models = plata.model_versions()
    again = plata.json("demo")
    both = json.loads(first.stdout), again
    return Demo(both, first.stderr, (models, plata.model_versions()))
