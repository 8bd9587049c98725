"""Killed at every named point, over many seeds: nothing is lost and nothing is there twice."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.compute as pc
import pytest

from contracts.tables import PQRS_EVENTS, QUARANTINE, TICKETS

INGEST = ("ingest torn/1", "ingest put/1", "ingest put/2", "ingest put/3")
"""In a landing: a torn file, the events in place, the manifest too, all but the index."""

TORN = ("run torn/1", "run torn/2")
"""In a run: a torn file of rows, and a torn note of what was staged."""

LONG_SEEDS = range(2, 18)


def points(places: list[str]) -> list[str]:
    """Every named point of a life. Between two writes nothing changes: `before` stands for both."""
    ours = [place for place in dict.fromkeys(places) if "tidy/" not in place]
    own = [f"run {place}" for place in ours if place.startswith("before")]
    return [*INGEST, *TORN, *own, *(f"run {p}" for p in ours if p.startswith("after consume"))]


def tidying(places: list[str]) -> list[str]:
    """Every named point of the upkeep after a run. A life reaches one: the run is over by then."""
    return [f"run {place}" for place in places if "tidy/" in place]


def require_every_line_once(killable: ModuleType, url: str, lake: Path, seed: int) -> None:
    """Compare Bronze with the file itself, which no code of ours has touched."""
    ports = killable.ports_at(url, lake)
    lines = killable.seeded_lines(seed, killable.SEEDED_TICKETS)
    ids, broken = set(), 0
    for line in lines:
        try:
            ids.add(json.loads(line)["event_id"])
        except ValueError:
            broken += 1
    found = ports.store.scan(PQRS_EVENTS.table, killable.NORTE)["event_id"].to_pylist()
    assert len(found) == len(set(found))
    assert ids <= set(found)
    refused = ports.store.scan(QUARANTINE.table, killable.NORTE)
    refused = refused.filter(pc.match_substring(refused["raw_file"], _landing(ports, killable)))
    assert len(refused) == broken + (len(lines) - broken - len(ids))
    tickets = ports.store.scan(TICKETS.table, killable.NORTE)["ticket_id"].to_pylist()
    assert len(tickets) == len(set(tickets))


def _landing(ports: Any, killable: ModuleType) -> str:
    (landing,) = (x for x in ports.landings.taken(killable.NORTE) if "seed-" in x.file_name)
    return str(landing.run_id)


def compare(killable: ModuleType, server: str, prepared: Path, name: str, seed: int) -> Any:
    """Return the unkilled life of a seed, and a function that kills one and compares."""
    whole = killable.live(server, prepared, f"{name}-whole", seed)

    def kill(suffix: str, chosen: list[str]) -> None:
        place = f"{name}-{suffix}"
        process = killable.program(server, prepared, place, str(seed), *chosen)
        assert process.communicate()[0] == "outlived [], ended 0 0\n"
        url, lake = f"{server}/{place}", prepared / place / "lake"
        assert killable.tables(url, lake) == whole.found, chosen
        require_every_line_once(killable, url, lake, seed)

    return whole, kill


def test_a_life_killed_all_along_leaves_what_an_unkilled_one_leaves(
    killable: ModuleType, server: str, prepared: Path
) -> None:
    """Every third of the points, which `make stress` takes all of, over many seeds."""
    whole, kill = compare(killable, server, prepared, "short", 1)
    chosen = points(whole.places)
    assert len(chosen) >= 30
    first, upkeep = len(INGEST) + len(TORN), tidying(whole.places)
    assert {point.rsplit("/", 1)[1] for point in upkeep} == {"compact", "checkpoint", "vacuum"}
    kill("some", [*chosen[:first], *chosen[first::3], upkeep[len(upkeep) // 2]])


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_over_many_seeds_each_point_alone_and_all_together(
    killable: ModuleType, server: str, prepared: Path, seed: int
) -> None:
    whole, kill = compare(killable, server, prepared, f"long-{seed}", seed)
    chosen = points(whole.places)
    upkeep, draw = tidying(whole.places), random.Random(seed)
    kill("every", [*chosen, draw.choice(upkeep)])
    alone = enumerate(draw.sample([*chosen, *upkeep], 12))
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda one: kill(f"alone-{one[0]}", [one[1]]), alone))
