"""What is learned from the ledger: known by the moment, earlier than what judges, never both."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.tables import LABELS, MESSAGES, TICKETS
from features.text import folded
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.labelled_texts import LabelsFile
from pipelines.ledger_texts import Knowledge, LedgerTexts, read_ledger

NORTE = TenantContext.parse("norte")
TASK = Task(
    name="tema",
    titles={"agua": "Agua potable", "luz": "Energía"},
    text_field="text",
    model="norte.tema",
    zero_shot_prompt="norte.tema.zero-shot",
    routing=RoutingPolicy(0.8),
)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST_DAY = date(2026, 1, 1)
DAYS, A_DAY = 20, 8


def day_of(number: int) -> date:
    return FIRST_DAY + timedelta(days=number // A_DAY)


def text_of(number: int) -> str:
    return f"{'fuga de agua' if number % 2 else 'poste sin luz'} en la calle {number}"


class Labelled:
    """A tenant whose tickets `written` has, with what is known and read of it."""

    def __init__(self, lake: Any) -> None:
        self.lake, self.store = lake, lake.store
        self.ticket(range(DAYS * A_DAY))

    def ticket(self, numbers: Iterable[int]) -> None:
        self.lake.tickets({n: (day_of(n), text_of(n)) for n in numbers})

    def label(self, numbers: Iterable[int], at: datetime = NOON, **also: Any) -> None:
        found = {n: (day_of(n), "agua" if n % 2 else "luz") for n in numbers}
        drawn = also.pop("drawn", lambda n: n % 4 < 2)
        self.lake.labels("tema", found, at=at, drawn=drawn, **also)

    def known(self, at: datetime = NOON) -> Knowledge:
        tables = (LABELS.table, MESSAGES.table, TICKETS.table)
        heads = {table: self.store.state(table, NORTE) for table in tables}
        return Knowledge(at, {str(t): None if s is None else s.version for t, s in heads.items()})

    def read(self, at: datetime = NOON, file: LabelsFile | None = None) -> LedgerTexts:
        return read_ledger(TASK, NORTE, self.store, self.known(at), file=file)


@pytest.fixture
def lake(written: Any) -> Labelled:
    return Labelled(written(NORTE))


def sides(found: LedgerTexts) -> tuple[list[str], list[str]]:
    texts, aside = np.array(found.given.texts), found.given.aside
    return texts[~aside].tolist(), texts[aside].tolist()


def day_in(text: str) -> date:
    return day_of(int(text.rsplit(" ", 1)[1]))


def test_what_judges_is_later_than_all_that_is_learned_from(lake: Labelled) -> None:
    lake.label(range(DAYS * A_DAY))
    found = lake.read()
    learned, judging = sides(found)
    assert max(map(day_in, learned)) < found.since <= min(map(day_in, judging))
    assert len(learned) + len(judging) == found.labels == DAYS * A_DAY
    assert found.fair == len(judging) / 2 == 40
    assert found.given.dropped == {"unknown_label": 0, "repeated": 0, "seen_in_training": 0}


def test_a_text_is_learned_from_or_judges_and_never_both(lake: Labelled) -> None:
    lake.label(range(DAYS * A_DAY))
    before, _ = sides(lake.read())
    last = DAYS * A_DAY - 1
    lake.lake.message(last, FIRST_DAY, f"  {before[0].upper()}! ")
    found = lake.read()
    learned, judging = sides(found)
    assert not {folded(text) for text in learned} & {folded(text) for text in judging}
    assert found.given.dropped["seen_in_training"] == 1
    assert not {folded(text) for text in learned} & {folded(t) for t in found.given.reference}


def test_the_same_moment_gives_the_same_texts_whatever_comes_later(lake: Labelled) -> None:
    lake.label(range(DAYS * A_DAY))
    known, before = lake.known(), lake.read()
    lake.label([1, 3, 5], NOON + timedelta(hours=1), label="luz")
    lake.label([7], NOON - timedelta(hours=1), observed_at=NOON + timedelta(hours=1), reviewer="b")
    lake.ticket(range(500, 520))
    assert lake.read().given.digest == before.given.digest
    after = read_ledger(TASK, NORTE, lake.store, known)
    assert (after.given.texts, after.given.reference) == (
        before.given.texts,
        before.given.reference,
    )
    assert (after.given.truth == before.given.truth).all()
    assert lake.read(NOON + timedelta(hours=2)).given.digest != before.given.digest


def test_labels_of_a_file_are_learned_from_and_the_ledgers_word_counts(
    lake: Labelled, tmp_path: Path
) -> None:
    lake.label(range(DAYS * A_DAY))
    learned, judging = sides(lake.read())
    path = tmp_path / "etiquetas.csv"
    rows = [f"{learned[0]},agua", f"{judging[-1].upper()},luz", "se fue la luz,luz", ",luz"]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    found = lake.read(file=LabelsFile(path))
    now, judges = sides(found)
    assert set(now) - set(learned) == {judging[-1].upper(), "se fue la luz"}
    assert judging[-1] not in judges
    place = found.given.texts.index(learned[0])
    assert TASK.labels[found.given.truth[place]] == "luz"
    counts = found.given.dropped
    assert (counts["in_the_ledger"], counts["seen_in_training"], counts["blank"]) == (1, 1, 1)
    assert found.given.origin["labels_file_sha256"] in found.given.origin.values()


def test_a_card_can_name_the_moment_and_the_versions_read(lake: Labelled) -> None:
    lake.label(range(DAYS * A_DAY))
    origin = lake.read().given.origin
    assert origin["as_of"] == NOON.isoformat()
    versions = [origin[f"version_of_silver_{t}"] for t in ("labels", "messages", "tickets")]
    assert versions == [str(version) for _, version in sorted(lake.known().versions.items())]


def test_texts_to_watch_drift_by_are_of_all_tickets_of_the_judging_days(lake: Labelled) -> None:
    lake.label([n for n in range(DAYS * A_DAY) if n % 8 < 4])
    found = lake.read()
    assert min(map(day_in, found.given.reference)) >= found.since
    every = [n for n in range(DAYS * A_DAY) if day_of(n) >= found.since]
    assert set(found.given.reference) == {text_of(n) for n in every}


@pytest.mark.parametrize(
    ("labelled", "also", "found"),
    [
        (range(0), {}, "has 0 labels of task 'tema' on tickets of 0 days"),
        (range(A_DAY), {}, "has 8 labels of task 'tema' on tickets of 1 day,"),
        (range(DAYS * A_DAY), {"drawn": lambda n: False}, "0 of them drawn for audit"),
        (range(24), {}, r"before 2026-01-02, has 8 distinct labelled texts, at least 40"),
        (range(0, DAYS * A_DAY, 2), {}, r"has too few texts of 'agua' \(0\): at least 8"),
        (range(DAYS * A_DAY), {"label": "gas"}, "has 0 labels of task 'tema'"),
    ],
)
def test_too_little_is_refused_with_what_was_found_and_what_to_do(
    lake: Labelled, labelled: range, also: dict[str, Any], found: str
) -> None:
    if labelled:
        lake.label(labelled, **also)
    with pytest.raises(InputError, match=found) as error:
        lake.read()
    assert "plata review" in str(error.value)
    assert "\n" not in str(error.value)


def test_too_few_drawn_tickets_to_judge_by_are_refused(lake: Labelled) -> None:
    lake.label(range(DAYS * A_DAY - 24), drawn=lambda n: False)
    lake.label(range(DAYS * A_DAY - 24, DAYS * A_DAY), drawn=lambda n: True)
    with pytest.raises(InputError, match="at least 20 are needed to judge a model fairly"):
        lake.read()


def test_labels_of_before_the_ledger_began_are_none(lake: Labelled) -> None:
    known = lake.known()
    lake.label(range(DAYS * A_DAY), NOON - timedelta(days=1))
    with pytest.raises(InputError, match="has 0 labels"):
        read_ledger(TASK, NORTE, lake.store, known)
