from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.data.content import ALGORITHM, Content, content_of
from lakehouse.errors import InputError

WORD = 2**64
GOLDEN = 0x9E3779B97F4A7C15


def mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % WORD
    return word ^ (word >> 31)


def by_hand(rows: list[dict[str, Any]]) -> Content:
    """The algorithm as its module tells it, one value at a time."""
    found = Content()
    for row in rows:
        total = 0
        for name, value in row.items():
            if value is None:
                continue
            data = value.encode() if isinstance(value, str) else value.to_bytes(8, "little")
            words = [data[at : at + 8] for at in range(0, len(data), 8)]
            folded = len(data) * GOLDEN + sum(
                int.from_bytes(word, "little") * (mix((k + 1) * GOLDEN % WORD) | 1)
                for k, word in enumerate(words)
            )
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
            total += mix((folded + seed) % WORD)
        total %= WORD
        found += Content(1, mix(total), mix((total + 1) % WORD))
    return found


ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(max_size=40) | st.none(), "n": st.integers(0, 2**63 - 1) | st.none()}
    ),
    max_size=30,
)
SHAPE = pa.schema([("id", pa.string()), ("n", pa.int64())])


@settings(deadline=None)
@given(ROWS)
def test_many_values_at_once_hash_as_one_value_at_a_time(rows: list[dict[str, Any]]) -> None:
    assert content_of(pa.Table.from_pylist(rows, SHAPE)) == by_hand(rows)


@settings(max_examples=30, deadline=None)
@given(ROWS, st.integers(1, 7), st.randoms(use_true_random=False))
def test_order_and_chunks_do_not_matter(
    rows: list[dict[str, Any]], chunk: int, random: Any
) -> None:
    whole = content_of(pa.Table.from_pylist(rows, SHAPE))
    mixed = random.sample(rows, len(rows))
    pieces = [mixed[at : at + chunk] for at in range(0, len(mixed), chunk)]
    parts = [content_of(pa.Table.from_pylist(piece, SHAPE)) for piece in pieces]
    assert sum(parts, Content()) == whole


@settings(deadline=None)
@given(ROWS.filter(bool), st.data())
def test_one_changed_value_changes_the_content(rows: list[dict[str, Any]], data: Any) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(["id", "n"]))
    other = data.draw(ROWS.filter(bool))[0][name]
    changed = [dict(row) for row in rows]
    changed[place][name] = other
    same = content_of(pa.Table.from_pylist(rows, SHAPE)) == content_of(
        pa.Table.from_pylist(changed, SHAPE)
    )
    assert same == (rows[place][name] == other)


def table() -> pa.Table:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    return pa.table(
        {
            "ticket_id": pa.array(["á", None, "un texto más largo que una palabra"]),
            "ts": pa.array([moment, None, moment], pa.timestamp("us", tz="UTC")),
            "day": pa.array([date(2026, 1, 2), None, date(1969, 1, 1)]),
            "score": pa.array([0.25, None, -1.5]),
            "open": pa.array([True, None, False]),
            "embedding": pa.array([[0.5, 1.0], None, [2.0, 3.0]], pa.list_(pa.float32())),
        }
    )


def test_the_hash_is_the_same_on_every_machine_and_for_ever() -> None:
    assert content_of(table()).digest == "53e118269c6bfa266836b67a9eb92eda"
    assert content_of(table().slice(0, 0)) == content_of([table().to_batches()[0][:0]]) == Content()


def test_how_a_reader_holds_a_text_does_not_matter() -> None:
    plain = pa.table({"channel": ["email", "chat", None] * 400})
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        assert content_of(pa.table({"channel": plain["channel"].cast(kind)})) == content_of(plain)


def test_a_slice_is_hashed_as_the_rows_it_shows() -> None:
    rows = table()
    assert content_of(rows.slice(1)) == content_of(rows.take([1, 2]))
    assert content_of(rows.slice(0, 2)) + content_of(rows.slice(2)) == content_of(rows)


def test_a_column_added_later_changes_nothing_of_the_rows_before_it() -> None:
    rows = table()
    wider = rows.append_column("region", pa.nulls(len(rows), pa.string()))
    assert content_of(wider) == content_of(rows)
    assert content_of(wider, but=["score"]) == content_of(rows.drop_columns(["score"]))


def test_a_kind_of_column_without_words_is_refused_by_name() -> None:
    rows = pa.table({"place": [{"lat": 1.0}]})
    with pytest.raises(InputError, match=rf"'place' is struct.*{ALGORITHM}"):
        content_of(rows)


def test_texts_of_any_length_hash_as_one_value_at_a_time() -> None:
    lengths = [*range(60), 4_000, 4_001, 70_000]
    texts = [("ñandú " * (size // 6 + 1))[:size] for size in lengths] + [None]
    rows = [{"id": text, "n": number} for number, text in enumerate(texts)]
    assert content_of(pa.Table.from_pylist(rows, SHAPE)) == by_hand(rows)


@pytest.mark.parametrize("texts", [["a"] * 3, ["", "", ""], ["aa", "a", "aaa"], ["ab", "ba", "ab"]])
def test_texts_that_are_all_the_same_or_only_seem_so_are_told_apart(texts: list[str]) -> None:
    rows = [{"id": text, "n": 1} for text in texts]
    assert content_of(pa.Table.from_pylist(rows, SHAPE)) == by_hand(rows)
