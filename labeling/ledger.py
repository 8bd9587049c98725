"""The label ledger: from what people answered, and what became of it, to the label that stands.

Every answer is a fact, and so is all that happens to one later: facts are added and never changed.
What stands is counted from the set of them. In which order they came, and how often, makes no
difference.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import polars as pl

RULE = "mayoria-1"
"""The rule by which answers become a label: a decision of who settles disputes beats all answers;
else the label most reviewers stand for, where it alone is that. A tie is disputed: no label."""

AUDIT = "audit"


class Fact(StrEnum):
    """What a fact tells of an answer, or of a dispute.

    A reviewer submits or discards. An answer is withdrawn where the reviewer took it back, and
    restored where it is there again. It is revoked where somebody else takes it out of the count.
    An account that was removed takes none of its answers along. A dispute is adjudicated, and
    reopened.
    """

    SUBMITTED = "submitted"
    DISCARDED = "discarded"
    WITHDRAWN = "withdrawn"
    RESTORED = "restored"
    REVIEWER_REMOVED = "reviewer_removed"
    REVOKED = "revoked"
    ADJUDICATED = "adjudicated"
    REOPENED = "reopened"


_ANSWERS = [Fact.SUBMITTED, Fact.DISCARDED]
_ABOUT_ANSWERS = [Fact.WITHDRAWN, Fact.RESTORED, Fact.REVOKED]
_STANDING = [Fact.SUBMITTED, Fact.RESTORED]
_DISPUTE = [Fact.ADJUDICATED, Fact.REOPENED]
_FOLLOWING = [*_ABOUT_ANSWERS, Fact.REOPENED]

TICKET = ["ticket_id", "task"]
_IN_TIME = ["responded_at", "follows", "observed_at", "label_id"]


def known_at(facts: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Keep the facts that were known at a moment: given by then, and seen by the platform by then.

    What is kept for a moment never changes later, whatever old answers come in late.
    """
    return facts.filter(pl.max_horizontal("responded_at", "observed_at") <= moment)


def last_words(facts: pl.DataFrame) -> pl.DataFrame:
    """Return the last fact about each reviewer's answers to a ticket and task.

    What is told of an answer bears that answer's own time, so that one given later counts again.
    """
    words = _last(facts, [*_ANSWERS, *_ABOUT_ANSWERS], [*TICKET, "reviewer"])
    return words.sort(*TICKET, "reviewer")


def standing_answers(facts: pl.DataFrame) -> pl.DataFrame:
    """Return each reviewer's last word about a ticket and task, where it is a label."""
    return last_words(facts).filter(pl.col("fact").is_in(_STANDING))


def settled(facts: pl.DataFrame) -> pl.DataFrame:
    """Return the decision that stands of every ticket and task that was settled."""
    words = _last(facts, _DISPUTE, TICKET)
    return words.filter(fact=Fact.ADJUDICATED).sort(*TICKET)


def standing(facts: pl.DataFrame) -> pl.DataFrame:
    """Return the label that stands of each ticket and task, with all columns of `facts`.

    `reviewers` counts the answers that stand, `rule` names the rule that counted them. What else a
    row tells is of the newest answer to a case that was drawn for audit, or else of the newest;
    `responded_at` is the time of the newest answer or decision.
    """
    answers, decided = standing_answers(facts), settled(facts)
    counts = _counted(answers)
    told = (
        pl.concat([answers.with_columns(of_dispute=False), decided.with_columns(of_dispute=True)])
        .with_columns(newest=pl.col("responded_at").max().over(TICKET), drawn=_was_drawn(answers))
        .sort(
            *TICKET,
            "of_dispute",
            "drawn",
            "responded_at",
            "label_id",
            descending=[False, False, False, True, True, True],
        )
        .unique(TICKET, keep="first", maintain_order=True)
    )
    decisions = decided.select(*TICKET, decision="label")
    return (
        told.join(counts, on=TICKET, how="left")
        .join(decisions, on=TICKET, how="left")
        .with_columns(
            label=pl.coalesce("decision", "winner"),
            responded_at="newest",
            reviewers=pl.col("reviewers").fill_null(0),
            rule=pl.lit(RULE),
        )
        .filter(pl.col("label").is_not_null())
        .drop("decision", "winner", "newest", "drawn", "of_dispute")
        .sort(TICKET)
    )


def _counted(answers: pl.DataFrame) -> pl.DataFrame:
    """Count answers by ticket; the winner is null where two labels share the most."""
    votes = answers.group_by(*TICKET, "label").agg(pl.len().cast(pl.Int64).alias("votes"))
    leads = pl.col("votes") == pl.col("votes").max()
    winner = pl.when(leads.sum() == 1).then(pl.col("label").filter(leads).first())
    return votes.group_by(TICKET).agg(pl.col("votes").sum().alias("reviewers"), winner=winner)


def _was_drawn(answers: pl.DataFrame) -> pl.Expr:
    return pl.col("reason") == AUDIT if "reason" in answers.columns else pl.lit(value=False)


def _last(facts: pl.DataFrame, kinds: list[Fact], of: list[str]) -> pl.DataFrame:
    """Keep the last fact of these kinds by group, each fact once."""
    return (
        facts.with_columns(pl.col("fact").fill_null(Fact.SUBMITTED.value))
        .filter(pl.col("fact").is_in(kinds))
        .with_columns(follows=pl.col("fact").is_in(_FOLLOWING))
        .sort(_IN_TIME, nulls_last=False)
        .unique(of, keep="last", maintain_order=True)
        .drop("follows")
    )


def disputes(facts: pl.DataFrame) -> pl.DataFrame:
    """Return the answers that stand to tickets on which people do not agree, unless settled."""
    answers = standing_answers(facts)
    return answers.filter(pl.col("label").n_unique().over(TICKET) > 1).join(
        settled(facts).select(TICKET), on=TICKET, how="anti"
    )
