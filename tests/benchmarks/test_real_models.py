"""The comparison on real sets is fair: what nearly repeats itself never stands on both sides."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.real_models import MODELS, by_time, folds, judged
from benchmarks.real_sets import RealSet, near_duplicates
from features.embed import as_lists

SUBJECTS = ("acueducto y tubería rota", "bombillo y poste caído", "hueco en el andén")
WORDS = ["norte", "sur", "centro", "oriente", "plaza", "parque", "mercado", "puente"]


def made() -> RealSet:
    """Sixty texts, every third followed by its double, over two years."""
    texts = [
        f"{SUBJECTS[n % 3]} junto a la casa de {WORDS[n % 8]} {n // 2} {WORDS[n % 5]} {n}"
        for n in range(60)
    ]
    texts += [f"{text} por favor" for text in texts[::3]]
    truth = np.array([n % 3 for n in range(60)] + [n % 3 for n in range(0, 60, 3)])
    days = np.array(["2017-10-01" if n % 2 else "2018-02-01" for n in range(len(texts))])
    return RealSet("made", tuple(texts), SUBJECTS, truth, near_duplicates(texts), days)


def test_near_duplicates_share_a_number_also_by_a_chain() -> None:
    words = [f"palabra{n}" for n in range(12)]
    chain = [" ".join(words[n : n + 8]) for n in (0, 2, 4)]
    found = near_duplicates([*chain, "nada que ver con lo demás", chain[0].upper()])
    assert found.tolist() == [0, 0, 0, 1, 0]
    far = near_duplicates([chain[0], chain[2]])
    assert far.tolist() == [0, 1]


def test_a_group_is_never_on_both_sides() -> None:
    one = made()
    splits = [*folds(one), by_time(one)]
    for learned, answered in splits:
        assert not set(one.groups[learned]) & set(one.groups[answered])
    asked = np.concatenate([answered for _, answered in splits[:-1]])
    assert sorted(asked) == list(range(len(one.texts)))
    before, later = splits[-1]
    assert max(one.days[before]) < "2018-01-01" <= min(one.days[later])


def test_every_model_answers_the_same_texts_and_is_compared_with_the_plain_one() -> None:
    one = made()
    vectors = np.eye(3, dtype=np.float32)[one.truth]
    rows = pa.table({"text": pa.array(one.texts), "embedding": as_lists(vectors)})
    lines = judged("made", one, rows, list(folds(one)))
    assert [line.model for line in lines] == list(MODELS)
    assert {line.texts for line in lines} == {len(one.texts)}
    (embedding,) = (line for line in lines if line.model == "embedding")
    (plain,) = (line for line in lines if line.model == "plain")
    assert embedding.accuracy == 1.0
    assert embedding.against_plain.macro_f1_lift == pytest.approx(1 - plain.macro_f1)
    assert plain.against_plain.macro_f1_lift == 0.0
