"""What an LLM is told and what it must send back: a prompt, a JSON schema, a checked answer.

A prompt is one versioned text, written in YAML:

    sistema: |
      Clasificas solicitudes ciudadanas…      # what is to be done, for every text the same
    usuario: "{{text}}"                       # where the citizen's words go, and nowhere else
    etiquetas:
      queja: inconformidad con la conducta de una persona o la atención recibida
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from features.embed import filled
from models.chat import CallError, Failure, Reply
from registry.errors import PromptError

ANSWER = "probabilidades"
_EXPECTED = (
    "expected YAML with `sistema`, `usuario` (which holds {{text}} once) and `etiquetas`, a "
    "description for each label; register a new version with `plata prompts register`"
)
_ROUNDING = 0.1
"""How far from one the probabilities of an answer may sum: models round."""


class LlmPrompt(BaseModel):
    """What a prompt's text says. The order of `etiquetas` is the order the model reads them in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sistema: str = Field(min_length=1)
    usuario: str
    etiquetas: dict[str, str] = Field(min_length=2)

    @classmethod
    def parse(cls, template: str) -> LlmPrompt:
        """Read a prompt's text. Raises `PromptError` that says what it lacks."""
        try:
            prompt = cls.model_validate(yaml.safe_load(template))
        except (yaml.YAMLError, ValidationError) as error:
            found = " ".join(str(error).split())[:200]
            msg = f"this is not a prompt for an LLM: {found}; {_EXPECTED}"
            raise PromptError(msg) from error
        filled(prompt.usuario, pa.array([""]))
        return prompt

    def text(self) -> str:
        """Write the prompt as it is registered."""
        return yaml.safe_dump(self.model_dump(), allow_unicode=True, sort_keys=False, width=10_000)

    def messages(self, text: str) -> list[dict[str, str]]:
        """Return the conversation about one text, whose words stand in the user's message alone."""
        lines = "\n".join(f"- {label}: {meaning}" for label, meaning in self.etiquetas.items())
        asked = filled(self.usuario, pa.array([text]))[0].as_py()
        return [
            {"role": "system", "content": f"{self.sistema.strip()}\n\nEtiquetas:\n{lines}"},
            {"role": "user", "content": asked},
        ]


def answer_schema(labels: tuple[str, ...]) -> dict[str, Any]:
    """Return `response_format`: one probability a label, and nothing else."""
    inner = {
        "type": "object",
        "properties": {label: {"type": "number"} for label in labels},
        "required": list(labels),
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {ANSWER: inner},
        "required": [ANSWER],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": ANSWER, "strict": True, "schema": schema},
    }


def read_answer(reply: Reply, labels: tuple[str, ...]) -> dict[str, float]:
    """Return the probability of each label, summing to one. Raises `CallError`."""
    if reply.refusal or reply.finish_reason == "content_filter":
        raise CallError(Failure.REFUSAL, "the model refused to answer")
    if reply.finish_reason == "length":
        raise CallError(Failure.TRUNCATED, "the answer was cut off at the limit of tokens")
    try:
        found = json.loads(reply.content or "")[ANSWER]
        values = {str(label): float(value) for label, value in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CallError(Failure.INVALID, f"expected JSON with `{ANSWER}`") from error
    return _checked(values, labels)


def _checked(values: Mapping[str, float], labels: tuple[str, ...]) -> dict[str, float]:
    if set(values) != set(labels):
        msg = f"labels {sorted(values)[:10]}, expected {sorted(labels)}"
        raise CallError(Failure.INVALID, msg)
    total = sum(values.values())
    inside = all(math.isfinite(value) and 0 <= value <= 1 for value in values.values())
    if not inside or abs(total - 1) > _ROUNDING:
        msg = f"expected probabilities that sum to 1, found a sum of {total:.3g}"
        raise CallError(Failure.INVALID, msg)
    return {label: values[label] / total for label in labels}


def default_llm_prompt(task: str, titles: Mapping[str, str]) -> LlmPrompt:
    """Return the prompt a task begins with; labels nobody described are described by their title.

    >>> default_llm_prompt("tema", {"vias": "Vías", "agua": "Agua"}).etiquetas["vias"]
    'Vías'
    """
    file = resources.files("models").joinpath("defaults", "llm.yaml")
    known = yaml.safe_load(file.read_text(encoding="utf-8"))
    described = known["etiquetas"].get(task, {})
    meanings = {label: described.get(label, title) for label, title in titles.items()}
    return LlmPrompt(sistema=known["sistema"], usuario=known["usuario"], etiquetas=meanings)
