from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pyarrow.compute as pc
import pytest

from contracts.contract import Contract
from contracts.tables import (
    CLASSIFICATIONS,
    CLASSIFICATIONS_SIDE,
    GOLD,
    KPI_REVIEW_DAILY,
    LABELS,
)
from features.embed import embed_step
from features.tiny import write_tiny_model
from lakehouse.compute.dask_cluster import DaskCluster
from lakehouse.control.runs import RunStatus
from lakehouse.data.as_of import NotThereYetError
from lakehouse.data.content import content_of
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.errors import InputError
from models.steps import classify_step
from pipelines import answer_batches
from pipelines.answer_batches import answers_to
from pipelines.budget import Budget
from pipelines.bundles import bundle_of_aliases
from pipelines.enrich import ModelSteps
from pipelines.gold_diff import compare_figures, gold_moves
from pipelines.gold_view import read_silver
from pipelines.lineage import Question, explain
from pipelines.lineage_walk import LineagePorts
from pipelines.reenrich import carry_out
from pipelines.reenrich_plan import begin, unfinished
from pipelines.run import run_bronze
from pipelines.train import (
    register_baseline,
    register_embedding_model,
    register_zero_shot_prompt,
)
from registry.memory import MemoryRegistry
from registry.refs import ModelRef

ENGINE = DuckDbEngine()
TICKETS = 50


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_batches, "BATCH_TEXTS", 16)
    monkeypatch.setattr(answer_batches, "KNOWN_TICKETS", 20)


def test_answers_go_aside_with_exact_versions_and_published_tables_stay_as_they_were(
    place: Callable[[], Any],
) -> None:
    here = place()
    before = here.kit.tables(here.url, here.lake)
    done = here.do(here.plan(here.champion("7")))
    after = here.kit.tables(here.url, here.lake)
    assert {name for name in before if before[name] != after[name]} == {"meta.etl_runs"}
    rows = here.rows(CLASSIFICATIONS_SIDE)
    assert len(rows) == 2 * done.tickets > 80
    assert set(rows["model_version"].to_pylist()) == {"7"}
    assert set(rows["run_id"].to_pylist()) == {done.run.run_id}
    assert set(rows["bundle_id"].to_pylist()) == {here.champion("7").bundle_id}
    assert set(rows["reused_from"].to_pylist()) == {None}
    (as_of,) = set(rows["as_of"].to_pylist())
    assert as_of == done.as_dict()["as_of"]
    assert as_of.startswith("silver_messages@")


def test_what_the_same_versions_answered_already_is_not_asked_again(
    place: Callable[[], Any],
) -> None:
    here = place()
    done = here.do(here.plan(here.champion()))
    assert (done.over, here.asked, here.embedded) == (True, [], [])
    side = pl.DataFrame(here.rows(CLASSIFICATIONS_SIDE)).sort("ticket_id", "task")
    silver = (
        pl.DataFrame(here.rows(CLASSIFICATIONS)).filter(tier="champion").sort("ticket_id", "task")
    )
    same = ["ticket_id", "task", "predicted_label", "score", "probabilities", "decision", "day"]
    assert side.select(same).equals(silver.select(same))
    assert side["reused_from"].null_count() == 0


def test_equal_texts_are_asked_about_once_and_vectors_of_the_same_space_are_not_computed(
    place: Callable[[], Any],
) -> None:
    here = place()
    bundle = here.champion("7")
    only_types = here.plan(bundle, tasks=("tipo",))
    done = here.do(only_types)
    texts = here.rows(CLASSIFICATIONS_SIDE)["text_sha256"].unique()
    assert len(here.asked) == len(set(here.asked)) == len(texts) < done.tickets
    assert here.embedded == []
    other_space = replace(bundle, embedding=ModelRef("e5", "9", "digest"))
    here.do(here.plan(other_space, tasks=("tipo",)), hours=2)
    assert sorted(here.embedded) == sorted(set(here.asked))


def test_the_past_is_as_it_was_and_before_there_were_tickets_there_is_none(
    place: Callable[[], Any],
) -> None:
    here = place()
    first = here.ports.log.recent(here.kit.NORTE)[-1].run.run_id
    done = here.do(here.plan(here.champion("7"), as_of=first))
    rows = here.rows(CLASSIFICATIONS_SIDE)
    assert set(rows["ticket_id"].to_pylist()) == {here.kit.uid("t1")}
    again = here.do(here.plan(here.champion("7"), as_of=done.as_dict()["as_of"]), hours=2)
    assert (again.tickets, again.there) == (0, 1)
    with pytest.raises(NotThereYetError):
        here.plan(here.champion(), as_of="2020-01-01")
    with pytest.raises(InputError, match="names no version of a table of Silver"):
        here.plan(here.champion(), as_of="gold_things@3")


