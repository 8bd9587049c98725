"""What is new in the queue: the facts that it shows and the ledger does not know.

The queue holds the state of today, the ledger everything that ever was. Comparing them again, in
whatever state the queue is found, gives no fact a second time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from labeling.ledger import Fact
from labeling.queue import Answer, CaseStatus, QueuedCase, Reason, Verdict

_DISPUTES = "disputas-"
_GIVEN = (Fact.SUBMITTED, Fact.ADJUDICATED)
_TAKEN = (Fact.WITHDRAWN, Fact.REVOKED, Fact.REOPENED)
_SAID = (CaseStatus.SUBMITTED, CaseStatus.DISCARDED)


def disputes_of(task: str) -> str:
    """Name the queue in which disputes about a task are settled.

    >>> disputes_of("tipo")
    'disputas-tipo'
    """
    return _DISPUTES + task


def subject_of(queue: str) -> str:
    """Return the task a queue is about, whether or not it is the one of its disputes."""
    return queue.removeprefix(_DISPUTES)


@dataclass(frozen=True, slots=True)
class Seen:
    """A fact that the queue shows. `number` counts the facts about the same answer before it."""

    case: QueuedCase
    fact: Fact
    label: str
    reviewer: str
    at: datetime
    number: int = 0

    @property
    def label_id(self) -> str:
        """A digest that is the same however often, and by whom, the fact is seen."""
        given = Verdict(self.case, self.label, self.reviewer, self.at).label_id
        if self.fact in _GIVEN:
            return given
        return hashlib.sha256(f"{given}\n{self.fact}\n{self.number}".encode()).hexdigest()[:32]


@dataclass(slots=True)
class _Word:
    """An answer the ledger knows, and what it knows became of it, in that order."""

    label: str
    bundle: str | None
    given: Fact
    after: list[Fact] = field(default_factory=list)

    @property
    def stands(self) -> bool:
        told = [fact for fact in self.after if fact is not Fact.REVIEWER_REMOVED]
        return self.given in _GIVEN and (not told or told[-1] not in _TAKEN)


_Place = tuple[bool, str, str]
"""Whether it is about a dispute; task and ticket."""

_Words = dict[str, dict[datetime, _Word]]
"""Of one place, by reviewer and time."""


def news(
    shown: Sequence[QueuedCase], accounts: Mapping[str, datetime], facts: pl.DataFrame
) -> list[Seen]:
    """Return what the queue shows and `facts` do not know, in the order of cases.

    `accounts` must have been read after `shown`. An answer is taken back only where its own case is
    there without it: a queue that vanished, or a case that was taken out and put again, takes
    nothing back, and neither does an account that went and took its answers along.
    """
    known = frozenset(facts["label_id"])
    words = _words(facts)
    alone = _alone(shown)
    seen: dict[str, Seen] = {}
    for case in shown:
        about = words.get(_place(case), {})
        for one in [*_said(case, accounts, about), *_gone(case, accounts, about, alone)]:
            if one.label_id not in known:
                seen.setdefault(one.label_id, one)
    return list(seen.values())


def out_of_sight(shown: Sequence[QueuedCase], facts: pl.DataFrame) -> dict[str, int]:
    """Count by task the answers that stand and whose tickets are in no queue any more."""
    there = {_place(case) for case in shown}
    counts: dict[str, int] = {}
    for place, about in _words(facts).items():
        standing = sum(found[max(found)].stands for found in about.values())
        if place not in there and standing:
            counts[place[1]] = counts.get(place[1], 0) + standing
    return counts


def _said(case: QueuedCase, accounts: Mapping[str, datetime], words: _Words) -> Iterator[Seen]:
    """Tell what reviewers say; an answer that was missed for a while is there again."""
    dispute = _is_dispute(case)
    for answer in case.answers:
        word = words.get(answer.reviewer, {}).get(answer.at)
        if answer.reviewer not in accounts:
            continue
        if answer.status is CaseStatus.SUBMITTED and answer.label is not None:
            given = Fact.ADJUDICATED if dispute else Fact.SUBMITTED
            yield Seen(case, given, answer.label, answer.reviewer, answer.at)
            if word is not None and word.after[-1:] == [Fact.WITHDRAWN]:
                yield _about(case, answer.reviewer, answer.at, word, Fact.RESTORED)
        elif answer.status is CaseStatus.DISCARDED and not dispute:
            yield Seen(case, Fact.DISCARDED, answer.label or "", answer.reviewer, answer.at)


def _gone(
    case: QueuedCase,
    accounts: Mapping[str, datetime],
    words: _Words,
    alone: frozenset[_Place],
) -> Iterator[Seen]:
    """Tell which answers that stand are not there any more, and whether somebody took them back."""
    now = {answer.reviewer: answer for answer in case.answers}
    for reviewer, found in words.items():
        own = {
            at: word
            for at, word in found.items()
            if word.bundle == case.id.bundle_id or (word.bundle is None and _place(case) in alone)
        }
        at = max(own, default=None)
        if at is None or not own[at].stands or _is_there(case, now.get(reviewer), at):
            continue
        if reviewer in accounts and accounts[reviewer] <= at:
            taken = Fact.REOPENED if _is_dispute(case) else Fact.WITHDRAWN
            yield _about(case, reviewer, at, own[at], taken)
        elif Fact.REVIEWER_REMOVED not in own[at].after:
            yield _about(case, reviewer, at, own[at], Fact.REVIEWER_REMOVED)


def _is_there(case: QueuedCase, answer: Answer | None, at: datetime) -> bool:
    """Tell whether a case still speaks for an answer, or is too new ever to have had it."""
    if case.put_at is None or case.put_at > at:
        return True
    if answer is None:
        return False
    counts = (CaseStatus.SUBMITTED,) if _is_dispute(case) else _SAID
    return answer.status in counts or answer.at <= at


def _about(case: QueuedCase, reviewer: str, at: datetime, word: _Word, fact: Fact) -> Seen:
    return Seen(case, fact, word.label, reviewer, at, number=len(word.after))


def _words(facts: pl.DataFrame) -> dict[_Place, _Words]:
    """Put facts together by the answer they are about; what operators settled is none of these."""
    words: dict[_Place, _Words] = {}
    of_dispute = {Fact.ADJUDICATED, Fact.REOPENED}
    given = [Fact.SUBMITTED, Fact.DISCARDED, Fact.ADJUDICATED]
    ordered = (
        facts.unique("label_id")
        .with_columns(pl.col("fact").fill_null(Fact.SUBMITTED.value))
        .sort(~pl.col("fact").is_in(given), "observed_at", "label_id")
    )
    for row in ordered.iter_rows(named=True):
        fact = Fact(row["fact"])
        place, reviewer = (fact in of_dispute, row["task"], row["ticket_id"]), row["reviewer"]
        about = words.get(place, {}).get(reviewer, {})
        if fact in given and row["decided_by"] is None:
            word = _Word(row["label"], row["bundle_id"], fact)
            words.setdefault(place, {}).setdefault(reviewer, {})[row["responded_at"]] = word
        elif fact not in given and row["responded_at"] in about:
            about[row["responded_at"]].after.append(fact)
    return words


def _alone(shown: Sequence[QueuedCase]) -> frozenset[_Place]:
    """Return the tickets that are one case only: an answer that names no bundle is to that."""
    counts = Counter(_place(case) for case in shown)
    return frozenset(place for place, count in counts.items() if count == 1)


def _place(case: QueuedCase) -> _Place:
    return _is_dispute(case), subject_of(case.id.task), case.id.ticket_id


def _is_dispute(case: QueuedCase) -> bool:
    return case.origin.reason is Reason.DISPUTE
