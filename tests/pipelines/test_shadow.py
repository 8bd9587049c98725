"""A challenger beside the runs of a real lake: what it says, leaves alone, and is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import psycopg
import pyarrow as pa
import pytest

from contracts.tables import (
    CLASSIFICATIONS,
    CLASSIFICATIONS_SHADOW,
    GOLD,
    LABELS,
)
from lakehouse.compute.batches import Step
from lakehouse.control.llm_ledger import LlmLedger
from lakehouse.control.runs import RunStatus
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines.answered import standing_answers
from pipelines.budget import BudgetSpentError, Price
from pipelines.enrich import ModelSteps
from pipelines.plan import RunPlan
from pipelines.reproduce import reproduce
from pipelines.review import select_cases
from pipelines.run import RunPorts, next_run, open_run, run_tenant
from pipelines.run_estimate import estimate_run
from pipelines.shadow import Proposal, start_experiment
from pipelines.shadow_report import ExperimentReport, ReportPorts, report_experiment
from pipelines.steps import unobserved
from registry.challenges import Experiment, ExperimentLog, Mode, drawn


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def start(
    here: Any,
    version: str = "7",
    mode: Mode = Mode.SHADOW,
    share: float = 1.0,
    embedding: str | None = None,
) -> Experiment:
    ports, bundle = here.ports, here.champion(version)
    if embedding is not None:
        bundle = replace(bundle, embedding=replace(bundle.embedding, version=embedding))
    ports.promotion.bundles.keep(here.kit.NORTE, "norte", bundle, by="ana")
    return start_experiment(
        here.kit.NORTE,
        here.kit.tasks(),
        Proposal(bundle.bundle_id, mode, share, "ana", "try it"),
        ports.promotion,
        ExperimentLog(ports.postgres),
        at=here.kit.SECOND,
    )


def land(here: Any, seed: int = 11, tickets: int = 40) -> None:
    lines = here.kit.seeded_lines(seed, tickets)
    path = here.kit.write_lines(here.lake.parent / f"more-{seed}.jsonl", lines)
    here.kit.land(here.ports, path, here.kit.THIRD)


def run(here: Any, ports: RunPorts | None = None, on_step: Any = unobserved) -> Any:
    return run_tenant(
        here.kit.NORTE, here.kit.tasks(), ports or here.ports, at=here.kit.THIRD, on_step=on_step
    )


def report(here: Any) -> ExperimentReport:
    ports, tenant = here.ports, here.kit.NORTE
    log = ExperimentLog(ports.postgres)
    return report_experiment(
        log.find(tenant),
        tenant,
        ReportPorts(
            log,
            ports.promotion.bundles,
            ports.log,
            LlmLedger(ports.postgres),
            ports.store,
            ports.registry,
        ),
    )


def left_by(here: Any) -> dict[str, list[Any]]:
    """Everything runs left but the shadow's own table and the records of runs and checks."""
    found: dict[str, list[Any]] = here.kit.tables(here.url, here.lake)
    apart = (str(CLASSIFICATIONS_SHADOW.table), "meta.etl_runs", "meta.data_quality")
    return {
        name: rows
        for name, rows in found.items()
        if name not in apart and name != "meta.manifest_index"
    }


def queued(here: Any) -> list[Any]:
    answers = standing_answers("tipo", here.kit.NORTE, here.ports.store)
    found: list[Any] = select_cases(answers, labelled=frozenset(), limit=1000).to_pylist()
    return found


