"""When a task's model is to be retrained: a decision from counts and times, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pipelines.labelled_texts import LabelsFile


class Approve(StrEnum):
    """Who lets a retrained model take the champion's place."""

    PERSON = "person"
    POLICY = "policy"


class Trigger(StrEnum):
    """What a retraining was begun by."""

    DRIFT = "drift"
    LABELS = "labels"
    SCHEDULE = "schedule"
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class RetrainPolicy:
    """A tenant's wishes; a trigger that is None never begins a retraining.

    `on_drift` is how many new labels are enough once an alert stands: without labels of what
    drifted there is nothing to learn. A promotion waits until the challenger took part in
    `shadow_runs` runs. `tasks` None means all. `labels` are files that are learned from besides.
    """

    every_days: int | None = None
    new_labels: int | None = None
    on_drift: int | None = None
    shadow_runs: int = 1
    approve: Approve = Approve.PERSON
    tasks: tuple[str, ...] | None = None
    labels: Mapping[str, LabelsFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a retraining is due, in a word and in a line."""

    trigger: Trigger
    said: str


def due(
    policy: RetrainPolicy,
    now: datetime,
    *,
    new_labels: int,
    drift_alert: datetime | None,
    last_trained: datetime | None,
) -> Reason | None:
    """Say why a task is to be retrained now, None where it is not.

    `new_labels` came since `last_trained`, which is None before the first retraining;
    `drift_alert` is when drift from what the champion learned was last found. No trigger fires
    without a new label, so that each is answered by one retraining.
    """
    if new_labels < 1:
        return None
    came = f"{new_labels} new labels"
    if drift_alert is not None and policy.on_drift is not None and new_labels >= policy.on_drift:
        said = f"drift found on {drift_alert:%Y-%m-%d}, {came} (on_drift: {policy.on_drift})"
        return Reason(Trigger.DRIFT, said)
    if policy.new_labels is not None and new_labels >= policy.new_labels:
        return Reason(Trigger.LABELS, f"{came} (new_labels: {policy.new_labels})")
    if policy.every_days is None:
        return None
    if last_trained is None:
        return Reason(Trigger.SCHEDULE, f"never retrained, {came}")
    if now - last_trained >= timedelta(days=policy.every_days):
        said = f"last retrained on {last_trained:%Y-%m-%d}, {came} (every_days: "
        return Reason(Trigger.SCHEDULE, f"{said}{policy.every_days})")
    return None
