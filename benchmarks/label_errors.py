"""Hints at wrong labels on real texts: how many of the injected errors are found, and how surely?

Run `python -m benchmarks.label_errors --data ../shared/data`. A share of the labels is flipped,
evenly or to the label it is most often taken for; a model (100 directions of TF-IDF with logistic
regression) learns from the flipped labels and judges texts it did not learn from, near-duplicates
apart. Hints are compared with the same number of the lowest self-confidence, with the model's plain
disagreement, and with chance. The sets have errors of their own, which count against every method.

`--cleanlab PYTHON` asks the cleanlab of another environment about the same probabilities.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, confusion_matrix
from sklearn.model_selection import GroupKFold

from benchmarks.progress import Tell, told
from benchmarks.real_sets import RealSet, read_cdmx, read_ods
from labeling.label_errors import doubts

SEED = 20260101
_FOLDS = 3
_TEXTS = 1_200
_DIRECTIONS = 100
_SHARES = (0.05, 0.2)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HintLine:
    """One method on one set. `hints` is how many labels it names; `ranked` is the area under
    precision and recall of its whole order, None where it has none."""

    data: str
    noise: str
    share: float
    method: str
    hints: int
    precision: float
    recall: float
    ranked: float | None


def measure(found: RealSet, peer: Path | None, tell: Tell) -> Iterator[HintLine]:
    """Flip labels of a set in each way, and judge what each method names."""
    words = TfidfVectorizer(min_df=3, sublinear_tf=True).fit_transform(found.texts)
    features = TruncatedSVD(_DIRECTIONS, random_state=SEED).fit_transform(words)
    clean = _out_of_sample(features, found.truth, found)
    settings = list(product(("even", "confused"), _SHARES))
    for number, (noise, share) in enumerate(settings):
        tell(f"labels of {found.name}", number, len(settings))
        given = flipped(found.truth, share, noise, clean)
        probabilities = _out_of_sample(features, given, found)
        yield from _judged(found, given, probabilities, (noise, share), peer)


def flipped(truth: Ints, share: float, noise: str, clean: Floats) -> Ints:
    """Change a share of the labels: to any other, or to the one the label is most taken for."""
    rng = np.random.default_rng(SEED)
    labels = clean.shape[1]
    chosen = rng.permutation(len(truth))[: int(share * len(truth))]
    given = truth.copy()
    if noise == "even":
        given[chosen] = (truth[chosen] + rng.integers(1, labels, len(chosen))) % labels
        return given
    taken = confusion_matrix(truth, clean.argmax(axis=1), labels=range(labels))
    np.fill_diagonal(taken, -1)
    given[chosen] = taken.argmax(axis=1)[truth[chosen]]
    return given


def _judged(
    found: RealSet, given: Ints, probabilities: Floats, how: tuple[str, float], peer: Path | None
) -> Iterator[HintLine]:
    wrong = given != found.truth
    hints = doubts(given, probabilities)
    own = probabilities[np.arange(len(given)), given]
    others = probabilities.copy()
    others[np.arange(len(given)), given] = -1
    margin = own - others.max(axis=1)
    count = len(hints.places)
    chance = np.random.default_rng(SEED + 1).permutation(len(given))
    methods: dict[str, tuple[Ints, Floats | None]] = {
        "confident learning": (hints.places, -margin),
        "lowest self-confidence, as many": (np.argsort(own, kind="stable")[:count], -own),
        "model disagrees": (np.flatnonzero(probabilities.argmax(axis=1) != given), None),
        "chance, as many": (chance[:count], None),
    }
    if peer is not None:
        methods["cleanlab"] = (_cleanlab(peer, given, probabilities), None)
    for name, (places, order) in methods.items():
        hits = int(wrong[places].sum())
        ranked = None if order is None else float(average_precision_score(wrong, order))
        shares = hits / max(len(places), 1), hits / wrong.sum()
        yield HintLine(found.name, *how, name, len(places), *shares, ranked)


def _out_of_sample(features: Floats, given: Ints, found: RealSet) -> Floats:
    probabilities = np.zeros((len(given), len(found.labels)))
    folds = GroupKFold(_FOLDS).split(features, given, found.groups)
    for learned, judged in folds:
        model = LogisticRegression(C=10, max_iter=500).fit(features[learned], given[learned])
        probabilities[np.ix_(judged, model.classes_)] = model.predict_proba(features[judged])
    return probabilities


_ASK = """
import sys, numpy as np
from cleanlab.filter import find_label_issues
given, probabilities = np.load(sys.argv[1]), np.load(sys.argv[2])
found = find_label_issues(given, probabilities, filter_by="confident_learning",
                          return_indices_ranked_by="normalized_margin", n_jobs=1)
np.save(sys.argv[3], found)
"""


def _cleanlab(python: Path, given: Ints, probabilities: Floats) -> Ints:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.npy") for name in ("given", "probabilities", "found")]
        np.save(files[0], given)
        np.save(files[1], probabilities)
        subprocess.run([str(python), "-c", _ASK, *map(str, files)], check=True)
        found: Ints = np.load(files[2])
        return found


def as_table(lines: list[HintLine]) -> str:
    """Write lines as the table of the benchmarks' page."""
    head = "| set | flipped | method | hints | precision | recall | ranked (AP) |\n"
    rows = [
        f"| {line.data} | {line.share:.0%} {line.noise} | {line.method} | {line.hints} | "
        f"{line.precision:.2f} | {line.recall:.2f} | "
        f"{'' if line.ranked is None else f'{line.ranked:.2f}'} |"
        for line in lines
    ]
    return head + "|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _sets(folder: Path) -> Mapping[str, RealSet]:
    ods = read_ods(folder, texts=_TEXTS, seed=SEED)
    cdmx = read_cdmx(folder)
    some = np.sort(np.random.default_rng(SEED).permutation(len(cdmx.texts))[:_TEXTS])
    return {"ods": ods, "cdmx": cdmx.some(some)}


def main() -> None:
    """Measure both sets and print the table."""
    words = argparse.ArgumentParser(prog="python -m benchmarks.label_errors", description=__doc__)
    words.add_argument("--data", type=Path, required=True, help="The folder of the real sets.")
    words.add_argument("--json", action="store_true")
    words.add_argument("--cleanlab", type=Path, help="Python of an environment with cleanlab.")
    asked = words.parse_args()
    lines = [
        line
        for found in _sets(asked.data).values()
        for line in measure(found, asked.cleanlab, told)
    ]
    plain = json.dumps([asdict(line) for line in lines], indent=2) + "\n"
    sys.stdout.write(plain if asked.json else as_table(lines))


if __name__ == "__main__":
    main()
