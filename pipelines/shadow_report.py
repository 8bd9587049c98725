"""What an experiment found: agreement and flips, how right either side is, and what it took.

Reads what the runs of the experiment wrote and what people said since; asks no model. `champion`
is what the runs were planned against, `challenger` the bundle on trial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from contracts.contract import Contract
from contracts.tables import CLASSIFICATIONS, CLASSIFICATIONS_SHADOW
from labeling.ledger import standing
from lakehouse.control.llm_ledger import LlmLedger, Spending
from lakehouse.control.runs import RunLog, RunStatus
from lakehouse.data.tables import TableStore
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from models.comparison import mcnemar
from models.folder import LLM, family_of
from models.intervals import Interval, wilson
from models.llm import LlmModel
from models.routing import Decision
from pipelines.answer_diff import TaskDiff, diff_answers
from pipelines.answered import CHAMPION, first_words
from pipelines.enrich import decided
from pipelines.standing_labels import label_facts
from registry.bundle_log import BundleLog
from registry.bundles import Bundle
from registry.challenges import Experiment, ExperimentLog, Mode
from registry.refs import Registry

_ENDED = {RunStatus.COMPLETED, RunStatus.DEGRADED}
_REMEMBERED_RUNS = 10_000
_COLUMNS = [
    "ticket_id",
    "source",
    "day",
    "task",
    "predicted_label",
    "score",
    "decision",
    "probabilities",
    "tier",
    "bundle_id",
]


@dataclass(frozen=True, slots=True)
class ReportPorts:
    """What a report reads."""

    experiments: ExperimentLog
    bundles: BundleLog
    runs: RunLog
    ledger: LlmLedger
    store: TableStore
    registry: Registry


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with a 95 % interval (Wilson's); `share` is None of nothing."""

    count: int
    of: int
    share: float | None
    interval: Interval

    @classmethod
    def counted(cls, count: int, of: int) -> Share:
        """Count."""
        return cls(count, of, count / of if of else None, wilson(count, of))


@dataclass(frozen=True, slots=True)
class Paired:
    """Labelled answers of both to the same tickets: which of them alone was right, how often.

    `p` is McNemar's exact two-sided p-value.
    """

    tickets: int
    only_challenger: int
    only_champion: int
    p: float


@dataclass(frozen=True, slots=True)
class SideReport:
    """One side of a task. `accuracy` is of the audited answers that a person has judged."""

    bundle_id: str
    answers: int
    labels: Mapping[str, int]
    accuracy: Share
    seconds: float
    timed: int


@dataclass(frozen=True, slots=True)
class TaskReport:
    """One task. `agreement`, `diff` and `paired` need both to have answered the same tickets."""

    task: str
    champion: SideReport
    challenger: SideReport
    agreement: Share | None
    paired: Paired | None
    diff: TaskDiff | None


@dataclass(frozen=True, slots=True)
class SideSpending:
    """Tokens by task and model of an endpoint. `side` is `both` where both ask that model."""

    side: str
    spending: Spending


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """Everything `plata shadow report` says. `champions` are the bundles of the runs."""

    tenant: str
    experiment: Experiment
    champions: tuple[str, ...]
    runs: tuple[str, ...]
    tickets: int
    tasks: tuple[TaskReport, ...]
    tokens: tuple[SideSpending, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


def report_experiment(
    experiment: Experiment, tenant: TenantContext, ports: ReportPorts
) -> ExperimentReport:
    """Report on the runs that ended since the experiment was started."""
    planned = _runs(experiment, tenant, ports.runs)
    challenger = ports.bundles.find(tenant, experiment.bundle_id)
    runs = [RunId(name) for name in planned]
    own = _read(CLASSIFICATIONS, runs, _COLUMNS, tenant, ports.store).filter(tier=CHAMPION)
    if experiment.mode is Mode.SHADOW:
        aside = _read(CLASSIFICATIONS_SHADOW, runs, _COLUMNS, tenant, ports.store)
        old, new = own, _as_routed(aside, challenger)
    else:
        old = own.filter(pl.col("bundle_id") != challenger.bundle_id)
        new = own.filter(bundle_id=challenger.bundle_id)
    diffs = _diffs(old, new, tenant, ports.store) if experiment.mode is Mode.SHADOW else {}
    labels = standing(label_facts(tenant, ports.store))
    champions = tuple(sorted(set(planned.values())))
    took = _took(experiment, tenant, ports.experiments)
    tasks = tuple(
        _task(name, old, new, labels, diffs.get(name), (champions, challenger.bundle_id), took)
        for name in (pins.task for pins in challenger.tasks)
    )
    return ExperimentReport(
        tenant=tenant.tenant_id,
        experiment=experiment,
        champions=champions,
        runs=tuple(planned),
        tickets=own["ticket_id"].n_unique(),
        tasks=tasks,
        tokens=_tokens(planned, challenger, tenant, ports),
    )


def _runs(experiment: Experiment, tenant: TenantContext, log: RunLog) -> dict[RunId, str]:
    """Return the runs planned with the experiment that ended, and the bundle of each."""
    return {
        record.run.run_id: record.plan["bundle_id"]
        for record in reversed(log.recent(tenant, limit=_REMEMBERED_RUNS))
        if record.status in _ENDED
        and (record.plan.get("challenge") or {}).get("experiment_id") == experiment.experiment_id
    }


def _read(
    contract: Contract,
    runs: list[RunId],
    columns: list[str],
    tenant: TenantContext,
    store: TableStore,
) -> pl.DataFrame:
    parts = [contract.empty().select(columns)]
    for run in runs:
        rows = store.scan(contract.table, tenant, columns=columns, run_id=run)
        parts += [] if rows is None else [rows.select(columns)]
    frames = [pl.from_arrow(part) for part in parts]
    return pl.concat(frame for frame in frames if isinstance(frame, pl.DataFrame))


def _as_routed(aside: pl.DataFrame, challenger: Bundle) -> pl.DataFrame:
    """Say what the challenger's own thresholds would have decided; in the table it is none.

    A guarantee is about one bundle, so the challenger has none yet.
    """
    routed = [aside.clear()]
    for pins in challenger.tasks:
        rows = aside.filter(task=pins.task)
        answers = rows.select("predicted_label", "score").to_arrow()
        tickets = rows["ticket_id"].to_arrow().cast("string")
        decisions = decided(tickets, answers, pins, seed=challenger.seed, pinned=None)
        routed.append(rows.with_columns(pl.Series("decision", decisions)))
    return pl.concat(routed)


def _diffs(
    old: pl.DataFrame, new: pl.DataFrame, tenant: TenantContext, store: TableStore
) -> dict[str, TaskDiff]:
    if new.is_empty():
        return {}
    known = new.select("ticket_id", "source", "day").unique("ticket_id", keep="first")
    words = pl.from_arrow(first_words(known["ticket_id"].to_arrow(), tenant, store))
    assert isinstance(words, pl.DataFrame)
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in words["text"]]
    tickets = words.with_columns(pl.Series("text_sha256", digests, pl.String)).join(
        known, on="ticket_id"
    )
    return {diff.task: diff for diff in diff_answers(old, new, tickets)}


