"""What a guarantee promises, about whom, and when it holds no longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from lakehouse.errors import ConfigurationError
from models.guarantee import (
    FALSE_ALARM,
    WINDOW,
    Guarantee,
    GuaranteeTerms,
    Lapse,
    Looked,
    Promise,
    broken_by,
    enough_for,
    pools_of,
    promises_of,
    standing,
)
from models.routing import PinnedRouting

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TERMS = GuaranteeTerms(alpha=0.1, delta=0.1)
LABELS = ("peticion", "queja", "reclamo")


def answers(
    sizes: dict[str, int], *, seed: int = 1, worst: float = 0.3, missing: float = 0.0
) -> pa.Table:
    """Draw half of the answers; those with a low score are wrong with probability `worst`."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(list(sizes), list(sizes.values()))
    scores = rng.uniform(size=len(labels))
    right = rng.uniform(size=len(labels)) >= worst * (1 - scores)
    known = rng.uniform(size=len(labels)) >= missing
    return pa.table(
        {
            "predicted_label": labels.tolist(),
            "score": scores,
            "drawn": [place % 2 == 0 for place in range(len(labels))],
            "right": pa.array(
                [bool(r) if k else None for r, k in zip(right, known, strict=True)], pa.bool_()
            ),
        }
    )


def guarantee(**changes: object) -> Guarantee:
    promise = Promise((("queja",),), 400, 3, 0.8, 200, 9, 0.5, 4000)
    nothing = Promise((("reclamo",),), 300, 0, None, 0, 0, 0.0, 1000)
    made = Guarantee(
        "guarantee-1", "tipo", "bundle-1", TERMS, (promise, nothing), NOW, NOW, 3, 4, NOW
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_each_group_with_enough_labels_has_a_promise_of_its_own() -> None:
    found = promises_of(answers({"peticion": 2000, "queja": 1500, "reclamo": 900}), TERMS, LABELS)
    assert [promise.labels for promise in found] == [("peticion",), ("queja",), ("reclamo",)]
    assert all(promise.accept_at is not None for promise in found)
    assert not any(promise.pooled for promise in found)
    assert [promise.drawn for promise in found] == [1000, 750, 450]


def test_groups_with_few_labels_are_promised_about_together() -> None:
    found = promises_of(answers({"peticion": 2000, "queja": 120, "reclamo": 140}), TERMS, LABELS)
    assert [promise.labels for promise in found] == [("peticion",), ("queja", "reclamo")]
    assert [promise.pooled for promise in found] == [False, True]


def test_of_a_label_nobody_was_given_nothing_is_accepted() -> None:
    found = promises_of(answers({"queja": 900, "reclamo": 40}), TERMS, LABELS)
    assert [promise.labels for promise in found] == [("peticion",), ("queja", "reclamo")]
    assert found[0].accept_at is None
    assert found[1].accept_at is not None


def test_groups_that_are_configured_are_promised_about_as_they_are() -> None:
    terms = replace(TERMS, groups=(("queja", "reclamo"),))
    found = promises_of(answers({"peticion": 2000, "queja": 700, "reclamo": 700}), terms, LABELS)
    assert [promise.labels for promise in found] == [("queja", "reclamo"), ("peticion",)]
    assert not any(promise.pooled for promise in found)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.integers(1, 400))
def test_pools_hold_every_group_once_and_only_one_can_be_too_small(
    sizes: list[int], enough: int
) -> None:
    pools = pools_of(sizes, enough)
    assert sorted(place for pool in pools for place in pool) == list(range(len(sizes)))
    held = [sum(sizes[place] for place in pool) for pool in pools]
    seen = [size for size in held if size > 0]
    assert len(seen) <= 1 or min(seen) >= enough


def test_an_answer_that_nobody_checked_counts_as_wrong() -> None:
    sizes = {"queja": 4000}
    (whole,) = promises_of(answers(sizes), TERMS, ("queja",))
    (gaps,) = promises_of(answers(sizes, missing=0.04), TERMS, ("queja",))
    assert gaps.missing > 50
    assert gaps.coverage < whole.coverage
    (silent,) = promises_of(answers(sizes, missing=1.0), TERMS, ("queja",))
    assert silent.accept_at is None


def test_what_is_not_drawn_proves_nothing() -> None:
    rows = answers({"queja": 4000})
    none = rows.set_column(3, "right", pa.nulls(4000, pa.bool_()))
    told, drawn = rows["right"].to_pylist(), rows["drawn"].to_pylist()
    some = pa.array([r if d else None for r, d in zip(told, drawn, strict=True)])
    labels = ("queja",)
    checked = promises_of(rows.set_column(3, "right", some), TERMS, labels)
    assert checked == promises_of(rows, TERMS, labels)
    assert promises_of(none, TERMS, labels)[0].accept_at is None


