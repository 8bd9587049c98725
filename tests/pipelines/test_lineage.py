"""Lineage walked both ways over real tables, after two runs, a human label and a recount."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from contracts.contract import Contract
from contracts.tables import EMBEDDINGS, GOLD, KPI_MLOPS_DAILY, KPI_VOLUME_DAILY, LABELS, MESSAGES
from lakehouse.control.runs import RunRecord, RunStatus
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.errors import InputError
from lakehouse.run import RunContext, RunId
from pipelines import lineage
from pipelines.dataflow import FLOWS
from pipelines.gold import KPIS
from pipelines.lineage import Explanation, LineageBrokenError, Question, TicketTrace, explain
from pipelines.lineage_forward import Fate, Footprint, follow
from pipelines.lineage_runs import counted_from, run_lineage
from pipelines.lineage_walk import LineagePorts, RawLine
from pipelines.run import RunPorts, Step, run_gold
from pipelines.upkeep import Upkeep

FIRST_DAY = date(2026, 1, 1)


@dataclass(frozen=True)
class Lake:
    """A small lake after all that happened to it, and the runs by what they did."""

    killable: ModuleType
    ports: RunPorts
    folder: Path
    runs: dict[str, RunId]

    @property
    def lineage(self) -> LineagePorts:
        ports = self.ports
        return LineagePorts(ports.store, ports.files, ports.landings, ports.log, ports.postgres)

    def explain(self, day: date, run: str | None = None, **where: str) -> Explanation:
        question = Question("gold.kpi_volume_daily", day, where, run and self.runs[run])
        return explain(question, self.killable.NORTE, self.lineage)

    def follow(self, wanted: str, *, history: bool = False) -> Footprint:
        return follow(wanted, self.killable.NORTE, self.lineage, history=history)

    def rows(self, contract: Contract, run: str) -> list[dict[str, Any]]:
        found = self.ports.store.scan(contract.table, self.killable.NORTE, run_id=self.runs[run])
        rows: list[dict[str, Any]] = [] if found is None else found.to_pylist()
        return rows

    def raw_path(self, name: str) -> str:
        records = self.ports.log.recent(self.killable.NORTE)
        digests = [digest for record in records for digest in record.plan.get("landings", ())]
        found = self.ports.landings.named(self.killable.NORTE, digests)
        return next(landing.path for landing in found if landing.file_name == name)


@pytest.fixture(scope="module")
def lake(killable: ModuleType, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    server = postgres_url.rsplit("/", 1)[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE lineage")
    folder = tmp_path_factory.mktemp("linaje con espacio")
    url = f"{server}/lineage"
    killable.prepare(url, folder)
    second = killable.second_run(url, folder / "lake")
    ports: RunPorts = killable.ports_at(url, folder / "lake")
    labelled = label(killable, ports)
    recount = run_gold(killable.NORTE, ports, at=killable.THIRD)
    runs = {"second": second.run.run_id, "labels": labelled, "recount": recount.run.run_id}
    first = [r for r in ports.log.recent(killable.NORTE) if r.run.run_id not in runs.values()]
    return Lake(killable, ports, folder, {**runs, "first": first[0].run.run_id})


def label(killable: ModuleType, ports: RunPorts) -> RunId:
    """Let a person say of t1 what no model said: a suggestion."""
    run = RunContext.begin(killable.NORTE, kind="review-pull", at=killable.THIRD)
    row = {
        "tenant_id": "norte",
        "run_id": run.run_id,
        "source": "sim",
        "day": FIRST_DAY,
        "label_id": "l1",
        "ticket_id": killable.uid("t1"),
        "task": "tipo",
        "label": "sugerencia",
        "reviewer": "norte-revisor",
        "reason": "audit",
        "suggested_label": "queja",
        "suggested_score": 0.5,
        "model_name": "norte.tipo",
        "model_version": "2",
        "guideline_version": "1",
        "responded_at": killable.THIRD,
    }
    ports.log.start(run, "review-pull", {})
    ports.store.append(LABELS.table, pa.Table.from_pylist([row], schema=LABELS.schema), run)
    return run.run_id


def content(raw: RawLine) -> dict[str, Any]:
    """Parse a line of Raw as `sed -n` would find it."""
    found: dict[str, Any] = json.loads(Path(raw.address).read_text().splitlines()[raw.line - 1])
    return found


@pytest.mark.parametrize(
    ("run", "tables"),
    [("first", [KPI_VOLUME_DAILY]), ("second", list(KPIS)), ("recount", [KPI_VOLUME_DAILY])],
)
def test_every_number_of_every_run_leads_to_the_lines_that_hold_its_tickets(
    lake: Lake, run: str, tables: list[Contract]
) -> None:
    for contract in tables:
        kpi = KPIS[contract]
        counted = {
            tuple(row[name] for name in contract.key): row[kpi.measure]
            for row in lake.rows(contract, run)
        }
        explained: dict[tuple[Any, ...], int] = {}
        for day in sorted({key[0] for key in counted}):
            question = Question(str(contract.table), day, {}, lake.runs[run])
            found = explain(question, lake.killable.NORTE, lake.lineage)
            explained |= {tuple(n.key.values()): len(n.tickets) for n in found.numbers}
            assert {ticket for n in found.numbers for ticket in n.tickets} == set(found.tickets)
            for trace in found.tickets.values():
                assert_leads_to_its_lines(trace)
        assert explained == counted


def assert_leads_to_its_lines(trace: TicketTrace) -> None:
    assert trace.events
    for event in trace.events:
        assert event.raw is not None
        line = content(event.raw)
        assert (line["event_id"], line["ticket_id"]) == (event.event_id, trace.ticket_id)
        assert line["event_type"] == event.event_type


def test_a_human_label_moves_a_number_and_the_older_run_keeps_its_own(lake: Lake) -> None:
    now = lake.explain(FIRST_DAY, pqrs_type="sugerencia")
    assert now.run_id == lake.runs["recount"]
    trace = now.tickets[lake.killable.uid("t1")]
    (label,) = [label for label in trace.labels if label.stands]
    assert (label.task, label.label, label.model) == ("tipo", "sugerencia", "norte.tipo/2")
    before = lake.explain(FIRST_DAY, "second")
    (number,) = before.numbers
    assert number.key["pqrs_type"] != "sugerencia"
    assert before.tickets[lake.killable.uid("t1")].labels == ()
    assert before.counted_from["silver_labels"] is None


def test_the_way_names_exact_model_prompt_and_bundle_and_the_message_that_was_read(
    lake: Lake,
) -> None:
    found = lake.explain(FIRST_DAY)
    (trace,) = found.tickets.values()
    (tipo,) = [answer for answer in trace.answers if answer.task == "tipo"]
    assert (tipo.model, tipo.run_id) == ("norte.tipo/2", lake.runs["first"])
    assert tipo.prompt == "none/none"
    record = lake.ports.log.find(lake.killable.NORTE, lake.runs["first"])
    assert record is not None
    assert record.manifest is not None
    assert tipo.bundle_id == record.manifest["pins"]["bundle"]
    assert tipo.read_event == lake.killable.uid("t1/m")


def test_the_message_said_to_be_read_is_the_one_whose_digest_the_vector_carries(
    lake: Lake,
) -> None:
    for run in ("first", "second"):
        texts = {
            row["event_id"]: hashlib.sha256(row["text"].encode()).hexdigest()
            for earlier in ("first", "second")
            for row in lake.rows(MESSAGES, earlier)
        }
        digests = {row["ticket_id"]: row["text_sha256"] for row in lake.rows(EMBEDDINGS, run)}
        for ticket, digest in digests.items():
            read = {a.read_event for a in lake.follow(ticket).answers if a.run_id == lake.runs[run]}
            assert [texts[event] for event in read if event is not None] == [digest]


def test_a_ticket_whose_message_came_in_a_later_run_leads_to_both_files(lake: Lake) -> None:
    found = lake.explain(date(2026, 1, 2))
    trace = found.tickets[lake.killable.uid("t2")]
    assert {event.silver_run for event in trace.events} == {
        lake.runs["first"],
        lake.runs["second"],
    }
    assert len({event.raw.path for event in trace.events if event.raw}) == 2


def test_a_line_leads_to_its_rows_and_to_every_number_now_and_before(lake: Lake) -> None:
    path = lake.raw_path("first.jsonl")
    found = lake.follow(f"{path}:1", history=True)
    assert found.fate is Fate.ROW
    assert [event.event_id for event in found.events] == [lake.killable.uid("t1/c")]
    assert [label.label_id for label in found.labels] == ["l1"]
    assert {vector.ticket_id for vector in found.vectors} == {lake.killable.uid("t1")}
    volumes = [n for n in found.numbers if n.table == str(KPI_VOLUME_DAILY.table)]
    assert [(n.run_id, n.served) for n in volumes] == [
        (lake.runs["recount"], True),
        (lake.runs["second"], False),
        (lake.runs["first"], False),
    ]
    assert volumes[0].key["pqrs_type"] == "sugerencia"
    assert [n.run_id for n in lake.follow(f"{path}:1").numbers if n.table == volumes[0].table] == [
        lake.runs["recount"]
    ]


def test_forward_and_backward_agree_on_every_served_number(lake: Lake) -> None:
    forward = {
        (n.table, *n.key.values(), ticket)
        for ticket in {row["ticket_id"] for row in lake.rows(EMBEDDINGS, "second")}
        | {lake.killable.uid(name) for name in ("t1", "t6")}
        for n in lake.follow(ticket).numbers
    }
    backward = {
        (str(contract.table), *number.key.values(), ticket)
        for contract in KPIS
        for day in {row["day"] for row in lake.rows(contract, "recount")}
        for number in explain(
            Question(str(contract.table), day), lake.killable.NORTE, lake.lineage
        ).numbers
        for ticket in number.tickets
    }
    assert forward == backward


def test_the_address_on_the_disk_names_the_same_line(lake: Lake) -> None:
    path = lake.raw_path("first.jsonl")
    address = lake.ports.files.address(lake.killable.NORTE, path)
    assert lake.follow(f"{address}:1").events == lake.follow(f"{path}:1").events
    with pytest.raises(InputError, match="is not in Raw of tenant 'norte'"):
        lake.follow(f"/otra/parte/{path}:1")


def test_a_message_no_model_read_touches_no_number_that_models_decide(lake: Lake) -> None:
    found = lake.follow(lake.killable.uid("t1/m2"))
    assert found.events[0].silver == "silver_messages"
    assert found.answers == ()
    assert {n.table for n in found.numbers} <= {
        str(contract.table) for contract, kpi in KPIS.items() if MESSAGES in kpi.reads
    }
    read = lake.follow(lake.killable.uid("t1/m"))
    assert str(KPI_VOLUME_DAILY.table) in {n.table for n in read.numbers}


def test_a_refused_line_is_in_quarantine_with_its_reason(lake: Lake) -> None:
    path = lake.raw_path("second.jsonl")
    reasons = {
        number: [refusal.reason for refusal in lake.follow(f"{path}:{number}").refusals]
        for number in (4, 12)
    }
    assert reasons == {4: ["duplicate event_id"], 12: ["the line is not one JSON object"]}
    assert lake.follow(f"{path}:12").fate is Fate.QUARANTINED


def test_a_change_of_state_that_broke_a_rule_says_which_and_counts_nowhere(lake: Lake) -> None:
    (event,) = lake.follow(lake.killable.uid("t1/CLOSED/5")).events
    assert (event.silver, event.silver_run) == ("silver_quarantine", lake.runs["second"])
    assert event.rule is not None
    assert lake.follow(event.event_id).numbers == ()


def test_a_line_that_waits_says_so_and_one_that_is_not_there_too(
    lake: Lake, tmp_path: Path
) -> None:
    killable = lake.killable
    lines = [killable.created("t9", 8), "", killable.created("t10", 8)]
    landed = killable.land(
        lake.ports, killable.write_lines(tmp_path / "x.jsonl", lines), killable.THIRD
    )
    path = landed.landing.path
    assert lake.follow(f"{path}:1").fate is Fate.WAITING
    assert lake.follow(f"{path}:2").fate is Fate.BLANK
    with pytest.raises(InputError, match="has 3 lines, there is no line 4"):
        lake.follow(f"{path}:4")
    with pytest.raises(InputError, match="no file of tenant 'norte' landed at"):
        lake.follow("nada.jsonl:1")
    with pytest.raises(InputError, match="neither FILE:LINE nor the id"):
        lake.follow("nadie")


def test_what_is_not_a_number_is_told_with_what_there_is(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="its days go from 2026-01-01 to"):
        lake.explain(date(2020, 1, 1))
    with pytest.raises(InputError, match=r"that day has pqrs_type: sugerencia"):
        lake.explain(FIRST_DAY, pqrs_type="tutela")
    with pytest.raises(InputError, match="has no key 'color'; its key is day, source_channel"):
        lake.explain(FIRST_DAY, color="rojo")
    with pytest.raises(InputError, match=r"is not a table of Gold; there are: gold\.kpi"):
        explain(Question("gold.nada", FIRST_DAY), lake.killable.NORTE, lake.lineage)
    with pytest.raises(InputError, match="has no run 'x'"):
        explain(Question("kpi_volume_daily", FIRST_DAY, {}, "x"), lake.killable.NORTE, lake.lineage)
    wrong = Question("kpi_mlops_daily", FIRST_DAY, {"task": "tipo"}, measure="mean_score")
    with pytest.raises(InputError, match="'mean_score' is no count of tickets; lineage follows"):
        explain(wrong, lake.killable.NORTE, lake.lineage)
    unexplained = Contract(TableRef(Layer.GOLD, "otra"), 1, pa.schema([]), ())
    monkeypatch.setattr(lineage, "GOLD", (*GOLD, unexplained))
    with pytest.raises(InputError, match=r"gold\.otra does not say which tickets"):
        explain(Question("gold.otra", FIRST_DAY), lake.killable.NORTE, lake.lineage)


def test_several_numbers_are_each_explained_and_the_open_keys_named(lake: Lake) -> None:
    day = date(2026, 1, 4)
    question = Question("kpi_type_daily", day, {"task": "tipo"}, lake.runs["second"])
    found = explain(question, lake.killable.NORTE, lake.lineage)
    labels = [number.key["label"] for number in found.numbers]
    assert found.open_keys == ({"label": labels} if len(labels) > 1 else {})
    whole = Question("kpi_type_daily", day, {}, lake.runs["second"])
    assert set(explain(whole, lake.killable.NORTE, lake.lineage).open_keys) == {"task", "label"}


def test_a_measure_that_counts_some_of_the_tickets_walks_those(lake: Lake) -> None:
    where = {"task": "tipo"}
    for measure in ("accepted", "review", "labelled"):
        question = Question("kpi_mlops_daily", FIRST_DAY, where, measure=measure)
        (number,) = explain(question, lake.killable.NORTE, lake.lineage).numbers
        (row,) = [
            r
            for r in lake.rows(KPI_MLOPS_DAILY, "recount")
            if r["day"] == FIRST_DAY and r["task"] == "tipo"
        ]
        assert number.value == row[measure] == len(number.tickets)


def test_a_number_whose_silver_is_gone_is_not_explained_with_other_rows(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "counted_from", lambda record, store: {})
    with pytest.raises(LineageBrokenError, match=r"says 1 for .* now gives 0"):
        lake.explain(FIRST_DAY)


def test_an_older_number_stays_explained_after_small_files_were_merged_and_swept(
    lake: Lake,
) -> None:
    before = lake.explain(FIRST_DAY, "first")
    root = LakeRoot(str(lake.folder / "lake"))
    keeper = Upkeep(lake.killable.NORTE, DeltaTableMaintenance(root), lake.ports.log)
    assert keeper.compact().merged_files
    keeper.vacuum(now=lake.killable.THIRD)
    assert lake.explain(FIRST_DAY, "first") == before
    assert lake.explain(FIRST_DAY, pqrs_type="sugerencia").numbers[0].value == 1


def test_a_limited_walk_counts_all_and_walks_some(lake: Lake) -> None:
    question = Question("kpi_backlog_daily", date(2026, 1, 4), {}, lake.runs["second"])
    found = explain(question, lake.killable.NORTE, lake.lineage, limit=1)
    assert sum(number.value for number in found.numbers) > len(found.tickets)


def test_a_runs_edges_lead_from_raw_to_gold_at_exact_versions(lake: Lake) -> None:
    record = lake.ports.log.find(lake.killable.NORTE, lake.runs["second"])
    assert record is not None
    assert record.manifest is not None
    found = run_lineage(record)
    edges = {(edge.source, edge.target): edge for edge in found.edges}
    assert edges["raw_pqrs", "bronze_pqrs_events"].step == "bronze"
    volume = edges["silver_tickets", "gold_kpi_volume_daily"]
    assert volume.source_version == record.manifest["outputs"]["silver_tickets"]
    assert volume.target_version == record.manifest["outputs"]["gold_kpi_volume_daily"]
    assert edges["silver_labels", "gold_kpi_volume_daily"].source_version is None
    assert len(found.files) == 2
    assert "bundle" in found.pins
    again = lake.ports.log.find(lake.killable.NORTE, lake.runs["recount"])
    assert again is not None
    assert {edge.step for edge in run_lineage(again).edges} == {"gold"}


def test_a_backfill_of_gold_counts_from_what_it_found(lake: Lake) -> None:
    run = RunContext.begin(lake.killable.NORTE, kind="backfill", at=lake.killable.THIRD)
    manifest = {"inputs": {"silver_tickets": 3}, "outputs": {"gold_kpi_volume_daily": 9}}
    record = RunRecord(run, "backfill", RunStatus.COMPLETED, {"layer": "gold"}, manifest)
    assert counted_from(record, lake.ports.store) == {"silver_tickets": 3}
    edges = {(edge.source, edge.target): edge for edge in run_lineage(record).edges}
    volume = edges["silver_tickets", "gold_kpi_volume_daily"]
    assert (volume.source_version, volume.target_version) == (3, 9)


def test_every_step_of_a_run_is_on_the_map() -> None:
    assert set(FLOWS) == {step.value for step in Step}
    assert set(FLOWS["gold"].writes) == set(GOLD)
