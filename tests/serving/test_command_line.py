"""Promises of every command: help with an example, JSON for programs, errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from serving.cli.app import app

ROOT = Path(__file__).parents[2]
PRINTS_NO_DATA = {"up", "down", "logs", "tenants show", "simulate", "review next"}
"""Commands that act, stream, or print a file as it is: no value for a program to read."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def plata(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PLATA_", "PREFECT_"))}
    return subprocess.run(
        [sys.executable, "-m", "serving.cli", *arguments],
        cwd=ROOT,
        env={**kept, "PLATA_HOME": str(home), **environment},
        text=True,
        capture_output=True,
        check=False,
    )


def test_the_walk_finds_the_commands() -> None:
    assert {"up", "demo", "ingest", "run", "search", "models train", "review pull"} <= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    text = COMMANDS[name].help or ""
    assert "Example" in text
    assert f"plata {name}" in " ".join(text.split())


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - PRINTS_NO_DATA))
def test_every_command_that_prints_data_prints_json_too(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("ingest", "nowhere.jsonl", "--tenant", "norte", "--source", "web"), "does not exist"),
        (("run", "--tenant", "norte"), "plata up"),
        (("search", "agua", "--tenant", "norte"), "plata up"),
        (("review", "status", "--tenant", "norte"), "plata up"),
        (("tenants", "create", "Norte!"), "is not a tenant name"),
        (("tenants", "create", "norte", "--config", "nowhere.yaml"), "no configuration file"),
        (("demo", "--real", "nowhere"), "expected the folder of the real data sets"),
        (("demo", "--picture", "nowhere/demo.svg"), "name a file in a folder that exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_answered_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = plata(*arguments, home=tmp_path / "state")
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    done = plata("tenants", "list", home=tmp_path / "state", PLATA_WORKERS="many")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "PLATA_WORKERS is 'many'" in done.stderr


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = plata("--version", home=tmp_path / "state")
    assert done.stdout.strip().count(".") == 2
