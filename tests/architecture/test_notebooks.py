"""A notebook is read where it cannot run: its outputs are there, and none is a machine's own."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
LARGEST = 400_000

FOREIGN = re.compile(
    r"(?<![\w.])/(?:home|root|tmp|opt|work|usr|var|Users)/|file://|\x1b\[|Traceback|Warning:"
    r"|https?://(?!127\.0\.0\.1:5000/)"
)
"""A path of a machine, another address than MLflow's usual one, colours, something gone wrong."""


def cells(notebook: Path) -> list[dict[str, Any]]:
    return [
        cell
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]


def said(output: dict[str, Any]) -> str:
    """Return the words of an output; a picture has none."""
    words = [output.get("text", ""), *output.get("data", {}).values()]
    kinds = ["text/plain", *output.get("data", {})]
    return "".join(
        "".join(text) for text, kind in zip(words, kinds, strict=True) if kind.startswith("text/")
    )


@pytest.fixture(params=sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_there_is_a_notebook() -> None:
    assert [path.name for path in NOTEBOOKS.glob("*.ipynb")] == ["promote-a-model.ipynb"]


def test_every_cell_was_run_once_from_top_to_bottom(notebook: Path) -> None:
    assert [cell["execution_count"] for cell in cells(notebook)] == [
        number for number, _ in zip(count(1), cells(notebook), strict=False)
    ]
    assert [cell["source"] for cell in cells(notebook)[1:] if not cell["outputs"]] == []


def test_no_output_is_of_a_machine(notebook: Path) -> None:
    found = [
        found.group()
        for cell in cells(notebook)
        for output in cell["outputs"]
        for found in FOREIGN.finditer(said(output))
    ]
    assert found == []
    assert [cell["metadata"] for cell in cells(notebook) if cell["metadata"]] == []


def test_pages_and_files_it_leads_to_are_there(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    there = [link for link in links if (notebook.parent / link).exists()]
    assert links
    assert links == there


def test_it_stays_small(notebook: Path) -> None:
    assert notebook.stat().st_size < LARGEST
