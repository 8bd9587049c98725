"""The rules family: keywords counted for each label. The baseline to beat, and the fallback.

Its artifact is `rules.yaml`, a list of keywords for each label, which anyone can read and change:
changed, it is another version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from features.embed import flat
from features.text import folded
from models.classifier import Probabilities, best
from models.folder import write_config
from registry.errors import ArtifactError

RULES_FILE = "rules.yaml"
_MOST_SHOWN = 4


@dataclass(frozen=True, slots=True)
class KeywordRules:
    """A label's probability is its share of the keywords found; found none, all are as likely.

    Keywords are compared as whole words, without case, accents and punctuation.
    """

    keywords: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        empty = [label for label, words in self.keywords.items() if not any(map(folded, words))]
        if empty or len(self.keywords) < 2:
            msg = (
                f"rules need two labels or more, each with a keyword; found "
                f"{list(self.keywords)}, without keywords: {empty}"
            )
            raise ArtifactError(msg)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the file."""
        return tuple(self.keywords)

    def predict_proba(self, rows: pa.Table) -> Probabilities:
        """Count keywords; a tie goes to the label that comes first."""
        counts = np.array(
            [[len(self._found(label, text)) for label in self.labels] for text in _texts(rows)],
            np.float64,
        ).reshape(len(rows), len(self.labels))
        total = counts.sum(axis=1, keepdims=True)
        return np.where(total > 0, counts / np.maximum(total, 1), 1 / len(self.labels))

    def explain(self, rows: pa.Table, probabilities: Probabilities) -> list[str]:
        """Name the keywords of the chosen label that the text has."""
        chosen = [self.labels[place] for place in best(probabilities)]
        return [
            _reason(self._found(label, text))
            for label, text in zip(chosen, _texts(rows), strict=True)
        ]

    def _found(self, label: str, text: str) -> list[str]:
        return [word for word in self.keywords[label] for _ in range(text.count(_spaced(word)))]


def _texts(rows: pa.Table) -> list[str]:
    return [_spaced(text or "") for text in flat(rows["text"]).to_pylist()]


def _spaced(text: str) -> str:
    """Fold a text and give every word a space on each side, so that two in a row both count."""
    return "".join(f" {word} " for word in folded(text).split())


def _reason(found: Sequence[str]) -> str:
    if not found:
        return "Sin palabras clave: todas las etiquetas son igual de probables."
    distinct = list(dict.fromkeys(found))[:_MOST_SHOWN]
    return f"Palabras clave: {', '.join(distinct)}."


def read_rules(path: Path) -> KeywordRules:
    """Read an artifact. Raises `ArtifactError` that says what is wrong with it."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"'{path.name}' cannot be read: {' '.join(str(error).split())}"
        raise ArtifactError(msg) from error
    return rules_of(values)


def rules_of(values: object) -> KeywordRules:
    """Check plain values: a mapping of labels to lists of keywords."""
    if not isinstance(values, dict) or not all(isinstance(v, list) for v in values.values()):
        msg = "rules are a mapping of labels to lists of keywords, such as `queja: [maltrato]`"
        raise ArtifactError(msg)
    return KeywordRules({str(k): tuple(map(str, v)) for k, v in values.items()})


def save_rules(rules: KeywordRules, folder: Path) -> None:
    """Write a rules model."""
    values = {label: list(words) for label, words in rules.keywords.items()}
    text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
    (folder / RULES_FILE).write_text(text, encoding="utf-8")
    write_config(folder, {"family": "rules", "labels": list(rules.labels)})


def default_rules(task: str, titles: Mapping[str, str]) -> KeywordRules:
    """Return the known keywords of a task; a label without any has its own name for keyword.

    >>> default_rules("tema", {"vias": "Vías", "agua": "Agua"}).keywords["vias"]
    ('Vías',)
    """
    file = resources.files("models").joinpath("defaults", "keywords.yaml")
    known = yaml.safe_load(file.read_text(encoding="utf-8")).get(task, {})
    return KeywordRules(
        {label: tuple(known.get(label, [title])) for label, title in titles.items()}
    )
