"""A layer is computed again for some days: what is missing comes back, and nothing else happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

from contracts.tables import BRONZE, CLASSIFICATIONS, GOLD, SILVER
from lakehouse.control.backfills import BackfillLog
from lakehouse.control.runs import RunStatus
from lakehouse.data.content import content_of
from lakehouse.data.tables import Layer
from lakehouse.errors import InputError
from pipelines.alone import alone
from pipelines.answered import standing_answers
from pipelines.backfill import Backfill, Chunk, Days, carry_out, plan_backfill, unfinished
from pipelines.lineage_runs import counted_from, run_lineage
from pipelines.lineage_walk import LineagePorts, Walk
from pipelines.run import RunPorts, run_bronze, run_tenant

ALL = Days(date(2026, 1, 1), date(2026, 1, 31))
STRUCTURE = [c for c in SILVER if c.table.entity in ("tickets", "messages", "status_events")]


@pytest.fixture
def ports(
    killable: ModuleType, server: str, prepared: Path, request: pytest.FixtureRequest
) -> RunPorts:
    """A lake of its own in which two runs have ended."""
    url, lake = killable.copied(server, prepared, request.node.name[:60])
    killable.second_run(url, lake)
    found: RunPorts = killable.ports_at(url, lake)
    return found


def planned(
    ports: RunPorts,
    killable: ModuleType,
    layer: Layer,
    days: Days = ALL,
    hours: int = 0,
    *,
    enrich: bool = False,
) -> Backfill:
    at = killable.THIRD.replace(hour=13 + hours)
    tasks = killable.tasks() if enrich else None
    return plan_backfill(killable.NORTE, layer, days, ports, killable.scratch, at=at, enrich=tasks)


def content(
    ports: RunPorts, killable: ModuleType, but: tuple[str, ...] = ("run_id",)
) -> dict[str, str]:
    """Every table's content, whoever wrote it."""
    found = {}
    for contract in (*BRONZE, *SILVER):
        rows = ports.store.scan(contract.table, killable.NORTE)
        if rows is not None:
            there = [name for name in but if name in rows.column_names]
            found[str(contract.table)] = content_of(rows, but=there).digest
    return found


def answers(ports: RunPorts, killable: ModuleType) -> list[tuple[str, str, str]]:
    """Ticket, task and version of every champion's answer, sorted."""
    columns = ["ticket_id", "task", "tier", "model_version"]
    rows = ports.store.scan(CLASSIFICATIONS.table, killable.NORTE, columns=columns)
    assert rows is not None
    champions = [row for row in rows.to_pylist() if row["tier"] == "champion"]
    return sorted((row["ticket_id"], row["task"], row["model_version"]) for row in champions)


def new(backfill: Backfill) -> dict[str, int]:
    total: dict[str, int] = {}
    for chunk in backfill.plan.chunks:
        for table, rows in chunk.new.items():
            total[table] = total.get(table, 0) + rows
    return total


@pytest.mark.parametrize("layer", [Layer.BRONZE, Layer.SILVER, Layer.GOLD])
def test_where_nothing_is_missing_nothing_is_planned(
    killable: ModuleType, ports: RunPorts, layer: Layer
) -> None:
    before = killable.tables(ports.postgres._url, killable.lake_of(ports))
    assert planned(ports, killable, layer).plan.chunks == ()
    assert killable.tables(ports.postgres._url, killable.lake_of(ports)) == before


def test_lost_rows_of_bronze_and_silver_come_back_exactly_and_once(
    killable: ModuleType, ports: RunPorts
) -> None:
    before = content(ports, killable)
    killable.lose_newest_version(ports, "bronze", "pqrs_events")
    killable.lose_newest_version(ports, "bronze", "quarantine")
    for contract in STRUCTURE:
        killable.lose_newest_version(ports, "silver", contract.table.entity)
    assert content(ports, killable) != before
    bronze = planned(ports, killable, Layer.BRONZE)
    assert new(bronze).keys() == {"bronze_pqrs_events", "bronze_quarantine"}
    done = carry_out(bronze, ports, killable.scratch)
    assert done.over
    silver = planned(ports, killable, Layer.SILVER, hours=1)
    assert {str(contract.table) for contract in STRUCTURE} <= new(silver).keys()
    carry_out(silver, ports, killable.scratch)
    assert content(ports, killable) == before
    assert planned(ports, killable, Layer.BRONZE, hours=2).plan.chunks == ()
    assert planned(ports, killable, Layer.SILVER, hours=2).plan.chunks == ()
    record = ports.log.find(killable.NORTE, bronze.run.run_id)
    assert record is not None
    assert record.status is RunStatus.COMPLETED
    assert (record.manifest or {})["counts"] == new(bronze)


