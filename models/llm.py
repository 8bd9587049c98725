"""The LLM family: any endpoint that speaks OpenAI's protocol, asked through a versioned prompt.

The model folder is one file, `plata.json`: the name of the endpoint (where it is, the settings
say), the model, its parameters, the labels, the prompt and the prices. Every answer is checked and
kept by the digest of its text, so that nobody pays twice; a text without an answer is left to the
task's baseline.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from features.embed import flat
from lakehouse.control.llm_ledger import ANSWERED, Asking, Charge
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.chat import Caller, CallError, Failure, Reply
from models.classifier import Probabilities
from models.folder import LLM, read_config, write_config
from models.llm_prompt import LlmPrompt, answer_schema, read_answer
from registry.errors import ArtifactError
from registry.refs import PromptRef, text_digest

_OURS = {"model", "messages", "response_format", "stream", "n", "tools", "functions"}
_ANSWER_ATTEMPTS = 2
"""How often a text is asked about when the answer cannot be used."""
_BYTES_A_TOKEN = 3
"""For replies that do not say: Spanish takes about four, so this errs on the dear side."""
_MILLION = 1_000_000


class Prices(BaseModel):
    """What a million tokens cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field(default="USD", min_length=1)
    prompt: Decimal = Field(default=Decimal(0), ge=0)
    completion: Decimal = Field(default=Decimal(0), ge=0)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """Return what so many tokens cost.

        >>> Prices(prompt=Decimal("0.15"), completion=Decimal("0.60")).cost(1000, 100)
        Decimal('0.00021')
        """
        whole = self.prompt * prompt_tokens + self.completion * completion_tokens
        return whole / _MILLION