def test_a_missing_score_is_never_accepted() -> None:
    rows = answers({"queja": 1000}, worst=0.0)
    lost = pa.array([float("nan") if place < 500 else 0.9 for place in range(1000)])
    (found,) = promises_of(rows.set_column(1, "score", lost), TERMS, ("queja",))
    assert found.accepted == 250
    assert found.coverage == 0.5


def test_no_group_breaks_its_promise_more_often_than_it_may() -> None:
    repeats, sizes = 150, {"peticion": 600, "queja": 120, "reclamo": 90}
    cuts = {"peticion": 0, "queja": 0}
    for seed in range(repeats):
        found = promises_of(answers(sizes, seed=seed, worst=0.45), TERMS, LABELS)
        for promise in found:
            if promise.accept_at is None:
                continue
            true_risk = 0.45 * (1 - promise.accept_at) / 2  # of scores spread evenly above it
            cuts[promise.labels[0]] += true_risk > TERMS.alpha
    assert max(cuts.values()) <= binom.ppf(0.9999, repeats, TERMS.delta)


@pytest.mark.parametrize(
    ("now", "bundle", "terms", "drifted", "lapse"),
    [
        (NOW, "bundle-1", TERMS, None, None),
        (NOW + timedelta(days=89), "bundle-1", TERMS, None, None),
        (NOW + timedelta(days=90), "bundle-1", TERMS, None, Lapse.AGE),
        (NOW, "bundle-2", TERMS, None, Lapse.BUNDLE),
        (NOW, "bundle-1", replace(TERMS, alpha=0.05), None, Lapse.TERMS),
        (NOW, "bundle-1", TERMS, "drift-1 found drift", Lapse.DRIFT),
    ],
)
def test_a_guarantee_ends_with_age_bundle_terms_and_drift(
    now: datetime, bundle: str, terms: GuaranteeTerms, drifted: str | None, lapse: Lapse | None
) -> None:
    found = standing(guarantee(), now=now, bundle_id=bundle, terms=terms, drifted=drifted)
    assert (found.lapse, found.valid) == (lapse, lapse is None)


def test_what_was_never_issued_holds_nothing() -> None:
    found = standing(None, now=NOW, bundle_id="bundle-1", terms=TERMS)
    assert found.routing("tipo", "bundle-1") == PinnedRouting(
        "tipo", "bundle-1", None, {}, "never issued"
    )


def test_errors_that_luck_does_not_explain_end_it() -> None:
    fine, bad = Looked(("queja",), 200, 20, 200, 20), Looked(("queja",), 200, 45, 200, 45)
    asked = {"now": NOW, "bundle_id": "bundle-1", "terms": TERMS}
    assert standing(guarantee(), since=[fine], **asked).valid  # type: ignore[arg-type]
    found = standing(guarantee(), since=[fine, bad], **asked)  # type: ignore[arg-type]
    assert found.lapse is Lapse.ERRORS
    assert found.why == "45 of 200 accepted answers (queja) are wrong"


def test_the_newest_errors_end_it_where_all_since_would_not() -> None:
    late = Looked(("queja",), 4000, 320, WINDOW, 45)
    assert broken_by([late], TERMS.alpha) is not None
    assert broken_by([replace(late, newest_wrong=20)], TERMS.alpha) is None


def test_a_promise_that_just_holds_is_seldom_withdrawn() -> None:
    rng = np.random.default_rng(4)
    withdrawn = 0
    for _ in range(2000):
        wrong = rng.uniform(size=1000) < TERMS.alpha
        look = Looked(("a",), 1000, int(wrong.sum()), WINDOW, int(wrong[-WINDOW:].sum()))
        withdrawn += broken_by([look], TERMS.alpha) is not None
    assert withdrawn <= binom.ppf(0.9999, 2000, FALSE_ALARM)


def test_routing_accepts_what_is_promised_about_and_nothing_else() -> None:
    routing = standing(guarantee(), now=NOW, bundle_id="bundle-1", terms=TERMS).routing(
        "tipo", "bundle-1"
    )
    scores = pa.array([0.8, 0.79, None, 1.0, 1.0])
    labels = pa.array(["queja", "queja", "queja", "reclamo", "nueva"])
    decisions = routing.decide(scores, labels).to_pylist()
    assert decisions == ["accept", "review", "review", "review", "review"]
    assert routing.guarantee_id == "guarantee-1"


def test_a_guarantee_comes_back_from_what_it_was_written_as() -> None:
    assert Guarantee.of(guarantee().as_dict()) == guarantee()
    assert guarantee().coverage == pytest.approx(0.4)


def test_a_group_is_enough_where_half_of_it_can_be_accepted() -> None:
    assert enough_for(TERMS.limit) < enough_for(replace(TERMS, alpha=0.02).limit)


def test_a_label_stands_in_one_group() -> None:
    with pytest.raises(ConfigurationError, match="'queja' stands in two groups"):
        GuaranteeTerms(0.1, groups=(("queja",), ("queja", "reclamo")))
