"""An embedding space: the vectors that may be compared with each other, and no others."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.errors import ConfigurationError
from registry.refs import ModelRef, PromptRef, bundle_id


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Vectors of one model behind one prompt. Two spaces are never mixed in a query."""

    space_id: str
    model: ModelRef
    prompt: PromptRef
    dimensions: int

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            msg = f"space '{self.space_id}' has {self.dimensions} dimensions, expected at least 1"
            raise ConfigurationError(msg)

    @classmethod
    def of(cls, model: ModelRef, prompt: PromptRef, dimensions: int) -> EmbeddingSpace:
        """Name the space by the content of model and prompt, so that equal content is one space.

        >>> EmbeddingSpace.of(ModelRef("e5", "1", "9f"), PromptRef("q", "1", "03"), 384).space_id
        'space-2c3b5dbefa5a'
        """
        content = {"model": model.digest, "prompt": prompt.digest, "dimensions": str(dimensions)}
        return cls(bundle_id(content).replace("bundle", "space"), model, prompt, dimensions)
