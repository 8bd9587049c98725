from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.text import DESCRIPTORS, describe, folded


def test_a_text_is_described_by_counts_and_shares() -> None:
    described = describe(pa.array(["Año 24: ¡NO!"]))
    assert described.to_pylist() == [
        {
            "char_count": 12,
            "word_count": 3,
            "digit_share": pytest.approx(2 / 12),
            "upper_share": pytest.approx(3 / 5),
            "punctuation_share": pytest.approx(3 / 12),
            "mean_word_length": pytest.approx(10 / 3),
        }
    ]


def test_nothing_is_described_as_nothing() -> None:
    assert (
        describe(pa.array(["", None], pa.string())).to_pylist()
        == [dict.fromkeys(DESCRIPTORS, 0)] * 2
    )


@given(st.lists(st.text() | st.none()))
def test_shares_are_always_shares(texts: list[str | None]) -> None:
    described = describe(pa.array(texts, pa.string()))
    for name in ("digit_share", "upper_share", "punctuation_share"):
        assert all(0 <= share <= 1 for share in described[name].to_pylist())


@given(st.text())
@example("𝕬 İ ㎒")
def test_folding_twice_folds_no_further(text: str) -> None:
    assert folded(folded(text)) == folded(text)