class PinnedPrompt(BaseModel):
    """The prompt version a model was registered with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    digest: str

    @property
    def ref(self) -> PromptRef:
        """The version as the registry knows it."""
        return PromptRef(self.name, self.version, self.digest)


class LlmModel(BaseModel):
    """What `plata.json` says. `parameters` go into every request as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(min_length=1)
    model: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=2)
    prompt: PinnedPrompt
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    prices: Prices = Field(default_factory=Prices)
    longest_text: int = Field(default=8_000, ge=1)
    """Characters of a text that are sent; what follows is not read."""

    @field_validator("parameters")
    @classmethod
    def _not_ours(cls, values: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_OURS & set(values)):
            msg = f"Plata itself sets {', '.join(taken)}"
            raise ValueError(msg)
        return values

    @classmethod
    def read(cls, folder: Path) -> LlmModel:
        """Read a model folder. Raises `ArtifactError` that says what is wrong with it."""
        config = read_config(folder)
        config.pop("family", None)
        return cls.of(config)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> LlmModel:
        """Check plain values. Raises `ArtifactError`."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            msg = f"this is not an LLM's configuration: {found}"
            raise ArtifactError(msg) from error

    def save(self, folder: Path) -> None:
        """Write a model folder."""
        write_config(folder, {"family": LLM, **self.model_dump(mode="json")})

    def asking(self, prompt: PromptRef) -> Asking:
        """Name everything that decides an answer, the text apart."""
        rest = [self.endpoint, self.labels, self.parameters, self.longest_text]
        digest = text_digest(json.dumps(rest, sort_keys=True, ensure_ascii=False))
        return Asking(prompt.digest, self.model, digest)

    def body(self, prompt: LlmPrompt, text: str) -> dict[str, Any]:
        """Return the request about one text."""
        return {
            **self.parameters,
            "model": self.model,
            "messages": prompt.messages(text[: self.longest_text]),
            "response_format": answer_schema(self.labels),
        }


class AnswerBook(Protocol):
    """Where answers and charges are kept; see `lakehouse.control.llm_ledger.LlmLedger`."""

    def known(
        self, asking: Asking, digests: list[str], tenant: TenantContext
    ) -> Mapping[str, Mapping[str, float]]:
        """Return the answers there are, by the digest of the text."""
        ...

    def charge(self, charge: Charge, run: RunContext) -> None:
        """Record what a reply that cannot be used cost."""
        ...

    def settle(
        self,
        charge: Charge,
        asking: Asking,
        text_sha256: str,
        answer: Mapping[str, float],
        run: RunContext,
    ) -> None:
        """Record an answer together with what it cost."""
        ...


@dataclass(slots=True)
class LlmClassifier:
    """An LLM that answers one task in one run. `prompt` is the text of `prompt_ref`."""

    model: LlmModel
    prompt: LlmPrompt
    prompt_ref: PromptRef
    caller: Caller
    book: AnswerBook
    run: RunContext
    task: str
    _failures: dict[str, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.prompt.etiquetas) != set(self.model.labels):
            msg = (
                f"{self.prompt_ref.uri} describes {', '.join(self.prompt.etiquetas)}; the model "
                f"answers {', '.join(self.model.labels)}. Register a prompt that describes those"
            )
            raise ArtifactError(msg)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the configuration."""
        return self.model.labels

    def predict_proba(self, rows: pa.Table) -> Probabilities:
        """Answer from what is known, and ask about the rest; a row is NaN where no answer came."""
        texts = [text or "" for text in flat(rows["text"]).to_pylist()]
        digests = [_digest(text) for text in texts]
        asked = dict(zip(digests, texts, strict=True))
        found = dict(self.book.known(self._asking, list(asked), self.run.tenant))
        self._failures = {}
        missing = [(digest, text) for digest, text in asked.items() if digest not in found]
        found |= self._ask_all(missing)
        nothing = dict.fromkeys(self.labels, float("nan"))
        answers = [found.get(digest, nothing) for digest in digests]
        table = [[answer[label] for label in self.labels] for answer in answers]
        return np.array(table, np.float64).reshape(len(digests), len(self.labels))

    def explain(self, rows: pa.Table, probabilities: Probabilities) -> list[str]:
        """Name model and prompt; where there is no answer, the `Failure` in one word."""
        version = f"{self.prompt_ref.name}, versión {self.prompt_ref.version}"
        said = f"Según {self.model.model} con el prompt {version}."
        texts = [text or "" for text in flat(rows["text"]).to_pylist()]
        lost = [bool(np.isnan(row).any()) for row in probabilities]
        return [
            self._failures[_digest(text)].value if failed else said
            for text, failed in zip(texts, lost, strict=True)
        ]

    @property
    def _asking(self) -> Asking:
        return self.model.asking(self.prompt_ref)

    def _ask_all(self, missing: Iterable[tuple[str, str]]) -> dict[str, Mapping[str, float]]:
        """Ask about several texts at once, as many as the endpoint bears."""
        with ThreadPoolExecutor(self.caller.limits.concurrency) as pool:
            answers = list(pool.map(lambda one: (one[0], self._ask(*one)), missing))
        found = {digest: a for digest, a in answers if not isinstance(a, Failure)}
        self._failures = {digest: a for digest, a in answers if isinstance(a, Failure)}
        return found

    def _ask(self, digest: str, text: str) -> Mapping[str, float] | Failure:
        body = self.model.body(self.prompt, text)
        failure = Failure.INVALID
        for _ in range(_ANSWER_ATTEMPTS):
            try:
                reply = self.caller.ask(body)
            except CallError as error:
                return error.failure
            try:
                answer = read_answer(reply, self.labels)
            except CallError as error:
                failure = error.failure
                self.book.charge(self._charge(reply, body, failure.value), self.run)
                if failure is Failure.REFUSAL:
                    return failure
            else:
                charge = self._charge(reply, body, ANSWERED)
                self.book.settle(charge, self._asking, digest, answer, self.run)
                return answer
        return failure

    def _charge(self, reply: Reply, body: Mapping[str, Any], outcome: str) -> Charge:
        metered = reply.prompt_tokens is not None and reply.completion_tokens is not None
        sent = json.dumps(body["messages"], ensure_ascii=False)
        prompt = reply.prompt_tokens if metered else _estimated(sent)
        completion = reply.completion_tokens if metered else _estimated(reply.content or "")
        assert prompt is not None
        assert completion is not None
        return Charge(
            task=self.task,
            model=self.model.model,
            outcome=outcome,
            prompt_tokens=prompt,
            completion_tokens=completion,
            metered=metered,
            cost=self.model.prices.cost(prompt, completion),
            currency=self.model.prices.currency,
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _estimated(text: str) -> int:
    return -(-len(text.encode()) // _BYTES_A_TOKEN)
