"""The zero-shot family: a text is of the label whose descriptions lie nearest to it.

Nothing is trained. The descriptions, how they are put to the embedding model and how sharply
nearness becomes probability are one versioned prompt, written in YAML:

    consulta: "query: {{text}}"      # how a description is read; {{text}} is its place
    temperatura: 0.02
    etiquetas:
      queja: [maltrato de un funcionario, mala atención]
      reclamo: [cobro que no corresponde]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from features.embed import QUERY_TEMPLATE, Embedder, as_matrix, filled
from models.classifier import Probabilities, best
from registry.errors import ArtifactError, PromptError

DEFAULT_TEMPERATURE = 0.02
_EXPECTED = (
    "expected YAML with `consulta` (which holds {{text}}), `temperatura` and `etiquetas`, a list "
    "of descriptions for each label; register a new version with `plata prompts register`"
)


class ZeroShotPrompt(BaseModel):
    """What a prompt's text says. Unrelated texts are about 0.8 alike to e5, hence the temperature.

    `sesgos` is added to a label's nearness, for labels whose descriptions lie near everything.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    consulta: str
    etiquetas: dict[str, list[str]] = Field(min_length=2)
    temperatura: float = Field(default=DEFAULT_TEMPERATURE, gt=0, le=1)
    sesgos: dict[str, float] = Field(default_factory=dict)

    @classmethod
    def parse(cls, template: str) -> ZeroShotPrompt:
        """Read a prompt's text. Raises `PromptError` that says what it lacks."""
        try:
            prompt = cls.model_validate(yaml.safe_load(template))
        except (yaml.YAMLError, ValidationError) as error:
            found = " ".join(str(error).split())[:200]
            msg = f"this is not a zero-shot prompt: {found}; {_EXPECTED}"
            raise PromptError(msg) from error
        empty = [label for label, lines in prompt.etiquetas.items() if not any(lines)]
        if empty:
            msg = f"labels without a description: {', '.join(empty)}; {_EXPECTED}"
            raise PromptError(msg)
        filled(prompt.consulta, pa.array([""]))
        return prompt

    def text(self) -> str:
        """Write the prompt as it is registered."""
        values = self.model_dump(exclude_defaults=True)
        return yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=10_000)


@dataclass(frozen=True, slots=True)
class ZeroShotClassifier:
    """Rows are compared by their `embedding`, made in the space of the same embedding model.

    `vectors` holds the descriptions', `owners` the label each belongs to, as a position.
    """

    prompt: ZeroShotPrompt
    titles: tuple[str, ...]
    vectors: NDArray[np.float32]
    owners: NDArray[np.int64]

    @classmethod
    def of(cls, prompt: ZeroShotPrompt, embedder: Embedder) -> ZeroShotClassifier:
        """Embed the descriptions."""
        return cls.with_vectors(
            prompt, embedder.encode(filled(prompt.consulta, pa.array(_lines(prompt))))
        )

    @classmethod
    def with_vectors(
        cls, prompt: ZeroShotPrompt, vectors: NDArray[np.float32]
    ) -> ZeroShotClassifier:
        """Take vectors made before, one a description. Raises `ArtifactError` on others."""
        lines = _lines(prompt)
        if vectors.ndim != 2 or len(vectors) != len(lines):
            msg = f"the prompt has {len(lines)} descriptions, the vectors are {vectors.shape}"
            raise ArtifactError(msg)
        owners = [n for n, texts in enumerate(prompt.etiquetas.values()) for _ in texts]
        return cls(prompt, tuple(lines), vectors, np.array(owners, np.int64))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the prompt."""
        return tuple(self.prompt.etiquetas)

    def predict_proba(self, rows: pa.Table) -> Probabilities:
        """Turn nearness into probabilities: the softmax over labels of their mean description."""
        logits = self._nearness(rows) / self.prompt.temperatura
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)

    def explain(self, rows: pa.Table, probabilities: Probabilities) -> list[str]:
        """Quote the chosen label's description that is nearest to the text."""
        alike = self._alike(rows)
        reasons = []
        for row, label in zip(alike, best(probabilities), strict=True):
            own = np.where(self.owners == label, row, -np.inf)
            reasons.append(f"Se parece a: «{self.titles[int(own.argmax())]}».")
        return reasons

    def _alike(self, rows: pa.Table) -> NDArray[np.float64]:
        given = as_matrix(rows["embedding"]) if len(rows) else np.zeros((0, self.vectors.shape[1]))
        if given.shape[1] != self.vectors.shape[1]:
            msg = (
                f"the rows' embeddings have {given.shape[1]} numbers, the prompt's descriptions "
                f"{self.vectors.shape[1]}: both must come from one embedding model"
            )
            raise ArtifactError(msg)
        return np.asarray(given.astype(np.float64) @ self.vectors.T.astype(np.float64))

    def _nearness(self, rows: pa.Table) -> NDArray[np.float64]:
        alike = self._alike(rows)
        per_label = [
            alike[:, self.owners == n].mean(axis=1) + self.prompt.sesgos.get(label, 0.0)
            for n, label in enumerate(self.labels)
        ]
        return np.stack(per_label, axis=1)


def _lines(prompt: ZeroShotPrompt) -> list[str]:
    return [line for texts in prompt.etiquetas.values() for line in texts]


def default_prompt(task: str, titles: Mapping[str, str]) -> ZeroShotPrompt:
    """Return the prompt a task begins with; labels nobody described are described by their title.

    >>> default_prompt("tema", {"vias": "Vías", "agua": "Agua"}).etiquetas["vias"]
    ['Vías']
    """
    file = resources.files("models").joinpath("defaults", "zero_shot.yaml")
    known = yaml.safe_load(file.read_text(encoding="utf-8")).get(task)
    if known is not None and set(known["etiquetas"]) == set(titles):
        return ZeroShotPrompt.model_validate(known)
    return ZeroShotPrompt(
        consulta=QUERY_TEMPLATE, etiquetas={label: [title] for label, title in titles.items()}
    )
