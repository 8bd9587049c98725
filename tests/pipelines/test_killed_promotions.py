"""A promotion or a rollback that SIGKILL ends anywhere: nothing half is ever planned against."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infra.embedded.layout import ROOT

_PROGRAM = Path(__file__).with_name("killed_promotions.py")

OLD, NEW, REFUSED = "old", "new", "refused"

PLANS = {
    1: OLD,  # before the bundle is kept
    2: OLD,
    3: OLD,  # before the alias is moved in Postgres
    4: OLD,  # between the alias and the line of the history, in one transaction
    5: OLD,  # before that transaction is committed
    6: REFUSED,  # before MLflow's first alias
    7: REFUSED,
    8: REFUSED,  # before its third
    9: NEW,  # there is no ninth write
}
"""What a plan finds after a death before the Nth write."""


def killed(url: str, folder: Path, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Kill promotions and rollbacks at those writes, in a tenant and an MLflow of their own."""
    done = subprocess.run(
        [
            sys.executable,
            str(_PROGRAM),
            url,
            str(folder),
            f"k{uuid4().hex[:10]}",
            *map(str, numbers),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def require_nothing_half(line: dict[str, Any]) -> None:
    old, new = ("2", "3") if line["kind"] == "promote" else ("3", "2")
    found, then, expected = line["found"], line["then"], PLANS[line["number"]]
    assert line["code"] == (0 if expected == NEW else -signal.SIGKILL), line
    assert found["told"], "the champion is the one the newest line of the history tells of"
    assert found["champion"] == (old if expected == OLD else new), line
    if expected == REFUSED:
        assert "MLflow shows other versions than bundle-" in found["plan"]
        assert "`plata bundles restore --tenant" in found["plan"]
    else:
        assert found["plan"] == (old if expected == OLD else new), line
    assert (then["plan"], then["champion"], then["told"]) == (new, new, True)
    assert then["moves"] == found["moves"] + (expected == OLD)


def test_killed_within_a_move_the_plan_is_the_old_or_refused_and_again_makes_it_whole(
    postgres_url: str, tmp_path: Path
) -> None:
    lines = killed(postgres_url, tmp_path, [4, 7])
    assert len(lines) == 4
    for line in lines:
        require_nothing_half(line)


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_killed_before_every_write_of_a_promotion_and_a_rollback(
    postgres_url: str, tmp_path: Path
) -> None:
    lines = killed(postgres_url, tmp_path, sorted(PLANS))
    assert len(lines) == 2 * len(PLANS)
    for line in lines:
        require_nothing_half(line)