def test_a_condition_chooses_among_the_tickets_and_reaches_nothing_else(
    place: Callable[[], Any],
) -> None:
    here = place()
    where = "day >= '2026-01-05' and source_channel = 'email' -- no more"
    done = here.do(here.plan(here.champion("7"), where=where))
    days = here.rows(CLASSIFICATIONS_SIDE)["day"]
    assert pc.min(days).as_py().isoformat() == "2026-01-05"
    assert 0 < done.tickets < TICKETS
    for unwelcome, reason in [
        ("ticket_id IN (SELECT ticket_id FROM silver.messages)", "it reads"),
        ("no_such_column = 1", "no_such_column"),
        ("1 = 1) UNION SELECT file FROM glob('/*') WHERE (true", "refused"),
        ("1 = ", "SQL"),
    ]:
        with pytest.raises(InputError, match=reason):
            here.do(here.plan(here.champion("8"), where=unwelcome), hours=3)
        left = unfinished(here.kit.NORTE, here.ports)
        assert left is None


def test_a_second_reenrichment_of_the_same_adds_nothing(place: Callable[[], Any]) -> None:
    here = place()
    first = here.do(here.plan(here.champion("7")))
    again = here.do(here.plan(here.champion("7")), hours=2)
    assert (again.tickets, again.there, again.over) == (0, first.tickets, True)
    assert len(here.rows(CLASSIFICATIONS_SIDE)) == 2 * first.tickets


class KilledError(Exception):
    """Stands for the end of a process."""


