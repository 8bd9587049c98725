"""Which numbers of Gold would move if one bundle's answers stood in place of the other's.

Both sides are counted by the functions that count Gold, from the same Silver at the same versions;
only the champions' answers of the compared tickets are exchanged. What people said counts on both
sides as ever, and so do tickets that were not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa

from contracts.contract import Contract
from lakehouse.run import RunContext
from pipelines.answered import CHAMPION
from pipelines.gold import Figures, count_gold
from pipelines.gold_view import SilverView, newest_champions

_FENCE = ("tenant_id", "run_id")
_PAIR = ["ticket_id", "task"]
_STAND_IN = "bundle"
"""The model that either side's answers are counted under, so that their rows of Gold meet."""


@dataclass(frozen=True, slots=True)
class Move:
    """One number that would change. `old` and `new` are null where there is no such row."""

    key: Mapping[str, str]
    measure: str
    old: float | None
    new: float | None

    @property
    def change(self) -> float:
        """By how much; a row that is not there counts as nothing."""
        return (self.new or 0.0) - (self.old or 0.0)


@dataclass(frozen=True, slots=True)
class DayMove:
    """A day's changes of a table's leading measure: what it gains, and what it loses."""

    day: date
    more: float
    less: float


@dataclass(frozen=True, slots=True)
class TableMove:
    """What would change in one table: how many of its rows, by measure, by day, most first.

    `by_day` is of the leading measure, the first of the contract; `moves` are the largest.
    """

    table: str
    rows: int
    rows_moved: int
    measures: Mapping[str, int]
    leading: str | None
    by_day: tuple[DayMove, ...]
    moves: tuple[Move, ...]


def with_answers(view: SilverView, answers: pl.DataFrame) -> SilverView:
    """Put `answers` (ticket_id, task, predicted_label, score, decision) where champions' stand.

    The clock of an answer stays that of the one it takes the place of: reviews have not waited any
    longer or shorter for it.
    """
    standing = newest_champions(view.classifications).select(*_PAIR, "inference_timestamp")
    moment = pl.DataFrame({"now": [view.read_at]}, schema={"now": pl.Datetime("us", "UTC")})
    taken = (
        answers.select(*_PAIR, "predicted_label", "score", "decision")
        .join(view.tickets.select("ticket_id", "day").unique("ticket_id"), on="ticket_id")
        .join(standing, on=_PAIR, how="left")
        .with_columns(
            pl.col("inference_timestamp").fill_null(moment["now"].item()),
            pl.lit(CHAMPION).alias("tier"),
            pl.lit(_STAND_IN).alias("model_name"),
            pl.lit(CHAMPION).alias("model_version"),
            pl.lit(_STAND_IN).alias("run_id"),
        )
    )
    champions = view.classifications.filter(tier=CHAMPION).join(taken, on=_PAIR, how="anti")
    others = view.classifications.filter(pl.col("tier") != CHAMPION)
    columns = view.classifications.columns
    shaped = taken.select(columns).cast(view.classifications.schema)
    return replace(view, classifications=pl.concat([others, champions, shaped]))


def gold_moves(
    view: SilverView, old: pl.DataFrame, new: pl.DataFrame, run: RunContext, *, limit: int = 200
) -> tuple[TableMove, ...]:
    """Count Gold with either side's answers, and say what differs, table by table.

    Tables in which nothing moves are left out. `limit` is how many moves of a table are kept.
    """
    before, after = (count_gold(with_answers(view, side), run) for side in (old, new))
    return compare_figures(before, after, limit=limit)


def compare_figures(before: Figures, after: Figures, *, limit: int = 200) -> tuple[TableMove, ...]:
    """Compare two countings of Gold row by row; see `gold_moves`."""
    found = (_table_move(contract, before[contract], after[contract], limit) for contract in before)
    return tuple(move for move in found if move.rows_moved)


def _table_move(contract: Contract, before: pa.Table, after: pa.Table, limit: int) -> TableMove:
    key = [name for name in contract.key if name not in _FENCE]
    values = [f.name for f in contract.schema if f.name not in (*key, *_FENCE)]
    joined = (
        _frame(before, key, values, "old")
        .join(_frame(after, key, values, "new"), on=key, how="full", coalesce=True)
        .sort(key)
    )
    differs = {name: pl.col(f"old_{name}").ne_missing(pl.col(f"new_{name}")) for name in values}
    moved = joined.filter(pl.any_horizontal(*differs.values()))
    numbers = [
        name for name in values if before.schema.field(name).type in (pa.int64(), pa.float64())
    ]
    counts = {name: int(joined.select(differs[name].sum()).item()) for name in values}
    leading = numbers[0] if numbers and "ticket_id" not in key else None
    return TableMove(
        table=f"gold.{contract.table.entity}",
        rows=len(joined),
        rows_moved=len(moved),
        measures={name: count for name, count in counts.items() if count},
        leading=leading,
        by_day=() if leading is None else _by_day(moved, leading),
        moves=() if leading is None else _largest(moved, key, numbers, limit),
    )


def _frame(rows: pa.Table, key: Sequence[str], values: Sequence[str], side: str) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(*key, *(pl.col(name).alias(f"{side}_{name}") for name in values))


def _by_day(moved: pl.DataFrame, measure: str) -> tuple[DayMove, ...]:
    change = pl.col(f"new_{measure}").fill_null(0) - pl.col(f"old_{measure}").fill_null(0)
    days = (
        moved.group_by("day")
        .agg(
            change.clip(lower_bound=0).sum().cast(pl.Float64).alias("more"),
            (-change.clip(upper_bound=0)).sum().cast(pl.Float64).alias("less"),
        )
        .filter((pl.col("more") != 0) | (pl.col("less") != 0))
        .sort("day")
    )
    return tuple(DayMove(**row) for row in days.iter_rows(named=True))


def _largest(
    moved: pl.DataFrame, key: Sequence[str], numbers: Sequence[str], limit: int
) -> tuple[Move, ...]:
    found = [
        Move({name: str(row[name]) for name in key}, measure, *_sides(row, measure))
        for row in moved.iter_rows(named=True)
        for measure in numbers
        if row[f"old_{measure}"] != row[f"new_{measure}"]
    ]
    rank = {measure: place for place, measure in enumerate(numbers)}
    found.sort(key=lambda move: (rank[move.measure] > 0, -abs(move.change), *move.key.values()))
    return tuple(found[:limit])


def _sides(row: Mapping[str, Any], measure: str) -> tuple[float | None, float | None]:
    old, new = row[f"old_{measure}"], row[f"new_{measure}"]
    return None if old is None else float(old), None if new is None else float(new)
