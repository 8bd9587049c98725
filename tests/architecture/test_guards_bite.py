"""A guard that cannot fail guards nothing: each is shown a broken rule and must refuse it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns(".venv*", ".git", ".plata*", ".*_cache", "docs", "tests")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the code, to break."""
    return Path(shutil.copytree(ROOT, tmp_path / "house", ignore=IGNORED))


def guard(house: Path, *command: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [str(program), *command[1:]], cwd=house, text=True, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("lakehouse/run.py", "import contracts.pqrs", "imports only go down"),
        ("models/task.py", "import mlflow", "mlflow enters through registry"),
        ("pipelines/onboard.py", "import argilla", "argilla enters through labeling"),
        ("serving/cli/lineage.py", "import openlineage.client", "openlineage enters through"),
        ("monitoring/drift.py", "import labeling.queue", "imports only go down"),
        ("pipelines/sql.py", "import duckdb", "deltalake and duckdb through"),
    ],
)
def test_an_import_that_breaks_a_rule_is_found(
    house: Path, module: str, line: str, complaint: str
) -> None:
    file = house / module
    file.write_text(file.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    verdict = guard(house, "lint-imports", "--no-cache")
    assert verdict.returncode != 0
    assert f"{complaint}" in verdict.stdout
    assert "BROKEN" in verdict.stdout


def test_a_pickle_is_refused(house: Path) -> None:
    file = house / "models" / "task.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nimport pickle\n", encoding="utf-8")
    verdict = guard(house, "ruff", "check", "--no-cache", "models/task.py")
    assert "TID251" in verdict.stdout