def test_a_shadow_leaves_silver_gold_vectors_and_the_review_queue_as_without_it(
    place: Callable[[], Any],
) -> None:
    plain, shadowed = place(), place()
    experiment = start(shadowed)
    for here in (plain, shadowed):
        land(here)
        assert run(here) is not None
    assert left_by(shadowed) == left_by(plain)
    assert queued(shadowed) == queued(plain)
    rows = pl.DataFrame(shadowed.rows(CLASSIFICATIONS_SHADOW))
    assert plain.rows(CLASSIFICATIONS_SHADOW).num_rows == 0
    assert set(rows["bundle_id"]) == {experiment.bundle_id}
    assert set(rows["model_version"]) == {"7"}
    assert set(rows["tier"]) == {"shadow"}
    assert set(rows["decision"]) == {"none"}
    newest = shadowed.ports.log.recent(shadowed.kit.NORTE, limit=1)[0].run.run_id
    own = pl.DataFrame(shadowed.rows(CLASSIFICATIONS)).filter(tier="champion", run_id=newest)
    assert set(own["bundle_id"]) == {shadowed.champion().bundle_id}
    key = ["ticket_id", "task"]
    assert rows.select(key).sort(key).equals(own.select(key).sort(key))


def test_a_share_of_the_tickets_is_decided_by_the_challenger_and_gold_counts_both(
    place: Callable[[], Any],
) -> None:
    here = place()
    experiment = start(here, mode=Mode.AB, share=0.4)
    land(here)
    manifest = run(here)
    rows = pl.DataFrame(here.rows(CLASSIFICATIONS)).filter(run_id=manifest.run.run_id)
    champions = rows.filter(tier="champion")
    for ticket, bundle_id in champions.select("ticket_id", "bundle_id").iter_rows():
        challenged = drawn(here.kit.NORTE, experiment.experiment_id, ticket, 0.4)
        assert (bundle_id == experiment.bundle_id) == challenged
    assert champions.select("ticket_id", "task").is_unique().all()
    assert set(champions["decision"]) > {"accept", "review"}
    counted = pl.DataFrame(here.figures()[GOLD[8]]).group_by("model").agg(pl.sum("classified"))
    assert {model.split("/")[-1] for model in counted["model"]} == {"2", "7"}
    found = report(here)
    assert [task.agreement for task in found.tasks] == [None, None]
    for task in found.tasks:
        assert task.champion.answers + task.challenger.answers == found.tickets
        assert task.challenger.timed == task.challenger.answers > 0


@pytest.mark.parametrize(("mode", "share"), [(Mode.SHADOW, 1.0), (Mode.AB, 0.4)])
def test_a_run_killed_within_an_experiment_leaves_what_one_that_was_not_killed_leaves(
    place: Callable[[], Any], mode: Mode, share: float
) -> None:
    whole, killed = place(), place()
    for here in (whole, killed):
        start(here, mode=mode, share=share)
        land(here)
    places: list[str] = []
    run(whole, on_step=places.append)
    challenger = [p for p in places if "shadow" in p or "bundle-" in p]
    assert challenger
    for wanted in challenger[::2]:

        def die(reached: str, wanted: str = wanted) -> None:
            if reached == wanted:
                raise Killed

        with pytest.raises(Killed):
            run(killed, on_step=die)
    run(killed)
    assert killed.kit.tables(killed.url, killed.lake) == whole.kit.tables(whole.url, whole.lake)
    assert report(killed).tasks[0].challenger.timed == report(whole).tasks[0].challenger.timed


def test_a_run_with_a_shadow_comes_out_again_and_costs_are_not_told_twice(
    place: Callable[[], Any], tmp_path: Path
) -> None:
    here = place()
    experiment = start(here)
    land(here, tickets=10)
    run(here)
    record = here.ports.log.recent(here.kit.NORTE, limit=1)[0]
    log = ExperimentLog(here.ports.postgres)
    before = log.spent(here.kit.NORTE, experiment.experiment_id)
    scratch = DeltaTableStore(LakeRoot(str(tmp_path)))
    found = reproduce(record, here.ports, scratch, at=here.kit.THIRD, code_version="unknown")
    rows = {outcome.table: outcome.rows for outcome in found.tables}
    assert (found.differing, rows["silver_classifications_shadow"] > 0) == ([], True)
    assert log.spent(here.kit.NORTE, experiment.experiment_id) == before