def _dies_at(number: int) -> Callable[[str], None]:
    left = [number]

    def on_step(place: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KilledError(place)

    return on_step


def _content(here: Any, contract: Contract) -> str:
    return content_of(here.rows(contract)).digest


def test_killed_anywhere_it_goes_on_and_leaves_what_an_unkilled_one_leaves(
    place: Callable[[], Any],
) -> None:
    whole, killed = place(), place()
    places: list[str] = []
    bundle = whole.champion("7")
    whole.do(whole.plan(bundle, publish=True), on_step=places.append)
    work = begin(
        killed.plan(bundle, publish=True),
        killed.kit.NORTE,
        killed.ports,
        at=killed.kit.SECOND + timedelta(hours=1),
    )
    for number in range(1, len(places) + 1):
        try:
            carry_out(work, killed.ports, ENGINE, on_step=_dies_at(number))
        except KilledError:
            left = unfinished(killed.kit.NORTE, killed.ports)
            assert left is not None
            work = left
        else:
            break
    assert number > 15
    for contract in (CLASSIFICATIONS_SIDE, CLASSIFICATIONS, *GOLD):
        assert _content(killed, contract) == _content(whole, contract), contract
    assert unfinished(killed.kit.NORTE, killed.ports) is None


def test_one_two_and_four_workers_write_the_same_bytes(
    place: Callable[[], Any], workers: Any, tmp_path: Path
) -> None:
    registry, tasks, bytes_of = MemoryRegistry(), place().kit.tasks(), {}
    words = [word for line in place().kit.seeded_lines(7, TICKETS) for word in line.split()]
    register_embedding_model(registry, write_tiny_model(tmp_path / "tiny", words))
    for task in tasks:
        register_baseline(registry, place().kit.NORTE, task)
        register_zero_shot_prompt(registry, place().kit.NORTE, task)
    bundle = replace(bundle_of_aliases(tasks, registry), seed=1)
    types = bundle.tasks[0]
    read = replace(types, champion=bundle.embedding, champion_prompt=types.zero_shot)
    bundle = replace(bundle, tasks=(read, *bundle.tasks[1:]))
    for count in (1, 2, 4):
        workers.scale(count)
        workers.wait_for_workers(count)
        here, cluster = place(), DaskCluster(workers.scheduler_address)
        models = ModelSteps(embed=embed_step, classify=classify_step)
        ports = replace(here.ports, registry=registry, models=models, cluster=cluster)
        work = begin(here.plan(bundle), here.kit.NORTE, ports, at=here.kit.THIRD)
        assert carry_out(work, ports, ENGINE).over
        cluster.close()
        folder = here.lake / "norte" / "silver" / "classifications_side"
        files = sorted(folder.rglob("*.parquet"))
        bytes_of[count] = [(str(f.relative_to(folder)), f.read_bytes()) for f in files]
    assert len(bytes_of[1]) > 5
    assert bytes_of[1] == bytes_of[2] == bytes_of[4]


def test_a_spent_budget_stops_within_a_batch_and_the_next_attempt_goes_on(
    place: Callable[[], Any],
) -> None:
    here, whole = place(), place()
    bundle = here.champion("7")
    whole.do(whole.plan(bundle))
    clock = iter(range(10_000))
    done = here.do(here.plan(bundle), budget=Budget(seconds=3, clock=lambda: float(next(clock))))
    assert (done.over, 0 < done.done < done.tickets) == (False, True)
    assert len(here.rows(CLASSIFICATIONS_SIDE)) == 0
    with pytest.raises(InputError, match="is not over"):
        here.do(here.plan(here.champion("8")), hours=4)
    left = unfinished(here.kit.NORTE, here.ports)
    assert left is not None
    assert carry_out(left, here.ports, ENGINE).over
    assert _content(here, CLASSIFICATIONS_SIDE) == _content(whole, CLASSIFICATIONS_SIDE)
    assert sorted(here.asked) == sorted(whole.asked)


def test_published_answers_are_a_run_of_their_own_and_move_gold_as_the_diff_said(
    place: Callable[[], Any],
) -> None:
    here = place()
    tenant, ports = here.kit.NORTE, here.ports
    before, kept = here.figures(), here.rows(CLASSIFICATIONS)
    old, new = here.champion(), here.champion("7")
    here.do(here.plan(new))
    sides = [answers_to(here.plan(bundle), tenant, ports, ENGINE) for bundle in (old, new)]
    assert sides[0] is not None
    assert sides[1] is not None
    labels = ports.store.head(LABELS.table, tenant)
    view = read_silver(
        ports.log.recent(tenant)[0].run,
        ports.store,
        labels_at=None if labels is None else labels.version,
    )
    predicted = {
        move.table: move
        for move in gold_moves(view, sides[0], sides[1], ports.log.recent(tenant)[0].run)
    }
    here.asked.clear()
    done = here.do(here.plan(new, publish=True), hours=2)
    assert here.asked == []
    rows = here.rows(CLASSIFICATIONS)
    own = rows.filter(pc.equal(rows["run_id"], done.run.run_id))
    assert len(own) == 2 * done.tickets
    assert len(rows) == len(kept) + len(own)
    after = here.figures()
    moved = {move.table: move for move in compare_figures(before, after)}
    for table in ("gold.kpi_volume_daily", "gold.kpi_type_daily", "gold.kpi_backlog_daily"):
        assert moved[table] == predicted[table]
    with psycopg.connect(here.url) as connection:
        served = connection.execute("SELECT DISTINCT run_id FROM gold.kpi_volume_daily").fetchall()
    assert served == [(done.run.run_id,)]
    back = here.do(here.plan(old, publish=True), hours=3)
    assert back.over
    still = {move.table for move in compare_figures(before, here.figures())}
    assert still <= {f"gold.{KPI_REVIEW_DAILY.table.entity}"}


def test_a_number_that_was_published_leads_to_its_answers_and_to_the_lines_they_read(
    place: Callable[[], Any],
) -> None:
    here = place()
    done = here.do(here.plan(here.champion("7"), publish=True))
    ports = here.ports
    walked = LineagePorts(ports.store, ports.files, ports.landings, ports.log, ports.postgres)
    found = explain(Question("gold.kpi_volume_daily", date(2026, 1, 5)), here.kit.NORTE, walked)
    assert found.run_id == done.run.run_id
    assert sum(number.value for number in found.numbers) == len(found.tickets) > 0
    for trace in found.tickets.values():
        newest = [answer for answer in trace.answers if answer.run_id == done.run.run_id]
        assert {answer.model for answer in newest} <= {"norte.tipo/7", "norte.prioridad/7"}
        assert {answer.read_event for answer in newest} <= {
            event.event_id for event in trace.events
        }


def test_publishing_waits_for_an_open_run_and_then_goes_on(place: Callable[[], Any]) -> None:
    here = place()
    tenant, ports = here.kit.NORTE, here.ports
    lines = here.kit.seeded_lines(8, 3)
    here.kit.land(
        ports, here.kit.write_lines(here.lake.parent / "more.jsonl", lines), here.kit.THIRD
    )
    run_bronze(tenant, here.kit.tasks(), ports, at=here.kit.THIRD)
    with pytest.raises(InputError, match="is open; end it first"):
        here.do(here.plan(here.champion("7"), publish=True))
    open_run = ports.log.unfinished(tenant, "run")
    assert open_run is not None
    ports.log.finish(open_run.run, RunStatus.FAILED, error="given up")
    left = unfinished(tenant, ports)
    assert left is not None
    assert carry_out(left, ports, ENGINE).over


def test_a_task_the_bundle_does_not_answer_is_refused_by_name(place: Callable[[], Any]) -> None:
    here = place()
    with pytest.raises(InputError, match="has no task 'tono': tipo, prioridad"):
        here.plan(here.champion(), tasks=("tono",))
