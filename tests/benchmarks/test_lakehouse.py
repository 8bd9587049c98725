"""The benchmark's two sides do the same work: what they count agrees, table by table."""

from __future__ import annotations

from pathlib import Path

from benchmarks.lakehouse import FAULTS
from benchmarks.lakehouse_side import Side
from benchmarks.plain_python import Pipeline
from pipelines.simulator.config import Simulation
from pipelines.simulator.stream import simulate

SAME = {
    "bronze_pqrs_events": "pqrs_events",
    "bronze_quarantine": "quarantine",
    "silver_tickets": "tickets",
    "silver_messages": "messages",
    "silver_attachments": "attachments",
    "silver_status_events": "status_events",
    "silver_quarantine": "status_quarantine",
    "gold_kpi_volume_daily": "kpi_volume_daily",
    "gold_kpi_backlog_daily": "kpi_backlog_daily",
}


def test_both_sides_leave_as_many_rows_in_every_table(postgres_url: str, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    plan = Simulation(scale=60, events=12_000, faults=FAULTS)
    events.write_bytes(b"".join(block.lines for block in simulate(plan)))
    peer, lean = (Pipeline(events, tmp_path / str(no), lean=no) for no in (False, True))
    peer.run()
    lean.run()
    assert lean.counts == peer.counts
    done = Side(tmp_path / "plata", postgres_url).run(events)
    found = {table: done.counts[table] for table in SAME}
    assert found == {table: peer.counts[name] for table, name in SAME.items()}
