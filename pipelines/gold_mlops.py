"""Gold: how the machine does its share, by model and task."""

from __future__ import annotations

from datetime import date

import polars as pl

from contracts.tables import CLASSIFICATIONS, KPI_MLOPS_DAILY, LABELS
from pipelines.gold_view import Counting, Kpi, count_rows

_MLOPS_KEY = ["day", "task", "model"]


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


MLOPS_KPIS = {
    KPI_MLOPS_DAILY: Kpi("classified", _mlops, _mlops_members, (CLASSIFICATIONS, LABELS)),
}
