"""What a model is trained on: texts with their labels, some of them kept aside to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.splitting import held_out
from pipelines.labelled_texts import LabelledTexts, LabelsFile

HELD_OUT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Distinct texts with the positions of their labels; `aside` marks those that judge.

    `name` and `digest` say what it was made of, `split` how the texts were told apart, `origin`
    what else is to be recorded of it, and `dropped` counts by reason what was not used.

    Where `reference` has texts, later ones are compared with these to see drift; else with those
    that judge. `choose_apart` has the kind of model chosen among the texts to learn from, so that
    those that judge had no part in the choice.
    """

    texts: tuple[str, ...]
    truth: NDArray[np.int64]
    aside: NDArray[np.bool_]
    name: str
    digest: str
    split: str
    note: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    reference: tuple[str, ...] = ()
    choose_apart: bool = False

    @classmethod
    def of_file(cls, file: LabelsFile, found: LabelledTexts, *, seed: int) -> TrainingSet:
        """Keep a share of every label aside by a digest of the text: a file tells no time."""
        return cls(
            texts=found.texts,
            truth=found.truth,
            aside=held_out(found.texts, found.truth, share=HELD_OUT_SHARE, seed=seed),
            name=file.path.name,
            digest=found.sha256,
            split=f"by a digest of the text (seed {seed}), the same share of every label",
            note=file.note,
            dropped={"repeated": found.repeated, "blank": found.blank},
        )