def _task(
    name: str,
    old: pl.DataFrame,
    new: pl.DataFrame,
    labels: pl.DataFrame,
    diff: TaskDiff | None,
    bundles: tuple[tuple[str, ...], str],
    took: Mapping[tuple[str, str], tuple[int, float]],
) -> TaskReport:
    champions, challenger = bundles
    before, after = old.filter(task=name), new.filter(task=name)
    person = labels.filter(task=name).select("ticket_id", "label")
    audited = before.filter(decision=Decision.AUDIT.value).join(person, on="ticket_id")
    if diff is None:
        tried = after.filter(decision=Decision.AUDIT.value).join(person, on="ticket_id")
        agreement = paired = None
    else:
        tried = after.join(audited.select("ticket_id", "label"), on="ticket_id")
        agreement = Share.counted(diff.tickets - diff.flips, diff.tickets)
        paired = _paired(audited, tried)
    sides = [
        SideReport(
            bundle_id=" ".join(ids),
            answers=len(rows),
            labels=dict(rows["predicted_label"].value_counts().sort("predicted_label").iter_rows()),
            accuracy=_accuracy(judged),
            seconds=sum(took.get((one, name), (0, 0.0))[1] for one in ids),
            timed=sum(took.get((one, name), (0, 0.0))[0] for one in ids),
        )
        for ids, rows, judged in ((champions, before, audited), ((challenger,), after, tried))
    ]
    return TaskReport(name, sides[0], sides[1], agreement, paired, diff)


def _accuracy(judged: pl.DataFrame) -> Share:
    right = (judged["predicted_label"] == judged["label"]).sum()
    return Share.counted(int(right), len(judged))


def _paired(champion: pl.DataFrame, challenger: pl.DataFrame) -> Paired:
    one = champion.select("ticket_id", old=pl.col("predicted_label") == pl.col("label"))
    other = challenger.select("ticket_id", new=pl.col("predicted_label") == pl.col("label"))
    both = one.join(other, on="ticket_id")
    gained = both.filter(pl.col("new") & ~pl.col("old")).height
    lost = both.filter(pl.col("old") & ~pl.col("new")).height
    return Paired(both.height, gained, lost, mcnemar(gained, lost))


def _took(
    experiment: Experiment, tenant: TenantContext, log: ExperimentLog
) -> dict[tuple[str, str], tuple[int, float]]:
    """Sum answers and seconds by bundle and task."""
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for spent in log.spent(tenant, experiment.experiment_id):
        key = (spent.bundle_id, spent.task)
        answers, seconds = found.get(key, (0, 0.0))
        found[key] = (answers + spent.answers, seconds + spent.seconds)
    return found


def _tokens(
    planned: Mapping[RunId, str], challenger: Bundle, tenant: TenantContext, ports: ReportPorts
) -> tuple[SideSpending, ...]:
    spent = [
        (bundle_id, spending)
        for run_id, bundle_id in planned.items()
        for spending in ports.ledger.spent(tenant, run_id)
    ]
    if not spent:
        return ()
    asked, found = _endpoint_models(challenger, ports.registry), []
    for bundle_id, spending in spent:
        own = _endpoint_models(ports.bundles.find(tenant, bundle_id), ports.registry)
        key = (spending.task, spending.model)
        side = "champion" if key in own else "challenger"
        found.append(SideSpending("both" if key in own & asked else side, spending))
    return tuple(found)


def _endpoint_models(bundle: Bundle, registry: Registry) -> set[tuple[str, str]]:
    found = set()
    for pins in bundle.tasks:
        folder = registry.fetch(pins.champion)
        if family_of(folder) == LLM:
            found.add((pins.task, LlmModel.read(folder).model))
    return found
