"""How far reviewers agree beyond chance: by pair, by reviewer, by class and over all of them.

Cohen's kappa compares two people over what both answered. Krippendorff's alpha takes any number of
people who answered any part of the tickets. Both are 1 where all agree and 0 where they agree as
often as chance would have it, and have no value where every answer is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import polars as pl


@dataclass(frozen=True, slots=True)
class Pair:
    """Two reviewers over the tickets both answered. `agreed` is a share of them."""

    first: str
    second: str
    tickets: int
    agreed: float
    kappa: float | None


@dataclass(frozen=True, slots=True)
class OfReviewer:
    """One reviewer against all others: of so many comparisons, the share in which they agreed."""

    reviewer: str
    answers: int
    comparisons: int
    agreed: float | None


@dataclass(frozen=True, slots=True)
class OfClass:
    """One label against the rest: how far people agree on which tickets are of it."""

    label: str
    answers: int
    alpha: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one task. `shared` counts the tickets that several people answered."""

    tickets: int
    shared: int
    alpha: float | None
    pairs: tuple[Pair, ...]
    reviewers: tuple[OfReviewer, ...]
    classes: tuple[OfClass, ...]


def measure(answers: pl.DataFrame) -> Agreement:
    """Measure standing answers: one row a ticket and reviewer, with its label."""
    by_ticket = _by_ticket(answers)
    shared = [found for found in by_ticket.values() if len(found) > 1]
    labels = sorted(set(answers["label"]))
    units = [list(found.values()) for found in shared]
    return Agreement(
        tickets=len(by_ticket),
        shared=len(shared),
        alpha=krippendorff_alpha(units),
        pairs=tuple(_pairs(shared)),
        reviewers=tuple(_reviewers(answers, shared)),
        classes=tuple(
            OfClass(
                label,
                int((answers["label"] == label).sum()),
                krippendorff_alpha([[value == label for value in unit] for unit in units]),
            )
            for label in labels
        ),
    )


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Compare two people's answers to the same tickets.

    >>> cohen_kappa(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    0.5
    """
    if not first:
        return None
    total = len(first)
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / total
    one, other = Counter(first), Counter(second)
    chance = sum(one[label] * other[label] for label in one) / total**2
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Compare any number of people; a unit holds the answers to one ticket that there are.

    For labels without an order. A unit of one answer has nothing to compare with.

    >>> krippendorff_alpha([["a", "a"], ["b", "b"], ["a", "b"], ["a"]])
    0.4444444444444444
    """
    totals: Counter[Hashable] = Counter()
    disagreed = 0.0
    for unit in units:
        if len(unit) < 2:
            continue
        counts = Counter(unit)
        totals.update(counts)
        pairs = len(unit) ** 2 - sum(count**2 for count in counts.values())
        disagreed += pairs / (len(unit) - 1)
    answers = totals.total()
    expected = answers**2 - sum(count**2 for count in totals.values())
    return 1 - (answers - 1) * disagreed / expected if expected else None


def _by_ticket(answers: pl.DataFrame) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for ticket, reviewer, label in answers.select("ticket_id", "reviewer", "label").iter_rows():
        found.setdefault(ticket, {})[reviewer] = label
    return found


def _pairs(shared: Sequence[Mapping[str, str]]) -> Iterable[Pair]:
    both: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for found in shared:
        for one, other in combinations(sorted(found), 2):
            both.setdefault((one, other), []).append((found[one], found[other]))
    for (one, other), given in sorted(both.items()):
        firsts, seconds = [a for a, _ in given], [b for _, b in given]
        agreed = sum(a == b for a, b in given) / len(given)
        yield Pair(one, other, len(given), agreed, cohen_kappa(firsts, seconds))


def _reviewers(answers: pl.DataFrame, shared: Sequence[Mapping[str, str]]) -> Iterable[OfReviewer]:
    compared: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for found in shared:
        for one, other in combinations(found, 2):
            compared.update((one, other))
            if found[one] == found[other]:
                agreed.update((one, other))
    for reviewer, count in sorted(Counter(answers["reviewer"]).items()):
        share = agreed[reviewer] / compared[reviewer] if compared[reviewer] else None
        yield OfReviewer(reviewer, count, compared[reviewer], share)
