"""Prompts as files: read, and checked for what their kind must say before they are registered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from lakehouse.errors import InputError
from models.llm_prompt import LlmPrompt
from models.prompt_cases import Case, as_kept, read_cases, require_known
from models.zero_shot import ZeroShotPrompt
from registry.errors import PromptError
from registry.refs import check_template

ZERO_SHOT_SUFFIX = ".zero-shot"
LLM_SUFFIX = ".llm"
QUERY_SUFFIX = "-query"

_VARIABLE = re.compile(r"\{\{(.*?)\}\}")
_KINDS = {
    QUERY_SUFFIX: ("an embedding model's prompt", "once"),
    ZERO_SHOT_SUFFIX: ("a zero-shot prompt", "once, in `consulta`"),
    LLM_SUFFIX: ("a prompt for an LLM", "once, in `usuario`"),
}
"""What each kind of prompt is called, by how its name ends, and where its variable goes."""


def read_prompt(name: str, path: Path) -> str:
    """Return the text of a prompt's file. Raises `InputError` or `PromptError` in one line."""
    text = _read(path)
    check_prompt(name, text)
    return text


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        msg = f"no prompt file at '{path}'"
        raise InputError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"'{path}' is not UTF-8: convert it, for example with `iconv -f latin1 -t utf-8`"
        raise InputError(msg) from error
    except OSError as error:
        msg = f"'{path}' cannot be read: {error.strerror}"
        raise InputError(msg) from error
    if not text.strip():
        msg = f"'{path}' is empty"
        raise InputError(msg)
    return text


def check_prompt(name: str, text: str) -> None:
    """Raise `PromptError` unless a text is what a prompt of that name must be."""
    check_template(name, text)
    _check_variables(name, text)
    if name.endswith(ZERO_SHOT_SUFFIX):
        ZeroShotPrompt.parse(text)
    if name.endswith(LLM_SUFFIX):
        LlmPrompt.parse(text)


def read_tests(name: str, text: str, path: Path) -> str:
    """Return a file of tests as it is kept beside the text of a prompt. Raises `InputError`."""
    cases = cases_of(path)
    require_known(cases, _labels(name, text))
    return as_kept(cases)


def cases_of(path: Path) -> tuple[Case, ...]:
    """Read a file of tests, YAML or JSON lines. Raises `InputError`."""
    return read_cases(_read(path), lines=path.suffix == ".jsonl")


def _labels(name: str, text: str) -> tuple[str, ...]:
    if name.endswith(ZERO_SHOT_SUFFIX):
        return tuple(ZeroShotPrompt.parse(text).etiquetas)
    if name.endswith(LLM_SUFFIX):
        return tuple(LlmPrompt.parse(text).etiquetas)
    msg = (
        f"'{name}' answers with no label, so it has no tests; "
        f"those of '{ZERO_SHOT_SUFFIX}' and '{LLM_SUFFIX}' do"
    )
    raise InputError(msg)


def _check_variables(name: str, text: str) -> None:
    """Raise `PromptError` that names the variables found where they are not those of the kind."""
    suffix = next((ending for ending in _KINDS if name.endswith(ending)), None)
    if suffix is None:
        return
    values: object = text
    if suffix != QUERY_SUFFIX:
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError:
            return  # the kind's own reader says what is wrong with it
    if not isinstance(values, str | dict):
        return
    found = [v.strip() for line in _strings(values) for v in _VARIABLE.findall(line)]
    if found == ["text"]:
        return
    kind, where = _KINDS[suffix]
    have = ", ".join(f"{{{{{variable}}}}}" for variable in found) or "none"
    msg = (
        f"prompt '{name}' has the variables: {have}; {kind} has exactly one, {{{{text}}}}, "
        f"{where}: write it there and take out any other"
    )
    raise PromptError(msg)


def _strings(value: object) -> Iterator[str]:
    """Yield every text in what YAML holds, keys too, but no comment."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