def test_only_the_days_asked_for_come_back(killable: ModuleType, ports: RunPorts) -> None:
    killable.lose_newest_version(ports, "bronze", "pqrs_events")
    some = Days(date(2026, 1, 4), date(2026, 1, 4))
    carry_out(planned(ports, killable, Layer.BRONZE, some), ports, killable.scratch)
    assert planned(ports, killable, Layer.BRONZE, some, hours=1).plan.chunks == ()
    rest = new(planned(ports, killable, Layer.BRONZE, hours=1))
    assert rest["bronze_pqrs_events"] > 0


def test_figures_that_are_not_what_silver_says_are_counted_again(
    killable: ModuleType, ports: RunPorts
) -> None:
    killable.lose_newest_version(ports, "silver", "tickets")
    gold = planned(ports, killable, Layer.GOLD)
    assert "gold_kpi_volume_daily" in new(gold)
    carry_out(gold, ports, killable.scratch)
    assert planned(ports, killable, Layer.GOLD, hours=1).plan.chunks == ()
    with ports.postgres.connect(killable.NORTE) as connection:
        rows = connection.execute("SELECT DISTINCT run_id FROM gold.kpi_volume_daily").fetchall()
    assert rows == [(gold.run.run_id,)]
    assert str(GOLD[0].table) in new(gold)


def test_a_backfill_killed_at_any_write_and_resumed_adds_everything_once(
    killable: ModuleType, server: str, prepared: Path, ports: RunPorts
) -> None:
    process = killable.program(server, prepared, "killed-backfill", "--backfill", "bronze")
    assert process.communicate()[0] == "killed 4 times\n"
    after = killable.ports_at(f"{server}/killed-backfill", prepared / "killed-backfill" / "lake")
    assert unfinished(killable.NORTE, after.postgres) is None
    assert content(after, killable) == content(ports, killable)


def test_a_backfill_told_to_pause_stops_before_its_next_chunk_and_goes_on_later(
    killable: ModuleType, ports: RunPorts
) -> None:
    before = content(ports, killable)
    killable.lose_newest_version(ports, "bronze", "pqrs_events")
    killable.lose_newest_version(ports, "bronze", "quarantine")
    begun = planned(ports, killable, Layer.BRONZE)
    log = BackfillLog(ports.postgres)

    def pause(place: str) -> None:
        if place == "before advance/0":
            log.pause(killable.NORTE, begun.run.run_id, paused=True)

    stopped = carry_out(begun, ports, killable.scratch, on_step=pause)
    assert (stopped.paused, stopped.over, stopped.chunks_done) == (True, False, 1)
    left = unfinished(killable.NORTE, ports.postgres)
    assert left == stopped
    log.pause(killable.NORTE, begun.run.run_id, paused=False)
    assert carry_out(left, ports, killable.scratch).over
    assert content(ports, killable) == before


def test_after_a_promotion_the_new_bundle_answers_once_and_what_was_answered_stays(
    killable: ModuleType, ports: RunPorts
) -> None:
    before = answers(ports, killable)
    assert planned(ports, killable, Layer.SILVER, enrich=True).plan.chunks == ()
    ports = killable.promoted(ports)
    assert planned(ports, killable, Layer.SILVER).plan.chunks == ()
    begun = planned(ports, killable, Layer.SILVER, enrich=True)
    assert {chunk.name for chunk in begun.plan.chunks} == {
        f"answers/2026-01-{day:02d}" for day in (1, 2, 3, 4, 11)
    }
    done = carry_out(begun, ports, killable.scratch)
    again = [(ticket, task, "3") for ticket, task, _ in before]
    assert answers(ports, killable) == sorted([*before, *again])
    record = ports.log.find(killable.NORTE, done.run.run_id)
    assert record is not None
    manifest = record.manifest or {}
    assert {name: count for name, count in manifest["counts"].items() if count} == new(begun)
    assert manifest["pins"]["tipo.champion"] == "models:/norte.tipo/3"
    assert planned(ports, killable, Layer.SILVER, hours=1, enrich=True).plan.chunks == ()
    answered = standing_answers("tipo", killable.NORTE, ports.store)
    assert set(answered["model_version"].to_pylist()) == {"3"}
    figures = new(planned(ports, killable, Layer.GOLD, hours=1))
    assert "gold_kpi_mlops_daily" in figures


