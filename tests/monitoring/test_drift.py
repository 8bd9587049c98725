"""Whether the tickets of now still look like those of training, and what is said of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from features.text import DESCRIPTORS
from lakehouse.errors import ConfigurationError
from monitoring.drift import (
    COLUMNS,
    DriftPolicy,
    DriftVerdict,
    detect_drift,
    sample,
    without_reference,
)
from monitoring.errors import ReferenceShapeError
from monitoring.words import FEATURES, METHODS, VERDICTS

POLICY = DriftPolicy()


def tickets(
    rows: int,
    *,
    seed: int,
    quejas: float = 0.5,
    confidence: float = 0.7,
    length: float = 300.0,
    meaning: float = 0.0,
) -> pa.Table:
    random = np.random.default_rng(seed)
    vectors = random.normal(loc=meaning, size=(rows, 16)).astype(np.float32)
    columns = {
        "predicted_label": np.where(random.random(rows) < quejas, "queja", "reclamo"),
        "score": random.beta(10 * confidence, 10 * (1 - confidence), rows),
        "embedding": pa.array(list(vectors), pa.list_(pa.float32())),
        **{name: random.normal(loc=0.1, scale=0.02, size=rows) for name in DESCRIPTORS},
        "char_count": random.poisson(length, rows),
    }
    return pa.table(columns)


REFERENCE = tickets(400, seed=1)


def drifted(current: pa.Table) -> set[str]:
    report = detect_drift(REFERENCE, current, POLICY, seed=1)
    return {column.feature for column in report.columns if column.drifted}


@pytest.mark.parametrize("seed", range(2, 12))
@pytest.mark.parametrize("rows", [50, 300])
def test_tickets_of_the_same_kind_are_stable(rows: int, seed: int) -> None:
    report = detect_drift(REFERENCE, tickets(rows, seed=seed), POLICY, seed=seed)
    assert report.verdict is DriftVerdict.STABLE


def test_every_column_gets_its_number() -> None:
    report = detect_drift(REFERENCE, tickets(100, seed=2), POLICY, seed=1)
    assert [column.feature for column in report.columns] == list(COLUMNS)
    assert (report.reference_rows, report.current_rows) == (400, 100)
    assert all(column.score is not None for column in report.columns)


def test_other_answers_are_drift() -> None:
    current = tickets(200, seed=2, quejas=0.1)
    assert drifted(current) == {"predicted_label"}
    assert detect_drift(REFERENCE, current, POLICY, seed=1).verdict is DriftVerdict.DRIFT


def test_a_model_that_grows_unsure_is_drift() -> None:
    assert drifted(tickets(200, seed=2, confidence=0.4)) == {"score"}


def test_other_topics_are_drift() -> None:
    assert drifted(tickets(200, seed=2, meaning=0.6)) == {"embedding"}


def test_texts_that_are_only_written_otherwise_are_watched() -> None:
    current = tickets(200, seed=2, length=500)
    assert drifted(current) == {"char_count"}
    assert detect_drift(REFERENCE, current, POLICY, seed=1).verdict is DriftVerdict.WATCH


def test_few_rows_get_no_verdict_and_no_number() -> None:
    report = detect_drift(REFERENCE, tickets(49, seed=2, meaning=3), POLICY, seed=1)
    assert report.verdict is DriftVerdict.INSUFFICIENT_DATA
    assert report.columns == ()


def test_a_model_without_reference_is_said_to_have_none() -> None:
    assert without_reference(12).verdict is DriftVerdict.NO_REFERENCE


def test_texts_sent_over_and_over_do_not_pass_for_a_new_topic() -> None:
    once = tickets(60, seed=2)
    assert "embedding" not in drifted(pa.concat_tables([once] * 5))


def test_rows_without_a_vector_are_left_out_of_the_meaning() -> None:
    current = tickets(120, seed=2)
    vectors = [None if n % 2 else v for n, v in enumerate(current["embedding"].to_pylist())]
    column = pa.array(vectors, pa.list_(pa.float32()))
    holed = current.set_column(current.column_names.index("embedding"), "embedding", column)
    assert drifted(holed) == set()


def test_the_same_rows_and_seed_give_the_same_report() -> None:
    current = tickets(200, seed=2, meaning=0.1)
    policy = DriftPolicy(sample_rows=150, report_rows=150)
    again = detect_drift(REFERENCE, current, policy, seed=9)
    assert detect_drift(REFERENCE, current, policy, seed=9) == again


def test_a_sample_keeps_the_order_and_all_of_few_rows() -> None:
    rows = pa.table({"n": range(100)})
    drawn = sample(rows, 10, seed=1)["n"].to_pylist()
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 10
    assert sample(rows, 100, seed=1) is rows


def test_a_reference_without_a_column_is_refused_by_name() -> None:
    with pytest.raises(ReferenceShapeError, match="reference to compare for drift lacks score"):
        detect_drift(REFERENCE.drop(["score"]), REFERENCE, POLICY, seed=1)


@pytest.mark.parametrize(
    "limits", [{"psi": 0.0}, {"auc": 0.5}, {"risk": 1.0}, {"min_rows": 2}, {"report_rows": 9}]
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        DriftPolicy(**limits)  # type: ignore[arg-type]


def test_an_operator_reads_spanish_words_for_all_of_it() -> None:
    assert set(FEATURES) == set(COLUMNS)
    assert set(VERDICTS) == set(DriftVerdict)
    report = detect_drift(REFERENCE, tickets(60, seed=2), POLICY, seed=1)
    assert {column.method for column in report.columns} <= set(METHODS)
