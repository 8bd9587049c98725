"""Gold: how the machine does its share, by model and task."""

from __future__ import annotations

from datetime import date

import polars as pl

from contracts.tables import (
    CLASSIFICATIONS,
    KPI_ACCURACY_DAILY,
    KPI_MLOPS_DAILY,
    KPI_REVIEW_DAILY,
    LABELS,
)
from models.routing import Decision
from pipelines.business_time import DAY
from pipelines.gold_view import Counting, Kpi, count_rows

_MLOPS_KEY = ["day", "task", "model"]
_REVIEW_KEY = ["day", "task"]
_READS = (CLASSIFICATIONS, LABELS)
_Z = 1.959963984540054
"""The normal quantile that leaves 2.5 % on either side."""


def _mlops(counting: Counting) -> pl.DataFrame:
    return (
        _judged(counting)
        .group_by(_MLOPS_KEY)
        .agg(
            count_rows("classified"),
            pl.col("accepted", "review").sum().cast(pl.Int64),
            pl.col("accepted").mean().alias("automation_rate"),
            pl.col("score").sort().mean().alias("mean_score"),
            pl.col("labelled", "agreed").sum().cast(pl.Int64),
        )
    )


def _mlops_members(counting: Counting, day: date) -> pl.DataFrame:
    return _judged(counting).filter(day=day).drop("score")


def _judged(counting: Counting) -> pl.DataFrame:
    """Give each champion's answer, what was decided about it, and whether a person agreed."""
    review = pl.col("decision") == "review"
    return counting.answers.join(counting.labels, on=["ticket_id", "task"], how="left").select(
        "ticket_id",
        "day",
        "task",
        pl.concat_str("model_name", "model_version", separator="/").alias("model"),
        "score",
        (~review).alias("accepted"),
        review.alias("review"),
        pl.col("label").is_not_null().alias("labelled"),
        (pl.col("label") == pl.col("predicted_label")).fill_null(False).alias("agreed"),
    )


def _review(counting: Counting) -> pl.DataFrame:
    waiting = pl.col("waiting")
    waits = pl.col("waits").filter(waiting)
    return (
        _sent(counting)
        .group_by(_REVIEW_KEY)
        .agg(
            count_rows("sent"),
            pl.col("answered", "waiting").sum().cast(pl.Int64),
            (waits.sum() / waiting.sum().replace(0, None) / DAY).alias("mean_wait_days"),
            (waits.max() / DAY).alias("oldest_wait_days"),
        )
    )


def _review_members(counting: Counting, day: date) -> pl.DataFrame:
    return _sent(counting).filter(day=day).drop("waits")


def _sent(counting: Counting) -> pl.DataFrame:
    """Give each answer a person should see, whether one did, and how long it waits."""
    view = counting.view
    asked = pl.col("decision").is_in([Decision.REVIEW.value, Decision.AUDIT.value])
    moments = [view.classifications["inference_timestamp"], view.labels["responded_at"]]
    now = pl.lit(pl.concat(moments).max(), pl.Datetime("us", "UTC"))
    waits = (now - pl.col("inference_timestamp")).dt.total_microseconds()
    answered = pl.col("label").is_not_null()
    return (
        counting.answers.filter(asked)
        .join(counting.labels, on=["ticket_id", "task"], how="left")
        .select(
            "ticket_id",
            *_REVIEW_KEY,
            answered.alias("answered"),
            (~answered).alias("waiting"),
            waits.alias("waits"),
        )
    )


def _accuracy(counting: Counting) -> pl.DataFrame:
    """Estimate from the audited answers up to each day on which there was one."""
    daily = (
        _audited(counting)
        .group_by(_MLOPS_KEY)
        .agg(count_rows("audited"), pl.col("agreed").sum().cast(pl.Int64))
        .sort(_MLOPS_KEY)
        .with_columns(pl.col("audited", "agreed").cum_sum().over("task", "model"))
    )
    low, high = wilson(pl.col("agreed"), pl.col("audited"))
    return daily.with_columns(
        (pl.col("agreed") / pl.col("audited")).alias("accuracy"),
        low.alias("accuracy_low"),
        high.alias("accuracy_high"),
    )


def _accuracy_members(counting: Counting, day: date) -> pl.DataFrame:
    audited = _audited(counting)
    shown = audited.filter(day=day).select("task", "model").unique()
    until = audited.filter(pl.col("day") <= day).with_columns(pl.lit(day).alias("day"))
    return until.join(shown, on=["task", "model"], how="semi")


def _audited(counting: Counting) -> pl.DataFrame:
    drawn = counting.answers.filter(pl.col("decision") == Decision.AUDIT.value)
    labels = counting.labels.select("ticket_id", "task", "label")
    return drawn.join(labels, on=["ticket_id", "task"]).select(
        "ticket_id",
        "day",
        "task",
        pl.concat_str("model_name", "model_version", separator="/").alias("model"),
        (pl.col("label") == pl.col("predicted_label")).alias("agreed"),
    )


def wilson(hits: pl.Expr, trials: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return the ends of Wilson's 95 % interval of a share; right also where the share is 0 or 1.

    >>> low, high = wilson(pl.lit(9), pl.lit(10))
    >>> [round(end, 3) for end in pl.select(low=low, high=high).row(0)]
    [0.596, 0.982]
    """
    square = _Z * _Z
    middle = (hits + square / 2) / (trials + square)
    half = (hits * (trials - hits) / trials + square / 4).sqrt() * _Z / (trials + square)
    return (middle - half).clip(0, 1), (middle + half).clip(0, 1)


MLOPS_KPIS = {
    KPI_MLOPS_DAILY: Kpi("classified", _mlops, _mlops_members, _READS),
    KPI_REVIEW_DAILY: Kpi("sent", _review, _review_members, _READS),
    KPI_ACCURACY_DAILY: Kpi("audited", _accuracy, _accuracy_members, _READS),
}