def test_starting_and_stopping_never_touch_a_run_that_is_planned(
    place: Callable[[], Any],
) -> None:
    here = place()
    tenant, log = here.kit.NORTE, ExperimentLog(here.ports.postgres)
    land(here)
    planned = open_run(tenant, here.kit.tasks(), here.ports, at=here.kit.THIRD)
    assert planned is not None
    assert planned.plan.challenge is None
    start(here)
    run(here)
    assert here.rows(CLASSIFICATIONS_SHADOW).num_rows == 0
    land(here, seed=12, tickets=5)
    later = here.kit.THIRD + timedelta(hours=1)
    planned = open_run(tenant, here.kit.tasks(), here.ports, at=later)
    assert planned is not None
    assert planned.plan.challenge is not None
    assert RunPlan.of(planned.plan.as_dict()) == planned.plan
    stopped = log.stop(tenant, by="luz", reason="enough", at=here.kit.THIRD)
    assert (stopped.stopped_by, stopped.stop_reason) == ("luz", "enough")
    run(here)
    assert here.rows(CLASSIFICATIONS_SHADOW).num_rows == 10


def test_a_challenger_that_fails_stops_no_run(
    place: Callable[[], Any], killable: ModuleType
) -> None:
    here = place()
    start(here)
    land(here)

    def classify(folder: str, labels: list[str], template: str | None = None) -> Step:
        if folder.endswith("-7"):
            msg = "no such model"
            raise RuntimeError(msg)
        step: Step = killable.quick_classify(folder, labels, template)
        return step

    classify.__qualname__ = f"{here.lake}/failing"
    models = ModelSteps(embed=here.ports.models.embed, classify=classify)
    run(here, replace(here.ports, models=models))
    record = here.ports.log.recent(here.kit.NORTE, limit=1)[0]
    assert record.status is RunStatus.DEGRADED
    failed = [q for q in here.ports.log.quality(here.kit.NORTE, record.run.run_id) if not q.passed]
    assert ("every due ticket has the challenger's answer", "warning", "0") in {
        (q.check, q.severity, q.observed) for q in failed
    }
    assert [task.challenger.answers for task in report(here).tasks] == [0, 0]


def test_a_budget_spent_within_a_shadow_ends_the_run_which_goes_on_and_says_all(
    place: Callable[[], Any],
) -> None:
    here = place()
    start(here)
    land(here)
    aside = f"after {CLASSIFICATIONS_SHADOW.table}"

    def spent(reached: str) -> None:
        if reached.startswith(aside):
            raise BudgetSpentError("spent")

    with pytest.raises(BudgetSpentError):
        run(here, on_step=spent)
    assert here.ports.log.unfinished(here.kit.NORTE, "run") is not None
    manifest = run(here)
    checks = here.ports.log.quality(here.kit.NORTE, manifest.run.run_id)
    (whole,) = [c for c in checks if c.check == "every due ticket has the challenger's answer"]
    assert whole.passed
    assert int(whole.observed) > 0


def test_a_plan_of_a_run_counts_the_challengers_work(place: Callable[[], Any]) -> None:
    here = place()
    land(here)

    def asked() -> int:
        tenant, tasks, ports = here.kit.NORTE, here.kit.tasks(), here.ports
        planned = next_run(tenant, tasks, ports, at=here.kit.THIRD)
        assert planned is not None
        here.asked.clear()
        found = estimate_run(planned, ports, here.kit.scratch, price=Price())
        assert found.asks > 0
        return len(here.asked)

    alone = asked()
    start(here)
    assert asked() * 3 == alone * 4  # champion, baseline and zero-shot; and the challenger


