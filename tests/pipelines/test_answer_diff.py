from __future__ import annotations

import json
from datetime import date

import polars as pl

from pipelines.answer_diff import LENGTHS, SCORE_BINS, Cell, TaskDiff, diff_answers


def answers(*rows: tuple[str, str, float]) -> pl.DataFrame:
    """Build one task's answers from ticket, label and score."""
    return pl.DataFrame(
        [
            {
                "ticket_id": ticket,
                "task": "tipo",
                "predicted_label": label,
                "score": score,
                "decision": "accept" if score >= 0.5 else "review",
                "probabilities": json.dumps({label: score, "otra": 1 - score}),
            }
            for ticket, label, score in rows
        ]
    )


def tickets(
    *names: str, text: str = "Me cobraron dos veces", channel: str = "email"
) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "ticket_id": name,
                "source": "portal",
                "day": date(2026, 1, 5 + number),
                "channel": channel,
                "region": None,
                "subject": None,
                "text": f"{text} {name}",
                "text_sha256": name,
            }
            for number, name in enumerate(names)
        ],
        schema_overrides={"region": pl.String, "subject": pl.String},
    )


def one(old: pl.DataFrame, new: pl.DataFrame, about: pl.DataFrame, looks: int = 50) -> TaskDiff:
    (found,) = diff_answers(old, new, about, looks=looks)
    return found


def test_flips_confusion_and_decisions_count_the_tickets_both_sides_answered() -> None:
    old = answers(("a", "queja", 0.9), ("b", "queja", 0.4), ("c", "reclamo", 0.7))
    new = answers(("a", "queja", 0.8), ("b", "reclamo", 0.6), ("d", "queja", 0.9))
    found = one(old, new, tickets("a", "b", "c", "d"))
    assert (found.tickets, found.flips, found.only_old, found.only_new) == (2, 1, 1, 1)
    assert found.confusion == (Cell("queja", "queja", 1), Cell("queja", "reclamo", 1))
    assert found.decisions == (Cell("accept", "accept", 1), Cell("review", "accept", 1))
    assert found.share == 0.5


def test_the_same_answers_are_no_flip_and_no_reason_to_look() -> None:
    same = answers(("a", "queja", 0.9), ("b", "reclamo", 0.4))
    found = one(same, same, tickets("a", "b"))
    assert (found.flips, found.examples, found.worth_a_look) == (0, (), ())
    assert found.scores.old == found.scores.new
    assert sum(found.scores.old) == 2


def test_sides_without_a_common_ticket_compare_nothing() -> None:
    found = one(answers(("a", "queja", 0.9)), answers(("b", "queja", 0.9)), tickets("a", "b"))
    assert (found.tickets, found.flips, found.share, found.slices) == (0, 0, 0.0, ())


def test_a_certain_score_is_in_the_last_bin_and_a_missing_one_in_the_first() -> None:
    side = answers(("a", "queja", 1.0), ("b", "queja", float("nan")))
    found = one(side, side, tickets("a", "b")).scores
    assert (found.old[0], found.old[SCORE_BINS - 1]) == (1, 1)


def test_slices_give_channel_region_length_and_month_with_an_interval_around_their_share() -> None:
    old = answers(("a", "queja", 0.9), ("b", "queja", 0.9))
    new = answers(("a", "reclamo", 0.9), ("b", "queja", 0.9))
    found = {(s.kind, s.value): s for s in one(old, new, tickets("a", "b")).slices}
    assert set(found) == {
        ("channel", "email"),
        ("region", "sin dato"),
        ("length", LENGTHS[0]),
        ("month", "2026-01"),
    }
    channel = found["channel", "email"]
    assert (channel.tickets, channel.flips, channel.share) == (2, 1, 0.5)
    assert 0 < channel.low < 0.5 < channel.high < 1


def test_lengths_stand_in_their_order_not_in_that_of_the_alphabet() -> None:
    side = answers(("a", "queja", 0.9), ("b", "queja", 0.9), ("c", "queja", 0.9))
    about = pl.concat([tickets("a"), tickets("b", text="x" * 1_000), tickets("c", text="x" * 300)])
    lengths = [s.value for s in one(side, side, about).slices if s.kind == "length"]
    assert lengths == ["corto", "medio", "largo"]


def test_hesitation_and_certain_contradiction_are_worth_more_than_what_lies_between() -> None:
    old = answers(("sure", "queja", 0.99), ("torn", "queja", 0.51), ("plain", "queja", 0.7))
    new = answers(("sure", "reclamo", 0.98), ("torn", "reclamo", 0.9), ("plain", "reclamo", 0.8))
    looks = one(old, new, tickets("sure", "torn", "plain")).worth_a_look
    assert [(flip.ticket_id, flip.because) for flip in looks] == [
        ("sure", "choque"),
        ("torn", "duda"),
        ("plain", "choque"),
    ]


def test_the_best_of_each_kind_comes_first_and_those_that_stand_for_many_before_one_alone() -> None:
    names = ["many1", "many2", "many3"]
    old = answers(*((name, "queja", 0.7) for name in [*names, "alone"]))
    new = answers(*((name, "reclamo", 0.7) for name in [*names, "alone"]))
    about = pl.concat([tickets(*names), tickets("alone", channel="chat")])
    looks = [flip.ticket_id for flip in one(old, new, about).worth_a_look]
    assert looks == ["many1", "alone", "many2", "many3"]


def test_copies_of_one_text_are_looked_at_once() -> None:
    old = answers(("a", "queja", 0.7), ("b", "queja", 0.7))
    new = answers(("a", "reclamo", 0.7), ("b", "reclamo", 0.7))
    about = tickets("a", "b").with_columns(text_sha256=pl.lit("same"))
    found = one(old, new, about)
    assert (found.flips, len(found.worth_a_look), len(found.examples)) == (2, 1, 1)


def test_no_more_flips_than_asked_for_are_handed_out_and_examples_are_few_of_a_kind() -> None:
    names = [f"t{number:02d}" for number in range(20)]
    old = answers(*((name, "queja", 0.7) for name in names))
    new = answers(*((name, "reclamo", 0.7) for name in names))
    found = one(old, new, tickets(*names), looks=5)
    assert (found.flips, len(found.worth_a_look), len(found.examples)) == (20, 5, 3)
    assert one(old, new, tickets(*names), looks=5) == found


def test_what_is_shown_of_a_citizens_words_is_masked_before_it_is_cut() -> None:
    old, new = answers(("a", "queja", 0.7)), answers(("a", "reclamo", 0.7))
    about = tickets(
        "a", text="palabra " * 33 + "escriban a ana.maria@example.org o al 315 037 6681"
    )
    (flip,) = one(old, new, about).examples
    assert "ana.maria" not in flip.text
    assert "315" not in flip.text
    assert flip.text.endswith("…")
