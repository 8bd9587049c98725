"""Where LLMs are opened: endpoints by name, each under its limits, shared by all that asks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lakehouse.errors import ConfigurationError
from lakehouse.run import RunContext
from models.chat import Caller
from models.llm import AnswerBook, LlmClassifier, LlmModel
from models.llm_prompt import LlmPrompt
from registry.refs import PromptRef


@dataclass(frozen=True, slots=True)
class LlmDesk:
    """`endpoints` make the caller of each endpoint the settings name; each is made once."""

    endpoints: Mapping[str, Callable[[], Caller]]
    book: AnswerBook
    _callers: dict[str, Caller] = field(default_factory=dict)

    def open(
        self, folder: Path, prompt: PromptRef, template: str, *, run: RunContext, task: str
    ) -> LlmClassifier:
        """Make a classifier of a model folder and a prompt's version and text, for one run.

        Raises `ConfigurationError` where the settings do not say where its endpoint is.
        """
        model = LlmModel.read(folder)
        text = LlmPrompt.parse(template)
        caller = self._caller(model.endpoint)
        return LlmClassifier(model, text, prompt, caller, self.book, run, task)

    def close(self) -> None:
        """Leave the endpoints."""
        for caller in self._callers.values():
            caller.endpoint.close()

    def _caller(self, name: str) -> Caller:
        if name not in self.endpoints:
            known = ", ".join(sorted(self.endpoints)) or "none"
            msg = (
                f"no LLM endpoint is called '{name}'; the settings name: {known}. Name it in "
                f'PLATA_LLM, as in PLATA_LLM=\'{{"{name}": {{"url": "http://127.0.0.1:8000/v1"}}}}\''
            )
            raise ConfigurationError(msg)
        if name not in self._callers:
            self._callers[name] = self.endpoints[name]()
        return self._callers[name]