def test_only_tickets_of_the_days_asked_for_are_answered(
    killable: ModuleType, ports: RunPorts
) -> None:
    ports, some = killable.promoted(ports), Days(date(2026, 1, 4), date(2026, 1, 4))
    begun = planned(ports, killable, Layer.SILVER, some, enrich=True)
    assert [(chunk.name, chunk.rows) for chunk in begun.plan.chunks] == [("answers/2026-01-04", 2)]
    before = answers(ports, killable)
    carry_out(begun, ports, killable.scratch)
    fresh = [row for row in answers(ports, killable) if row not in before]
    assert {ticket for ticket, _, _ in fresh} == {killable.uid("t4"), killable.uid("t5")}


def test_lost_tickets_and_lost_answers_come_back_together(
    killable: ModuleType, ports: RunPorts
) -> None:
    but = ("run_id", "inference_timestamp")
    before, asked = content(ports, killable, but), answers(ports, killable)
    for entity in ("tickets", "messages", "embeddings", "classifications"):
        killable.lose_newest_version(ports, "silver", entity)
    begun = planned(ports, killable, Layer.SILVER, enrich=True)
    carry_out(begun, ports, killable.scratch)
    assert answers(ports, killable) == asked
    assert content(ports, killable, but) == before


def test_what_a_newer_run_answered_meanwhile_is_left_to_it(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    ports = killable.ports_at(*killable.copied(server, prepared, "newer-run"))
    begun = planned(killable.promoted(ports), killable, Layer.SILVER, enrich=True)
    killable.promote_aliases(killable.NORTE, killable.tasks(), ports)
    run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.THIRD.replace(hour=20))
    by_run = answers(ports, killable)
    busy = Chunk("answers/2026-01-04", 2, {})
    plan = replace(begun.plan, chunks=(*begun.plan.chunks, busy))
    assert carry_out(replace(begun, plan=plan), ports, killable.scratch).over
    fresh = [row for row in answers(ports, killable) if row not in by_run]
    assert {ticket for ticket, _, _ in fresh} == {killable.uid("t1")}


def test_answers_killed_at_any_write_and_resumed_are_there_once(
    killable: ModuleType, server: str, prepared: Path, ports: RunPorts
) -> None:
    process = killable.program(server, prepared, "killed-answers", "--backfill", "silver")
    said = process.communicate()[0]
    deaths = int(said.removeprefix("killed ").removesuffix(" times\n"))
    after = killable.ports_at(f"{server}/killed-answers", prepared / "killed-answers" / "lake")
    assert unfinished(killable.NORTE, after.postgres) is None
    ports = killable.promoted(ports)
    killable.lose_newest_version(ports, "silver", "messages")
    tasks = killable.tasks()
    whole = plan_backfill(
        killable.NORTE, Layer.SILVER, ALL, ports, killable.scratch, at=killable.THIRD, enrich=tasks
    )
    carry_out(whole, ports, killable.scratch)
    found = [killable.tables(p.postgres._url, killable.lake_of(p)) for p in (after, ports)]
    for tables in found:
        tables.pop("meta.etl_runs")
    assert found[0] == found[1]
    assert deaths >= 8


def test_lineage_names_the_answers_a_backfill_brought_and_what_they_read(
    killable: ModuleType, ports: RunPorts
) -> None:
    ports = killable.promoted(ports)
    done = carry_out(planned(ports, killable, Layer.SILVER, enrich=True), ports, killable.scratch)
    record = ports.log.find(killable.NORTE, done.run.run_id)
    assert record is not None
    steps = {(edge.step, edge.target) for edge in run_lineage(record).edges}
    assert ("classifications", "silver_classifications") in steps
    reader = LineagePorts(ports.store, ports.files, ports.landings, ports.log, ports.postgres)
    heads = {**counted_from(record, ports.store), **(record.manifest or {})["outputs"]}
    walk = Walk(killable.NORTE, heads, reader)
    (*_, newest) = walk.answers([killable.uid("t1")])
    assert (newest.run_id, newest.read_event) == (done.run.run_id, killable.uid("t1/m"))


def test_models_answer_in_silver_alone(killable: ModuleType, ports: RunPorts) -> None:
    with pytest.raises(InputError, match="--layer silver"):
        planned(ports, killable, Layer.BRONZE, enrich=True)


def test_an_open_run_is_ended_first(killable: ModuleType, server: str, prepared: Path) -> None:
    ports = killable.ports_at(*killable.copied(server, prepared, "open-run"))
    run_bronze(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    with pytest.raises(InputError, match="is open; end it first"), alone(killable.NORTE, ports):
        pass
    run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    with alone(killable.NORTE, ports):
        assert planned(ports, killable, Layer.BRONZE).plan.chunks == ()


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InputError, match="2026-01-02 to 2026-01-01"):
        Days(date(2026, 1, 2), date(2026, 1, 1))
