"""Two bundles' answers about the same tickets, compared: what flipped, where, and what to look at.

Reads two tables of answers and one of tickets; asks no model and writes nothing. `old` and `new`
are the bundles in the order they were named.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from labeling.masking import masked
from pipelines.gold_mlops import wilson

SCORE_BINS = 20
"""Bins of equal width over the scores, 0 to 1."""

LENGTHS = ("corto", "medio", "largo")
_SHORT, _LONG = 200, 800
_UNKNOWN = "sin dato"
_EXAMPLES_A_CELL = 3
_EXAMPLE_CELLS = 6
_SHOWN_LETTERS = 280
_PAIR = ["ticket_id", "task"]
_ALIKE = ["old_predicted_label", "new_predicted_label", "channel", "region"]
_SIDE = ["predicted_label", "score", "decision", "probabilities"]


@dataclass(frozen=True, slots=True)
class Cell:
    """How many tickets went from one value to another; the same value twice is no move."""

    old: str
    new: str
    tickets: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The flips among the tickets of one channel, region, length or month.

    `low` and `high` are Wilson's 95 % interval of the share that flipped.
    """

    kind: str
    value: str
    tickets: int
    flips: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share of its tickets that flipped."""
        return self.flips / self.tickets


@dataclass(frozen=True, slots=True)
class ScoreShift:
    """How sure either side is: the mean, and tickets in `SCORE_BINS` bins of equal width."""

    mean_old: float
    mean_new: float
    old: tuple[int, ...]
    new: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Flip:
    """One ticket whose label changed. `text` is masked and shortened.

    `worth` says how much a person's look would be worth, 0 to 1, and `because` why: `duda` where
    one side hardly preferred its label, `choque` where both were sure of different ones.
    """

    ticket_id: str
    task: str
    source: str
    day: date
    channel: str
    region: str
    old: str
    new: str
    old_score: float
    new_score: float
    margin: float
    worth: float
    because: str
    text: str


@dataclass(frozen=True, slots=True)
class TaskDiff:
    """One task's answers compared. `only_old` and `only_new` count what one side answered alone.

    `decisions` are moves of routing. `examples` are drawn from the commonest flips, `worth_a_look`
    are those a person's look is worth most: the best of each kind, channel and region first, then
    the next of each; no two of them have the same text.
    """

    task: str
    tickets: int
    flips: int
    only_old: int
    only_new: int
    confusion: tuple[Cell, ...]
    decisions: tuple[Cell, ...]
    scores: ScoreShift
    slices: tuple[Slice, ...]
    examples: tuple[Flip, ...]
    worth_a_look: tuple[Flip, ...]

    @property
    def share(self) -> float:
        """The share of the tickets that flipped."""
        return self.flips / self.tickets if self.tickets else 0.0


def diff_answers(
    old: pl.DataFrame, new: pl.DataFrame, tickets: pl.DataFrame, *, looks: int = 50
) -> tuple[TaskDiff, ...]:
    """Compare task by task, in the order of their names.

    Answers have ticket_id, task, predicted_label, score, decision and probabilities (JSON), one row
    a ticket and task. `tickets` have ticket_id, source, day, channel, region, subject, text
    and text_sha256. At most `looks` flips are handed out as worth a look.
    """
    about = _described(tickets)
    names = sorted({*old["task"].unique(), *new["task"].unique()})
    return tuple(
        _task_diff(name, old.filter(task=name), new.filter(task=name), about, looks)
        for name in names
    )


def _described(tickets: pl.DataFrame) -> pl.DataFrame:
    letters = pl.col("text").str.len_chars()
    return tickets.with_columns(
        pl.col("channel", "region").fill_null(_UNKNOWN),
        pl.when(letters < _SHORT)
        .then(pl.lit(LENGTHS[0]))
        .when(letters < _LONG)
        .then(pl.lit(LENGTHS[1]))
        .otherwise(pl.lit(LENGTHS[2]))
        .alias("length"),
        pl.col("day").dt.strftime("%Y-%m").alias("month"),
    )


def _task_diff(
    name: str, old: pl.DataFrame, new: pl.DataFrame, about: pl.DataFrame, looks: int
) -> TaskDiff:
    both = (
        old.select(*_PAIR, *(pl.col(c).alias(f"old_{c}") for c in _SIDE))
        .join(new.select(*_PAIR, *(pl.col(c).alias(f"new_{c}") for c in _SIDE)), on=_PAIR)
        .join(about, on="ticket_id")
        .with_columns(flip=pl.col("old_predicted_label") != pl.col("new_predicted_label"))
        .sort("ticket_id")
    )
    flipped = _weighed(both.filter("flip"))
    return TaskDiff(
        task=name,
        tickets=len(both),
        flips=len(flipped),
        only_old=len(old) - len(both),
        only_new=len(new) - len(both),
        confusion=_cells(both, "predicted_label"),
        decisions=_cells(both, "decision"),
        scores=_score_shift(both),
        slices=_slices(both),
        examples=_flips(_examples(flipped)),
        worth_a_look=_flips(
            flipped.sort(["worth", "ticket_id"], descending=[True, False])
            .unique("text_sha256", keep="first", maintain_order=True)
            .with_columns(turn=pl.int_range(pl.len()).over(_ALIKE))
            .sort("turn", maintain_order=True)
            .head(looks)
        ),
    )


def _cells(both: pl.DataFrame, column: str) -> tuple[Cell, ...]:
    counted = (
        both.group_by(pl.col(f"old_{column}").alias("old"), pl.col(f"new_{column}").alias("new"))
        .agg(pl.len().alias("tickets"))
        .sort("old", "new")
    )
    return tuple(Cell(**row) for row in counted.iter_rows(named=True))


def _score_shift(both: pl.DataFrame) -> ScoreShift:
    def mean(column: str) -> float:
        value = both[column].mean()
        return float(value) if isinstance(value, int | float) else 0.0

    return ScoreShift(
        mean("old_score"), mean("new_score"), _binned(both["old_score"]), _binned(both["new_score"])
    )


def _binned(scores: pl.Series) -> tuple[int, ...]:
    places = (scores.fill_nan(0.0) * SCORE_BINS).floor().clip(0, SCORE_BINS - 1).cast(pl.Int64)
    counts = dict(places.value_counts().iter_rows())
    return tuple(counts.get(place, 0) for place in range(SCORE_BINS))


def _slices(both: pl.DataFrame) -> tuple[Slice, ...]:
    return tuple(
        found
        for kind in ("channel", "region", "length", "month")
        for found in _slices_by(kind, both)
    )


def _slices_by(kind: str, both: pl.DataFrame) -> Sequence[Slice]:
    low, high = wilson(pl.col("flips"), pl.col("tickets"))
    counted = (
        both.group_by(pl.col(kind).alias("value"))
        .agg(pl.len().alias("tickets"), pl.col("flip").sum().cast(pl.Int64).alias("flips"))
        .with_columns(low.alias("low"), high.alias("high"))
        .sort("value")
    )
    if kind == "length":
        counted = counted.sort(
            pl.col("value").replace_strict({v: n for n, v in enumerate(LENGTHS)})
        )
    return [Slice(kind, **row) for row in counted.iter_rows(named=True)]


def _weighed(flipped: pl.DataFrame) -> pl.DataFrame:
    """Say of each flip what a person's look is worth.

    Half of it is the answer itself: a flip is worth a look where a side hesitated (one minus the
    smaller margin), or where both were sure of different labels (the smaller score). The other half
    is how many flips it stands for: those of the same kind in the same channel and region.
    """
    alike = pl.len().over(_ALIKE).cast(pl.Float64) if len(flipped) else pl.lit(0.0)
    margins = [
        min(_margin(one), _margin(other))
        for one, other in zip(
            flipped["old_probabilities"], flipped["new_probabilities"], strict=True
        )
    ]
    doubt, clash = 1 - pl.col("margin"), pl.min_horizontal("old_score", "new_score")
    return (
        flipped.with_columns(pl.Series("margin", margins, pl.Float64), alike.alias("alike"))
        .with_columns(pl.when(clash > doubt).then(pl.lit("choque")).otherwise(pl.lit("duda")))
        .rename({"literal": "because"})
        .with_columns(
            ((pl.max_horizontal(doubt, clash) + pl.col("alike") / pl.col("alike").max()) / 2).alias(
                "worth"
            )
        )
    )


def _margin(probabilities: str) -> float:
    """Return by how much the first label leads the second.

    >>> round(_margin('{"queja": 0.5, "reclamo": 0.4, "peticion": 0.1}'), 3)
    0.1
    """
    ordered = sorted(json.loads(probabilities).values(), reverse=True)
    return float(ordered[0] - ordered[1]) if len(ordered) > 1 else 1.0


def _examples(flipped: pl.DataFrame) -> pl.DataFrame:
    """Draw a few flips of each of the commonest kinds; by a digest, so always the same ones."""
    kind = ["old_predicted_label", "new_predicted_label"]
    common = flipped.group_by(kind).agg(pl.len().alias("kind")).sort("kind", *kind, descending=True)
    return (
        flipped.join(common.head(_EXAMPLE_CELLS), on=kind)
        .unique("text_sha256", keep="first", maintain_order=True)
        .sort(["kind", *kind, "text_sha256"], descending=[True, False, False, False])
        .group_by(kind, maintain_order=True)
        .head(_EXAMPLES_A_CELL)
    )


def _flips(rows: pl.DataFrame) -> tuple[Flip, ...]:
    return tuple(
        Flip(
            ticket_id=row["ticket_id"],
            task=row["task"],
            source=row["source"],
            day=row["day"],
            channel=row["channel"],
            region=row["region"],
            old=row["old_predicted_label"],
            new=row["new_predicted_label"],
            old_score=row["old_score"],
            new_score=row["new_score"],
            margin=row["margin"],
            worth=row["worth"],
            because=row["because"],
            text=shown(row["subject"], row["text"]),
        )
        for row in rows.iter_rows(named=True)
    )


def shown(subject: str | None, text: str) -> str:
    """Mask what a citizen wrote, and then cut it to what fits a line or two.

    >>> shown("Cobro", "escríbanme a ana@example.org")
    'Cobro · escríbanme a [correo]'
    """
    whole = masked(" · ".join(part.strip() for part in (subject, text) if part and part.strip()))
    line = " ".join(whole.split())
    return line if len(line) <= _SHOWN_LETTERS else line[: _SHOWN_LETTERS - 1].rstrip() + "…"