def test_the_report_says_agreement_flips_accuracy_and_time(place: Callable[[], Any]) -> None:
    here = place()
    start(here)
    land(here)
    manifest = run(here)
    own = pl.DataFrame(here.rows(CLASSIFICATIONS)).filter(
        tier="champion", run_id=manifest.run.run_id, task="tipo"
    )
    aside = pl.DataFrame(here.rows(CLASSIFICATIONS_SHADOW)).filter(task="tipo")
    audited = own.filter(decision="audit").sort("ticket_id")
    assert len(audited) > 3
    label(here, audited, aside)
    task = next(task for task in report(here).tasks if task.task == "tipo")
    both = own.join(aside, on="ticket_id")
    same = both.filter(pl.col("predicted_label") == pl.col("predicted_label_right")).height
    assert task.agreement is not None
    assert (task.agreement.count, task.agreement.of) == (same, len(own))
    assert task.agreement.interval.low < same / len(own) < task.agreement.interval.high
    assert task.diff is not None
    assert task.diff.flips == len(own) - same
    assert all(flip.text for flip in task.diff.examples)
    assert (task.challenger.accuracy.count, task.challenger.accuracy.of) == (
        len(audited),
        len(audited),
    )
    flipped = both.filter(pl.col("decision") == "audit").filter(
        pl.col("predicted_label") != pl.col("predicted_label_right")
    )
    assert task.paired is not None
    assert (task.paired.only_challenger, task.paired.only_champion) == (len(flipped), 0)
    assert task.champion.timed == task.challenger.timed == len(own)


def label(here: Any, audited: pl.DataFrame, said: pl.DataFrame) -> None:
    """Let a person say, of every audited ticket, what `said` says."""
    truth = dict(said.select("ticket_id", "predicted_label").iter_rows())
    run_context = here.ports.log.recent(here.kit.NORTE, limit=1)[0].run
    rows = []
    for number, row in enumerate(audited.iter_rows(named=True)):
        rows.append(
            {
                "tenant_id": "norte",
                "run_id": run_context.run_id,
                "source": row["source"],
                "day": row["day"],
                "label_id": here.kit.uid(f"label-{number}"),
                "ticket_id": row["ticket_id"],
                "task": row["task"],
                "label": truth[row["ticket_id"]],
                "reviewer": "ana",
                "reason": "",
                "suggested_label": row["predicted_label"],
                "suggested_score": row["score"],
                "model_name": row["model_name"],
                "model_version": row["model_version"],
                "guideline_version": "1",
                "responded_at": here.kit.THIRD,
            }
        )
    table = pa.Table.from_pylist(rows, schema=LABELS.schema)
    here.ports.store.append(LABELS.table, table, run_context, part="labels")


def test_one_experiment_runs_at_a_time_and_only_its_tenant_sees_it(
    place: Callable[[], Any],
) -> None:
    here = place()
    log, other = ExperimentLog(here.ports.postgres), TenantContext.parse("sur")
    TenantDirectory(here.ports.postgres).create(other, name="Sur")
    experiment = start(here)
    with pytest.raises(InputError, match=f"{experiment.experiment_id}, and one runs at a time"):
        start(here, version="8")
    assert log.running(other) is None
    assert log.all(other) == []
    with pytest.raises(InputError, match="has no experiment that runs"):
        log.stop(other, by="eva", reason="", at=here.kit.THIRD)
    assert log.running(here.kit.NORTE) == experiment
    with (
        psycopg.connect(here.url) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="never changed"),
    ):
        connection.execute("DELETE FROM meta.experiment_ends")


def test_what_cannot_be_an_experiment_is_refused_with_what_to_do(
    place: Callable[[], Any],
) -> None:
    here = place()
    with pytest.raises(InputError, match="as champion already"):
        start(here, version="2")
    with pytest.raises(InputError, match="expected more than 0 and less than 1"):
        start(here, mode=Mode.AB, share=1.0)
    with pytest.raises(InputError, match="embeds texts otherwise than the champion"):
        start(here, mode=Mode.AB, share=0.5, embedding="9")


def test_a_shadow_of_another_embedding_reads_vectors_of_its_own_and_keeps_none(
    place: Callable[[], Any],
) -> None:
    here = place()
    start(here, embedding="9")
    land(here, tickets=10)
    ports = here.ports
    manifest = run(here, ports)
    texts = manifest.counts["silver_embeddings"]
    assert len(here.embedded) == 2 * texts == manifest.counts["silver_classifications_shadow"]
    assert manifest.pins["challenger.embedding"].endswith("/9")
    with psycopg.connect(here.url) as connection:
        spaces = connection.execute("SELECT count(*) FROM vectors.spaces").fetchone()
    assert spaces == (1,)
