"""Services outlive an update of the code: what another version wrote is read all the same."""

from __future__ import annotations

import os
from typing import Any

import pytest

from infra.embedded.files import take_lock, write_json
from infra.embedded.layout import Layout
from infra.embedded.state import Phase, SupervisorState, UnitState
from infra.embedded.status import read_status
from lakehouse.settings import Settings

READY = UnitState(Phase.READY, 12, "", 1, 2.5)


def test_a_state_survives_its_file() -> None:
    state = SupervisorState(7, {"valkey": READY}, "abc")
    assert SupervisorState.from_json(state.to_json()) == state


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"pid": 7, "units": {}}, SupervisorState(7, {})),
        ({}, SupervisorState(0, {})),
        (
            {"pid": 7, "units": {"valkey": {"phase": "ready", "pid": 12}}},
            SupervisorState(7, {"valkey": UnitState(Phase.READY, 12)}),
        ),
        (
            {"pid": 7, "units": {"valkey": {"phase": "hibernating", "pid": 12, "mood": "calm"}}},
            SupervisorState(7, {"valkey": UnitState(Phase.WAITING, 12)}),
        ),
    ],
)
def test_what_another_version_left_out_or_added_does_no_harm(
    written: dict[str, Any], read: SupervisorState
) -> None:
    assert SupervisorState.from_json(written) == read


def test_status_reads_what_an_older_supervisor_wrote(local: Settings) -> None:
    layout = Layout.of(local.home)
    layout.create()
    write_json(layout.state, {"pid": 0, "units": {"valkey": {"phase": "starting"}}})
    held = take_lock(layout.lock)
    assert held is not None
    try:
        lines = read_status(local).services
    finally:
        os.close(held)
    assert [line.state for line in lines if line.service == "valkey"] == ["starting"]
