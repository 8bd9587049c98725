"""The lock serves every machine: no path, no registry, no CUDA, and all we ask for is pinned."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINNED = dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", LOCK, re.MULTILINE))


def asked() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    return [re.split(r"[^A-Za-z0-9_-]", name)[0].lower().replace("_", "-") for name in wanted]


@pytest.mark.parametrize("name", asked())
def test_what_we_ask_for_is_pinned(name: str) -> None:
    assert name in PINNED


def test_no_line_names_a_machine_or_a_registry() -> None:
    lines = [line for line in LOCK.splitlines() if not line.lstrip().startswith("# ")]
    assert [
        line for line in lines if re.search(r"https?:|file:|find-links|index-url|/", line)
    ] == []


def test_torch_is_the_plain_number_and_brings_no_cuda() -> None:
    assert re.fullmatch(r"2\.13\.\d+", PINNED["torch"])
    assert [name for name in PINNED if re.match(r"nvidia|cuda|triton", name)] == []
