"""What a line did to Gold is what changes in Gold where the line is not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from lakehouse.control.tenants import TenantDirectory
from lakehouse.tenancy import TenantContext
from pipelines.gold import KPIS
from pipelines.ingest import RawStore, ingest
from pipelines.lineage_forward import Effect, Footprint, follow
from pipelines.lineage_walk import LineagePorts
from pipelines.run import RunPorts, run_tenant
from pipelines.source_files import SourceFile

Numbers = dict[tuple[Any, ...], int]
"""Table and key, and what the table counts there."""


@dataclass(frozen=True)
class Town:
    """A tenant whose lines were taken to Gold in one run."""

    ports: RunPorts
    tenant: TenantContext

    def numbers(self) -> Numbers:
        found = {}
        for contract, kpi in KPIS.items():
            rows = self.ports.store.scan(contract.table, self.tenant)
            for row in [] if rows is None else rows.to_pylist():
                key = (str(contract.table), *(row[name] for name in contract.key))
                found[key] = row[kpi.measure]
        return found

    def follow(self, wanted: str) -> Footprint:
        ports = self.ports
        readers = LineagePorts(ports.store, ports.files, ports.landings, ports.log, ports.postgres)
        return follow(wanted, self.tenant, readers)


Build = Callable[[Sequence[str]], Town]


@pytest.fixture(scope="module")
def build(
    killable: ModuleType, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Build:
    def built(lines: Sequence[str]) -> Town:
        folder = tmp_path_factory.mktemp("pueblo")
        ports: RunPorts = killable.ports_at(postgres_url, folder / "lake")
        tenant = TenantContext.parse(f"f{uuid4().hex[:10]}")
        TenantDirectory(ports.postgres).create(tenant, name="Pueblo")
        killable.promote_aliases(tenant, killable.tasks(), ports)
        file = SourceFile.find(killable.write_lines(folder / "a.jsonl", lines))
        raw = RawStore(ports.files, ports.landings)
        ingest(file, tenant, source="sim", mapping=None, raw=raw, at=killable.FIRST)
        run_tenant(tenant, killable.tasks(), ports, at=killable.FIRST)
        return Town(ports, tenant)

    return built


def answered(killable: ModuleType, ticket: str, day: int) -> str:
    ts, name = f"2026-01-{day:02d}T15:00:00Z", f"{ticket}/a{day}"
    said = {"role": "agent", "text": "Ya lo estamos revisando"}
    line: str = killable.event("MESSAGE_ADDED", ticket, name, ts, **said)
    return line


@pytest.fixture(scope="module")
def lines(killable: ModuleType) -> dict[str, str]:
    """Requests of one kind and region on many days; two are answered, one is closed."""
    way = ["RECEIVED", "RADICATED", "CLASSIFIED", "ASSIGNED", "IN_PROGRESS", "RESPONDED", "CLOSED"]
    steps = pairwise(way)
    moves = [
        killable.moved("z1", before, after, 2 + day) for day, (before, after) in enumerate(steps)
    ]
    others = [
        line
        for day in range(1, 10)
        for line in (
            killable.created(f"z{day}", day, pqrs_type="Q"),
            killable.said(f"z{day}", "No llegó la factura", day),
        )
    ]
    answers = [answered(killable, "z2", day) for day in (4, 6)] + [answered(killable, "z3", 6)]
    return {json.loads(line)["event_id"]: line for line in [*others, *moves, *answers]}


@pytest.fixture(scope="module")
def whole(build: Build, lines: dict[str, str]) -> Town:
    return build(list(lines.values()))


@pytest.mark.parametrize(
    ("name", "out_of"),
    [
        ("z1/CLOSED/7", {"gold_kpi_backlog_daily"}),
        ("z1/CLASSIFIED/3", {"gold_kpi_backlog_daily"}),
        ("z2/a4", {"gold_kpi_first_response_daily"}),
        ("z2/a6", set()),
    ],
)
def test_numbers_a_line_took_its_ticket_out_of_are_those_that_grow_without_it(
    build: Build,
    whole: Town,
    lines: dict[str, str],
    killable: ModuleType,
    name: str,
    out_of: set[str],
) -> None:
    line = killable.uid(name)
    found = whole.follow(line).numbers
    before = whole.numbers()
    after = build([text for event, text in lines.items() if event != line]).numbers()
    days = {(table, day) for table, day, *_ in before}
    grown = {key for key, n in after.items() if n > before.get(key, 0) and key[:2] in days}
    shrunk = {key for key, n in before.items() if n > after.get(key, 0)}

    told = {effect: [n for n in found if n.effect is effect] for effect in Effect}
    taken_out = {(n.table, *n.key.values()): n.value for n in told[Effect.TAKEN_OUT]}
    assert set(taken_out) == grown
    assert {table for table, *_ in taken_out} == out_of
    assert taken_out == {key: before.get(key, 0) for key in grown}
    assert {(n.table, *n.key.values()) for n in told[Effect.COUNTED]} >= shrunk


def test_a_ticket_as_a_whole_takes_itself_out_of_nothing(whole: Town, killable: ModuleType) -> None:
    effects = {number.effect for number in whole.follow(killable.uid("z1")).numbers}
    assert effects == {Effect.COUNTED}
