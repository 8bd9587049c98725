"""How many entities the rules find in the bundled corpus, and how many of what they find is there.

    python -m benchmarks.entities [--json] [--misses KIND]

A mention counts where kind and both ends are exactly those of the annotation. The corpus is
synthetic and its annotations are one author's: the figures compare versions of the rules, and say
nothing about real requests. The rules were written with one half of the texts at hand, drawn by a
digest of the identifier; the other half is what is reported.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from models.entities import EntityRules, default_entities, load_entities, save_entities
from models.mentions import KINDS

CORPUS = Path(__file__).parents[1] / "pipelines" / "corpus" / "pqrs_es.jsonl"


def rules() -> EntityRules:
    """Open the rules a tenant begins with, by way of their folder."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as made:
        save_entities(*default_entities(), Path(made))
        return load_entities(Path(made))


def annotated(row: dict[str, Any]) -> Counter[tuple[str, str]]:
    """Return what a text is annotated with; where in it is not said, so equal words count."""
    return Counter((entity["tipo"], entity["texto"]) for entity in row["entidades"])


def is_held_out(row: dict[str, Any]) -> bool:
    """Tell the half the rules were not written with."""
    return hashlib.sha256(str(row["id"]).encode()).digest()[0] % 2 == 1


def measure(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return precision, recall and F1 by kind."""
    found_by, true_by, hit_by = Counter[str](), Counter[str](), Counter[str]()
    finder = rules()
    for row in rows:
        true = annotated(row)
        found = Counter((m.kind, m.text) for m in finder.find(row["texto"]))
        for name, counts in ((true_by, true), (found_by, found), (hit_by, true & found)):
            for (kind, _), count in counts.items():
                name[kind] += count
    return {
        kind: {
            "annotated": true_by[kind],
            "found": found_by[kind],
            "precision": hit_by[kind] / max(found_by[kind], 1),
            "recall": hit_by[kind] / max(true_by[kind], 1),
            "f1": 2 * hit_by[kind] / max(found_by[kind] + true_by[kind], 1),
        }
        for kind in KINDS
    }


def show_misses(rows: list[dict[str, Any]], kind: str) -> None:
    """Print what was missed (-) and what is not annotated (+), with the words around it."""
    finder = rules()
    for row in rows:
        true = annotated(row)
        found = Counter((m.kind, m.text) for m in finder.find(row["texto"]))
        for mark, counts in (("-", true - found), ("+", found - true)):
            for own, text in counts:
                if own == kind:
                    place = row["texto"].find(text)
                    around = row["texto"][max(0, place - 40) : place + len(text) + 25]
                    print(mark, repr(text), "|", " ".join(around.split()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--misses", choices=KINDS, help="print the misses of the half at hand")
    given = parser.parse_args()
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    at_hand = [row for row in rows if not is_held_out(row)]
    aside = [row for row in rows if is_held_out(row)]
    if given.misses:
        show_misses(at_hand, given.misses)
        return
    began = time.process_time()
    result = {"at_hand": measure(at_hand), "held_out": measure(aside)}
    seconds = time.process_time() - began
    if given.json:
        print(json.dumps({**result, "texts_a_second": len(rows) / seconds}, indent=2))
        return
    print(f"synthetic corpus; {len(aside)} texts held out, {len(at_hand)} at hand")
    print(f"{'':14}{'held out':>36}{'at hand':>12}")
    print(f"{'kind':14}{'annotated':>10}{'precision':>10}{'recall':>8}{'F1':>8}{'F1':>12}")
    for kind in KINDS:
        own, hand = result["held_out"][kind], result["at_hand"][kind]
        print(
            f"{kind:14}{own['annotated']:>10.0f}{own['precision']:>10.3f}{own['recall']:>8.3f}"
            f"{own['f1']:>8.3f}{hand['f1']:>12.3f}"
        )
    print(f"{len(rows) / seconds:,.0f} texts a second of processor time")


if __name__ == "__main__":
    main()
