"""What a model folder says of itself: read without importing what opens the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.errors import ArtifactError
from registry.refs import PromptRef

CONFIG_FILE = "plata.json"
EMBEDDING, LLM, ENTITIES = "embedding", "llm", "entities"
"""Families that are no classifier by themselves: one needs a prompt, one an endpoint, and one
finds mentions.
"""
REFERENCE_FILE = "reference.parquet"
"""What drift is compared with."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return what a model folder says of itself: its family, its labels, what it reads."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"the model folder has no readable {CONFIG_FILE}: {error}; was it made by Plata?"
        raise ArtifactError(msg) from error
    if not isinstance(config, dict):
        msg = f"{CONFIG_FILE} is not a JSON object"
        raise ArtifactError(msg)
    return config


def family_of(folder: Path) -> str:
    """Return which family a folder is of; one that is not ours holds an embedding model."""
    if not (folder / CONFIG_FILE).is_file():
        return EMBEDDING
    return str(read_config(folder).get("family"))


def pinned_prompt(folder: Path) -> PromptRef | None:
    """Return the prompt version a model was registered with, None where it reads none."""
    if family_of(folder) == EMBEDDING:
        return None
    pinned = read_config(folder).get("prompt")
    if pinned is None:
        return None
    try:
        return PromptRef(pinned["name"], pinned["version"], pinned["digest"])
    except (TypeError, KeyError) as error:
        msg = f"{CONFIG_FILE} pins no prompt version by name, version and digest: {pinned}"
        raise ArtifactError(msg) from error


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write what `read_config` returns."""
    write_json(folder / CONFIG_FILE, config)


def write_json(path: Path, value: object) -> None:
    """Write a value so that equal values give equal bytes."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8")
