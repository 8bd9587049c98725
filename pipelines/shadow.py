"""Experiments in a run: who answers which tickets, and what a challenger says aside.

An experiment is resolved once, when a run is planned, and is part of its plan: starting or stopping
one never touches a run under way. A shadow that goes wrong is told of and stops nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from contracts.tables import CLASSIFICATIONS_SHADOW
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import QualityResult
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.telemetry import run_logger, tenant_logger
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.budget import BudgetSpentError
from pipelines.bundles import check_tasks
from pipelines.enrich import SHADOW, Arm, Enricher, OnTook, Took
from pipelines.errors import BundleMismatchError
from pipelines.promotion import PromotionPorts, champion_of
from registry.bundle_log import BundleLog
from registry.bundles import Bundle
from registry.challenges import Challenge, Experiment, ExperimentLog, Mode, Spent


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is asked for: which bundle to try, how, by whom and why."""

    bundle: str
    mode: Mode
    share: float
    by: str
    reason: str


def start_experiment(
    tenant: TenantContext,
    tasks: Sequence[Task],
    proposal: Proposal,
    ports: PromotionPorts,
    log: ExperimentLog,
    *,
    at: datetime,
) -> Experiment:
    """Start an experiment, which runs planned from now on take part in.

    Raises `InputError` where one runs already, where the challenger is the champion, and where an
    A/B test would mix two embedding spaces; `BundleMismatchError` where it answers other tasks.
    """
    challenger = ports.bundles.find(tenant, proposal.bundle)
    check_tasks(challenger, tasks)
    champion = champion_of(tenant, ports.bundles)
    if champion is None or champion.bundle_id == challenger.bundle_id:
        found = "no champion" if champion is None else f"{challenger.bundle_id} as champion already"
        msg = (
            f"tenant '{tenant.tenant_id}' has {found}; an experiment holds a bundle against "
            f"another. See `plata bundles list -t {tenant.tenant_id}`"
        )
        raise InputError(msg)
    if proposal.mode is Mode.AB and not _one_space(champion, challenger):
        msg = (
            f"{challenger.bundle_id} embeds texts otherwise than the champion, and an A/B test "
            "decides over one set of vectors; try it in a shadow (--mode shadow)"
        )
        raise InputError(msg)
    experiment = Experiment.begin(
        challenger.bundle_id,
        mode=proposal.mode,
        share=proposal.share,
        by=proposal.by,
        reason=proposal.reason,
        at=at,
    )
    log.start(tenant, experiment)
    return experiment


def challenge_to_plan(
    tenant: TenantContext, tasks: Sequence[Task], champion: Bundle, postgres: Postgres
) -> Challenge | None:
    """Return the experiment a run is planned with; None where none runs.

    None too where it no longer fits, which is told and stops no run: the challenger was promoted,
    it does not answer the tasks as they are now, or an A/B test would mix two spaces.
    """
    experiment = ExperimentLog(postgres).running(tenant)
    if experiment is None:
        return None
    challenger = BundleLog(postgres).find(tenant, experiment.bundle_id)
    why = _unfit(experiment, champion, challenger, tasks)
    if why is not None:
        tenant_logger(tenant).warning(
            "experiment_left_out", experiment_id=experiment.experiment_id, reason=why
        )
        return None
    return Challenge(experiment.experiment_id, experiment.mode, experiment.share, challenger)


def _unfit(
    experiment: Experiment, champion: Bundle, challenger: Bundle, tasks: Sequence[Task]
) -> str | None:
    if champion.bundle_id == challenger.bundle_id:
        return "the challenger is the champion"
    if experiment.mode is Mode.AB and not _one_space(champion, challenger):
        return "the challenger embeds texts otherwise than the champion"
    try:
        check_tasks(challenger, tasks)
    except BundleMismatchError as error:
        return str(error)
    return None


def _one_space(one: Bundle, other: Bundle) -> bool:
    return (one.embedding, one.embedding_prompt) == (other.embedding, other.embedding_prompt)


def arms_of(
    enricher: Enricher, challenge: Challenge | None, due: pa.Table
) -> list[tuple[Enricher, pa.Table]]:
    """Share the tickets out among the bundles that decide, the champion's first."""
    if challenge is None or challenge.mode is Mode.SHADOW:
        return [(enricher, due)]
    drawn = pa.array(challenge.draws(due["ticket_id"].to_pylist(), enricher.run.tenant), pa.bool_())
    challenger = replace(
        enricher, bundle=challenge.bundle, arm=Arm(name=challenge.bundle.bundle_id)
    )
    return [(enricher, due.filter(pc.invert(drawn))), (challenger, due.filter(drawn))]


def deciding_bundles(champion: Bundle, challenge: Challenge | None) -> list[Bundle]:
    """Return the bundles whose answers count in a run: the champion's, and a test's challenger."""
    tried = [] if challenge is None or challenge.mode is Mode.SHADOW else [challenge.bundle]
    return [champion, *tried]


def shadow_of(enricher: Enricher, challenge: Challenge | None) -> Enricher | None:
    """Return who answers aside, None where nobody does."""
    if challenge is None or challenge.mode is Mode.AB:
        return None
    embeds = not _one_space(enricher.bundle, challenge.bundle)
    return replace(enricher, bundle=challenge.bundle, arm=Arm(tier=SHADOW, embeds=embeds))


_EVERY_SHADOW = "every due ticket has the challenger's answer"


def ask_shadow(shadow: Enricher, due: pa.Table) -> QualityResult:
    """Stage what the challenger says, and warn of what it did not say: no run stops for it."""
    try:
        shadow.classify(due)
    except BudgetSpentError:  # the run ends here, and goes on where it was
        raise
    except Exception as error:  # noqa: BLE001 — whatever it is, the champion's run goes on
        said = f"{type(error).__name__}: {error}"
        run_logger(shadow.run).warning("shadow_failed", error=said)
    table = CLASSIFICATIONS_SHADOW.table
    given = sum(part.rows for part in shadow.store.staged(table, shadow.run))
    wanted = len(due) * shadow.voices()
    return QualityResult(
        table.layer.value,
        table.entity,
        _EVERY_SHADOW,
        "warning",
        given == wanted,
        str(given),
        str(wanted),
    )


def recorder(run: RunContext, challenge: Challenge, postgres: Postgres) -> OnTook:
    """Make what writes down what either side's answers took."""
    log = ExperimentLog(postgres)

    def record(took: Took) -> None:
        spent = Spent(run.run_id, took.bundle_id, took.part, took.task, took.answers, took.seconds)
        log.record(run.tenant, challenge.experiment_id, spent)

    return record
