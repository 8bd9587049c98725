"""Prompts as files: read, and checked for what their kind must say before they are registered."""

from __future__ import annotations

from pathlib import Path

from lakehouse.errors import InputError
from models.llm_prompt import LlmPrompt
from models.zero_shot import ZeroShotPrompt
from registry.refs import check_template

ZERO_SHOT_SUFFIX = ".zero-shot"
LLM_SUFFIX = ".llm"


def read_prompt(name: str, path: Path) -> str:
    """Return the text of a prompt's file. Raises `InputError` or `PromptError` in one line."""
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
    check_template(name, text)
    if name.endswith(ZERO_SHOT_SUFFIX):
        ZeroShotPrompt.parse(text)
    if name.endswith(LLM_SUFFIX):
        LlmPrompt.parse(text)
    return text
