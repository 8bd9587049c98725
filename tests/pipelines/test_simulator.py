"""`plata simulate`: the same bytes, the domain's shares, texts that must be read, known faults."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.pqrs import Channel
from contracts.raw import decode_event
from contracts.tables import QUARANTINE
from lakehouse.control.landings import Landing
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.errors import InputError
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext
from pipelines.bronze import stage_landings
from pipelines.simulator.breaking import WAYS
from pipelines.simulator.config import Drift, Faults, Outage, Simulation, Spike, read_simulation
from pipelines.simulator.draws import Draws
from pipelines.simulator.fragments import fragments
from pipelines.simulator.histories import Histories
from pipelines.simulator.places import places
from pipelines.simulator.stream import Truth, simulate
from pipelines.simulator.working_time import BUSINESS_DAY_SECONDS, WorkingTime
from pipelines.steps import publish, unobserved

NORTE = TenantContext.parse("norte")
PINNED = "d096d397642572721cda5c9eebaf831f0178984b59e8710dc4665d315b67ea26"
"""SHA-256 of 5,000 events of the default plan with every fault. It changes only when what is
simulated is meant to change."""

NEXT = {
    "RECEIVED": {"RADICATED"},
    "RADICATED": {"CLASSIFIED"},
    "CLASSIFIED": {"ASSIGNED"},
    "ASSIGNED": {"IN_PROGRESS"},
    "IN_PROGRESS": {"ON_HOLD", "RESPONDED"},
    "ON_HOLD": {"IN_PROGRESS"},
    "RESPONDED": {"CLOSED"},
    "CLOSED": {"ARCHIVED", "REOPENED"},
    "REOPENED": {"IN_PROGRESS"},
}
TERMS = {"P": 15, "Q": 10, "R": 8, "S": 20}

Event = dict[str, Any]


def written(plan: Simulation) -> bytes:
    return b"".join(block.lines for block in simulate(plan))


def events_of(plan: Simulation) -> list[Event]:
    return [json.loads(line) for line in written(plan).splitlines()]


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event_type"] == kind]


@pytest.fixture(scope="module")
def season() -> list[Event]:
    """Three months with few tickets a day."""
    return events_of(Simulation(first=date(2025, 9, 1), last=date(2025, 12, 31), scale=60))


@pytest.fixture(scope="module")
def requests(season: list[Event]) -> list[tuple[Event, str]]:
    """Tickets with what their citizens first wrote."""
    said: dict[str, str] = {}
    for event in of_kind(season, "MESSAGE_ADDED"):
        said.setdefault(event["ticket_id"], event["data"]["text"])
    return [(event, said[event["ticket_id"]]) for event in of_kind(season, "TICKET_CREATED")]


EVERY_FAULT = Faults(
    bad_rows=0.05,
    duplicates=0.03,
    late=0.02,
    invalid_transitions=0.2,
    outages=(Outage(channel=Channel.CALL, first=date(2025, 9, 2), last=date(2025, 9, 3)),),
    drift=Drift(first=date(2025, 9, 4)),
)


def test_the_same_plan_gives_the_bytes_it_gave_on_any_machine() -> None:
    plan = Simulation(scale=100, events=5000, faults=EVERY_FAULT)
    assert hashlib.sha256(written(plan)).hexdigest() == PINNED


def test_another_seed_gives_other_events() -> None:
    one, other = (events_of(Simulation(events=300, seed=seed)) for seed in (1, 2))
    assert not {e["event_id"] for e in one} & {e["event_id"] for e in other}


def test_a_day_brings_the_same_tickets_wherever_the_range_begins() -> None:
    def tickets(first: date) -> list[Event]:
        events = events_of(Simulation(first=first, last=date(2025, 9, 12), scale=40, spike=None))
        created = of_kind(events, "TICKET_CREATED")
        return [event["data"] for event in created if event["ts"].startswith("2025-09-12")]

    place = [ticket["dane_city_code"] for ticket in tickets(date(2025, 9, 12))]
    assert place == [ticket["dane_city_code"] for ticket in tickets(date(2025, 9, 10))]


def test_every_line_is_an_event_of_the_contract_and_counts_its_letters(season: list[Event]) -> None:
    for event in season[:5000]:
        decode_event(json.dumps(event).encode())
    assert all(
        len(e["data"]["text"]) == e["data"]["text_len"] for e in season if "text" in e["data"]
    )
    assert len({event["event_id"] for event in season}) == len(season)


def test_lines_come_in_the_order_of_time(season: list[Event]) -> None:
    moments = [event["ts"] for event in season]
    assert moments == sorted(moments)


def test_shares_are_those_of_the_domain(season: list[Event]) -> None:
    expected = {
        "source_channel": {
            "email": 0.38,
            "webform": 0.31,
            "chat": 0.14,
            "call": 0.11,
            "other_digital": 0.06,
        },
        "pqrs_type": {"P": 0.30, "Q": 0.25, "R": 0.30, "S": 0.15},
        "priority": {"alta": 0.10, "media": 0.50, "baja": 0.40},
    }
    created = of_kind(season, "TICKET_CREATED")
    for field, shares in expected.items():
        found = Counter(event["data"][field] for event in created)
        for value, share in shares.items():
            assert found[value] / len(created) == pytest.approx(share, abs=0.02)


def test_populations_add_up_to_what_dane_published() -> None:
    population = {place.code: place.weight for place in places()}
    assert len(population) == 1_121
    assert sum(population.values()) == 48_258_494
    assert population["11001"] == 7_391_056
    assert min(population.values()) > 0


def test_larger_municipalities_write_more_and_bear_their_official_codes(
    season: list[Event],
) -> None:
    official = {place.code: (place.department, place.name) for place in places()}
    created = [event["data"] for event in of_kind(season, "TICKET_CREATED")]
    assert all(
        official[c["dane_city_code"]] == (c["geo_region"], c["geo_municipio"]) for c in created
    )
    found = Counter(c["dane_city_code"] for c in created)
    assert found["11001"] / len(created) == pytest.approx(0.153, abs=0.02)
    assert found["11001"] > found["05001"] > found["54001"]


def test_a_spike_of_some_days_stands_out() -> None:
    plan = Simulation(first=date(2025, 9, 1), last=date(2025, 10, 31))
    names = [topic.name for topic in fragments().topics]
    histories = Histories(plan, names, names[-1])
    assert histories.spike is not None
    first, last, _ = histories.spike
    assert plan.first <= first <= last <= plan.last
    assert 5 <= (last - first).days + 1 <= 10
    events, _ = histories.of_day(first)
    assert 2_700 <= len(np.unique(events["number"])) <= 4_100
    usual, _ = histories.of_day(date(2025, 9, 1) if first > date(2025, 9, 1) else plan.last)
    assert 400 <= len(np.unique(usual["number"])) <= 1_700


def test_every_history_keeps_to_the_state_machine(season: list[Event]) -> None:
    state: dict[str, str] = defaultdict(lambda: "RECEIVED")
    for event in of_kind(season, "STATUS_CHANGED"):
        data = event["data"]
        assert data["status_from"] == state[event["ticket_id"]]
        assert data["status_to"] in NEXT[data["status_from"]]
        state[event["ticket_id"]] = data["status_to"]
    assert set(state.values()) >= {"CLOSED", "ARCHIVED", "IN_PROGRESS", "ON_HOLD"}


def test_seven_to_twelve_of_a_hundred_break_their_term(season: list[Event]) -> None:
    time = WorkingTime(date(2025, 9, 1), 200)

    def passed(moment: str) -> int:
        seconds = int(datetime.fromisoformat(moment).timestamp())
        return int(time.positions(np.array([seconds]))[0])

    kinds = {e["ticket_id"]: e["data"]["pqrs_type"] for e in of_kind(season, "TICKET_CREATED")}
    begun: dict[str, int] = {}
    elapsed: dict[str, int] = defaultdict(int)
    broken = {}
    for event in of_kind(season, "STATUS_CHANGED"):
        ticket, at, to = event["ticket_id"], passed(event["ts"]), event["data"]["status_to"]
        if ticket in begun and event["data"]["status_from"] not in {"ON_HOLD", "CLOSED"}:
            elapsed[ticket] += at - begun[ticket]
        begun[ticket] = at
        if to == "CLOSED":
            broken[ticket] = elapsed[ticket] > TERMS[kinds[ticket]] * BUSINESS_DAY_SECONDS
    settled = [
        broken[ticket["ticket_id"]]
        for ticket in of_kind(season, "TICKET_CREATED")
        if ticket["ts"] < "2025-10-15" and ticket["ticket_id"] in broken
    ]
    assert 0.07 <= sum(settled) / len(settled) <= 0.12


def test_hardly_two_requests_read_the_same(requests: list[tuple[Event, str]]) -> None:
    texts = [text for _, text in requests]
    assert len(texts) > 5000
    assert len(set(texts)) / len(texts) > 0.99


def test_no_statement_and_no_demand_decides_the_type_alone(
    requests: list[tuple[Event, str]],
) -> None:
    pieces = fragments()
    pools = [*pieces.demands, *(pool for topic in pieces.topics for pool in topic.statements)]
    words = {piece for pool in pools for piece in pool if "%(" not in piece}
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for event, text in requests:
        for piece in words:
            if piece in text:
                seen[piece][event["data"]["pqrs_type"]] += 1
    often = {piece: kinds for piece, kinds in seen.items() if kinds.total() >= 30}
    assert len(often) > 20
    for piece, kinds in often.items():
        assert max(kinds.values()) / kinds.total() < 0.95, piece


def test_texts_carry_what_looks_like_personal_data_and_reach_nobody(
    requests: list[tuple[Event, str]],
) -> None:
    whole = "\n".join(text for _, text in requests).lower()
    assert all(found in whole for found in ("@example.org", "c.c. ", "mensaje reenviado"))
    assert not any(real in whole for real in ("gmail", "hotmail", "outlook", "yahoo"))


def test_most_words_of_the_rules_are_there_and_most_texts_have_none_of_priority(
    requests: list[tuple[Event, str]],
) -> None:
    words = ("urgente", "riesgo", "fraude", "tutela", "pronto", "reitero", "molestia")
    whole = "\n".join(text.lower() for _, text in requests)
    assert all(word in whole for word in words)
    having = sum(any(word in text.lower() for word in words) for _, text in requests)
    assert having / len(requests) < 0.4


class Told:
    """A stream with what it says was done to it."""

    def __init__(self, plan: Simulation) -> None:
        blocks = list(simulate(plan))
        self.content = b"".join(block.lines for block in blocks)
        self.truth = [fault for block in blocks for fault in block.truth]
        added = {fault["line"] for fault in (*self.of("bad_row"), *self.of("duplicate"))}
        lines = enumerate(self.content.splitlines(), start=1)
        self.good: dict[int, Event] = {n: json.loads(line) for n, line in lines if n not in added}

    def of(self, kind: str) -> list[Truth]:
        return [fault for fault in self.truth if fault["kind"] == kind]


@pytest.fixture(scope="module")
def told() -> Told:
    return Told(Simulation(scale=200, events=20_000, faults=EVERY_FAULT))


def test_bronze_quarantines_exactly_the_bad_rows_and_the_duplicates(
    told: Told, tmp_path: Path
) -> None:
    root = LakeRoot(str(tmp_path))
    store, files = DeltaTableStore(root), FileStore(root)
    path = "raw/one/events.jsonl"
    files.write(NORTE, path, told.content)
    landed = datetime(2026, 3, 15, tzinfo=UTC)
    digest = hashlib.sha256(told.content).hexdigest()
    landing = Landing("sim", "one", RunId("one"), path, "e.jsonl", landed, digest, 1)
    run = RunContext(RunId("run-one"), NORTE, landed)
    stage_landings(run, [landing], store=store, files=files, at=None, on_step=unobserved)
    publish(store, QUARANTINE, run, on_step=unobserved)
    rows = store.scan(QUARANTINE.table, NORTE)
    assert rows is not None
    found = dict(zip(rows["raw_line"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    bad = {fault["line"] for fault in told.of("bad_row")}
    twice = {fault["line"] for fault in told.of("duplicate")}
    assert set(found) == bad | twice
    assert {line for line, why in found.items() if why == "duplicate event_id"} == twice
    assert {fault["how"] for fault in told.of("bad_row")} == set(WAYS)


def test_an_event_that_is_late_comes_after_newer_ones(told: Told) -> None:
    late = {fault["line"]: fault["event_id"] for fault in told.of("late")}
    assert len(late) > 100
    newest = ""
    for line, event in told.good.items():
        if line in late:
            assert event["event_id"] == late[line]
            assert event["ts"] < newest
        newest = max(newest, event["ts"])


def test_histories_are_invalid_exactly_where_the_truth_says(told: Told) -> None:
    said = {fault["event_id"] for fault in told.of("invalid_transition")}
    events = sorted(told.good.values(), key=lambda event: event["ts"])
    state: dict[str, str] = defaultdict(lambda: "RECEIVED")
    first_invalid: dict[str, str] = {}
    for event in of_kind(events, "STATUS_CHANGED"):
        data, ticket = event["data"], event["ticket_id"]
        valid = data["status_from"] == state[ticket]
        valid = valid and data["status_to"] in NEXT[data["status_from"]]
        if not valid:
            first_invalid.setdefault(ticket, event["event_id"])
        state[ticket] = data["status_to"]
    assert set(first_invalid.values()) == said
    assert {f["how"] for f in told.of("invalid_transition")} == {
        "skipped_state",
        "wrong_first_state",
        "leap",
        "disorder",
    }


def test_an_outage_silences_its_channel_and_is_counted(told: Told) -> None:
    created = of_kind(list(told.good.values()), "TICKET_CREATED")
    by_day = Counter(e["ts"][:10] for e in created if e["data"]["source_channel"] == "call")
    assert "2025-09-02" not in by_day
    assert by_day["2025-09-01"]
    assert sum(fault["tickets"] for fault in told.of("outage")) > 20


def test_from_the_day_of_drift_on_texts_are_longer_and_speak_of_a_new_matter() -> None:
    plan = Simulation(
        last=date(2025, 9, 4),
        scale=400,
        faults=Faults(drift=Drift(first=date(2025, 9, 3), topics={"agua": 10})),
    )
    before: list[str] = []
    after: list[str] = []
    for event in events_of(plan):
        if event["event_type"] == "MESSAGE_ADDED" and event["data"]["role"] == "citizen":
            (before if event["ts"] < "2025-09-03" else after).append(event["data"]["text"].lower())

    def share(word: str, texts: list[str]) -> float:
        return sum(word in text for text in texts) / len(texts)

    assert share("aplicaci", before) < 0.01 < 0.05 < share("aplicaci", after)
    assert np.mean([len(text) for text in after]) > 1.2 * np.mean([len(text) for text in before])


def test_memory_does_not_grow_with_the_range() -> None:
    code = (
        "import sys\n"
        "from datetime import date\n"
        "from pipelines.simulator.config import Simulation\n"
        "from pipelines.simulator.stream import simulate\n"
        "first, last = map(date.fromisoformat, sys.argv[1:])\n"
        "plan = Simulation(first=first, last=last, scale=100)\n"
        "print(sum(len(block.lines) for block in simulate(plan)))\n"
        "from benchmarks.memory import own_peak\n"
        "print(own_peak())\n"
    )
    held = []
    for last in ("2025-04-30", "2025-12-31"):
        arguments = [sys.executable, "-c", code, "2025-01-01", last]
        out = subprocess.check_output(arguments, text=True)
        held.append([int(number) for number in out.split()])
    (small, before), (large, after) = held
    assert after - before < (large - small) / 5


def test_business_passes_only_in_office_hours_and_on_no_holiday() -> None:
    time = WorkingTime(date(2025, 10, 10), 30)
    friday, wednesday = "2025-10-10T21:00:00+00:00", "2025-10-14T14:00:00+00:00"
    at = [int(datetime.fromisoformat(moment).timestamp()) for moment in (friday, wednesday)]
    first, second = time.positions(np.array(at))
    assert second - first == 2 * 3600
    assert time.moments(np.array([first, second])).tolist() == at


def test_shares_of_chance_are_kept() -> None:
    found = np.bincount(Draws(1, "shares").pick(20_000, [1, 0, 3]), minlength=3)
    assert found[1] == 0
    assert found[0] / found.sum() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("escala: 3", "escala"),
        ("scale: 0", "scale"),
        ("from: 2026-01-02\nto: 2026-01-01", "turn them round"),
        ("channels: {email: 0}", "every weight is 0"),
        ("faults: {late: 2}", "faults.late"),
        ("- 1", "holds no settings"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_its_reason(
    text: str, found: str, tmp_path: Path
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=found):
        read_simulation(file, {})


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("scale: 10\nspike: {days: 6, tickets: 50}\nfaults: {late: 0.1}\n", "utf-8")
    plan = read_simulation(file, {"scale": 20, "faults": {"bad_rows": 0.2}})
    assert (plan.scale, plan.faults.late, plan.faults.bad_rows) == (20, 0.1, 0.2)
    assert plan.spike == Spike(days=6, tickets=50)
