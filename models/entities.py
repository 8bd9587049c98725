"""The entities family: dates, amounts, case numbers, places and organisations by rules.

The model folder is words, in `entities.yaml`, and municipalities with their DIVIPOLA codes, in
`places.csv`; how they combine is the code's `GRAMMAR`, which the folder names. Nothing is trained,
and the same folder and text give the same mentions everywhere.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pyarrow as pa
import yaml
from pydantic import ValidationError

from features.embed import flat
from lakehouse.compute.batches import Step
from models.entity_names import Names, Place
from models.entity_numbers import Numbers
from models.folder import ENTITIES, read_config, write_config
from models.mentions import KINDS, Lexicon, Mention
from registry.errors import ArtifactError
from registry.safety import check_registered

GRAMMAR = 1
"""Raised when the same words would find other mentions."""
_LEXICON_FILE = "entities.yaml"
_PLACES_FILE = "places.csv"
_LONGEST_TEXT = 50_000
"""Characters that are read: what a citizen writes is some hundred."""

MENTIONS = pa.schema(
    {
        "ticket_id": pa.string(),
        "kind": pa.string(),
        "text": pa.string(),
        "text_start": pa.int64(),
        "text_end": pa.int64(),
        "value": pa.string(),
        "score": pa.float64(),
    }
)


@dataclass(frozen=True, slots=True)
class EntityRules:
    """What finds mentions in a text."""

    numbers: Numbers
    names: Names

    @classmethod
    def of(cls, lexicon: Lexicon, places: Sequence[Place]) -> EntityRules:
        """Make the finders of words and municipalities."""
        return cls(Numbers(lexicon), Names(lexicon, places))

    def find(self, text: str, kinds: Sequence[str] = KINDS) -> list[Mention]:
        """Return the mentions of some kinds in the order of the text; none overlaps another."""
        read = text[:_LONGEST_TEXT]
        found = [*self.numbers.find(read), *self.names.find(read)]
        return [mention for mention in _apart(found) if mention.kind in kinds]


def _apart(found: Iterable[Mention]) -> list[Mention]:
    """Keep, of mentions that overlap, the longest; of equals, the surest."""
    ranked = sorted(found, key=lambda m: (m.start - m.end, -m.score, m.start, KINDS.index(m.kind)))
    kept: list[Mention] = []
    for mention in ranked:
        if all(mention.end <= k.start or mention.start >= k.end for k in kept):
            kept.append(mention)
    return sorted(kept, key=lambda m: m.start)


def default_entities() -> tuple[str, str]:
    """Return the words and the municipalities a tenant begins with, as the files' texts."""
    folder = resources.files("models").joinpath("defaults")
    words = folder.joinpath("entities.yaml").read_text(encoding="utf-8")
    return words, folder.joinpath("divipola.csv").read_text(encoding="utf-8")


def save_entities(words: str, places: str, folder: Path) -> None:
    """Write a model folder of the two texts, which are checked first."""
    _parse(words, places)
    (folder / _LEXICON_FILE).write_text(words, encoding="utf-8", newline="")
    (folder / _PLACES_FILE).write_text(places, encoding="utf-8", newline="")
    write_config(folder, {"family": ENTITIES, "grammar": GRAMMAR, "kinds": list(KINDS)})


def load_entities(folder: Path) -> EntityRules:
    """Open a model folder. Raises `ArtifactError` that says what is wrong with it."""
    check_registered(folder)
    config = read_config(folder)
    if config.get("family") != ENTITIES or config.get("grammar") != GRAMMAR:
        found = f"family '{config.get('family')}', grammar {config.get('grammar')}"
        msg = (
            f"'{folder.name}' is {found}, expected family '{ENTITIES}', grammar {GRAMMAR}; "
            "register the words again with this version of Plata"
        )
        raise ArtifactError(msg)
    try:
        words = (folder / _LEXICON_FILE).read_text(encoding="utf-8")
        places = (folder / _PLACES_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"'{folder.name}' is no entities model: {error}"
        raise ArtifactError(msg) from error
    return _parse(words, places)


def _parse(words: str, places: str) -> EntityRules:
    try:
        lexicon = Lexicon.model_validate(yaml.safe_load(words))
        rows = csv.DictReader(io.StringIO(places))
        known = [Place(r["codigo"], r["municipio"].title(), r["departamento"]) for r in rows]
        return EntityRules.of(lexicon, known)
    except (yaml.YAMLError, ValidationError, csv.Error, KeyError, AttributeError) as error:
        msg = f"these are no words and places of entities: {' '.join(str(error).split())[:200]}"
        raise ArtifactError(msg) from error


def entities_step(folder: str, kinds: list[str]) -> Step:
    """Build the step that turns rows of ticket_id and text into rows of `MENTIONS`."""
    rules = load_entities(Path(folder))

    def extract(rows: pa.Table) -> pa.Table:
        tickets, texts = flat(rows["ticket_id"]).to_pylist(), flat(rows["text"]).to_pylist()
        found = [
            (ticket, mention)
            for ticket, text in zip(tickets, texts, strict=True)
            for mention in rules.find(text or "", kinds)
        ]
        return pa.table(
            [
                [ticket for ticket, _ in found],
                [m.kind for _, m in found],
                [m.text for _, m in found],
                [m.start for _, m in found],
                [m.end for _, m in found],
                [_as_json(m) for _, m in found],
                [m.score for _, m in found],
            ],
            schema=MENTIONS,
        )

    return extract


def _as_json(mention: Mention) -> str | None:
    if mention.value is None:
        return None
    return json.dumps(dict(mention.value), ensure_ascii=False, sort_keys=True)
