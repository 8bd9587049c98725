"""The pieces of simulated texts, read once and made ready to be filled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from pipelines.simulator.draws import Draws

Pool = Sequence[str]

Chance = Callable[[], int]
"""Gives the next number of 16 random bits."""

_SLOT = re.compile(r"\{(\w+)\}")
_POOL_SIZE = 4001
_STREAM_WORDS = 4096


def chances(draws: Draws) -> Chance:
    """Turn a stream of words into one of small numbers."""

    def numbers() -> Iterator[int]:
        while True:
            yield from draws.words(_STREAM_WORDS).astype("<u8", copy=False).view("<u2").tolist()

    return numbers().__next__


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be said of one matter. `statements` are by kind, in the order of the types."""

    name: str
    is_new: bool
    entities: Pool
    things: Pool
    subjects: Pool
    context: Pool
    statements: tuple[Pool, ...]


@dataclass(frozen=True, slots=True)
class Fragments:
    """Everything citizens and agents say; `slots` hold what fills the braces."""

    topics: tuple[Topic, ...]
    greetings: Mapping[str, Pool]
    introductions: Pool
    regional: Mapping[str, Pool]
    connectors: Pool
    consequences: Pool
    demands: tuple[Pool, ...]
    any_demand: Pool
    priority: Mapping[str, Pool]
    closings: Mapping[str, Pool]
    signatures: Pool
    forwards: Pool
    answers: Mapping[str, Pool]
    abbreviations: tuple[tuple[str, str], ...]
    slots: Mapping[str, Pool]


KINDS = ("need", "conduct", "breach", "idea")
"""The kinds of statement, in the order of the types they make."""


@cache
def fragments() -> Fragments:
    """Read `fragments.yaml`."""
    text = resources.files("pipelines.simulator").joinpath("fragments.yaml").read_text("utf-8")
    found = yaml.load(text, Loader=yaml.CSafeLoader)
    return Fragments(
        topics=tuple(_topic(name, has, found["general"]) for name, has in found["topics"].items()),
        greetings=_pools(found["greetings"]),
        introductions=_pool(found["introductions"]),
        regional=_pools(found["regional"]),
        connectors=_pool(found["connectors"]),
        consequences=_pool(found["consequences"]),
        demands=tuple(_pool(found["demands"][kind]) for kind in KINDS),
        any_demand=_pool(found["demands"]["any"]),
        priority=_pools(found["priority"]),
        closings=_pools(found["closings"]),
        signatures=_pool(found["signatures"]),
        forwards=_pool(found["forwards"]),
        answers=_pools(found["answers"]),
        abbreviations=tuple(found["abbreviations"].items()),
        slots=_slots(found),
    )


def _topic(name: str, has: Mapping[str, Any], general: Mapping[str, Sequence[str]]) -> Topic:
    return Topic(
        name,
        bool(has.get("new", False)),
        entities=has["entities"],
        things=has["things"],
        subjects=has["subjects"],
        context=_pool(has["context"]),
        statements=tuple(_pool([*has[kind], *has[kind], *general[kind]]) for kind in KINDS),
    )


def _pools(found: Mapping[str, Sequence[str]]) -> dict[str, Pool]:
    return {name: _pool(pieces) for name, pieces in found.items()}


def _pool(pieces: Sequence[str]) -> Pool:
    """Write slots the way the % operator reads them, which is the fastest there is."""
    return tuple(_SLOT.sub(r"%(\1)s", piece.replace("%", "%%")) for piece in pieces)


def _slots(found: Mapping[str, Any]) -> dict[str, Pool]:
    """Draw what fills the braces: many of each, the same for every seed."""
    chance = chances(Draws(0, "slots"))

    def one(pool: Sequence[str]) -> str:
        return pool[chance() % len(pool)]

    def digits(count: int) -> str:
        return "".join(str(chance() % 10) for _ in range(count))

    def person() -> str:
        second = f" {one(found['surnames'])}" if chance() % 2 else ""
        return f"{one(found['names'])} {one(found['surnames'])}{second}"

    def address() -> str:
        road = one(["Calle", "Carrera", "Cra.", "Cl.", "Transversal", "Diagonal", "Avenida"])
        letter = one(["", "", "", "A", "B", " bis"])
        inside = one(["", "", "", f" apto {100 + chance() % 900}", f" casa {1 + chance() % 60}"])
        number = f"{1 + chance() % 90}-{1 + chance() % 99:02d}"
        return f"{road} {1 + chance() % 140}{letter} # {number}{inside}"

    def mail() -> str:
        name = one(found["names"]).split()[0].lower() + one(found["surnames"]).split()[-1].lower()
        return f"{name.translate(PLAIN)}{chance() % 1000}@example.org"

    def money() -> str:
        thousands = 3 + chance() % (90 if chance() % 3 else 2900)
        forms = [f"$ {thousands}.{chance() % 10}00", f"{thousands} mil pesos", f"${thousands}.000"]
        amount = one(forms)
        return amount if thousands < 1000 else f"$ {thousands // 1000}.{thousands % 1000:03d}.000"

    def identity() -> str:
        whole = f"{1 + chance() % 9}{digits(7)}" if chance() % 2 else f"10{digits(8)}"
        return whole if chance() % 3 else f"{int(whole):,}".replace(",", ".")

    def phone() -> str:
        number = f"3{chance() % 3}{digits(8)}"
        return number if chance() % 2 else f"{number[:3]} {number[3:6]} {number[6:]}"

    simple: dict[str, Pool] = {
        "barrio": found["neighbourhoods"],
        "vereda": found["hamlets"],
        "conjunto": found["complexes"],
        "mes": found["months"],
        "hora": found["hours"],
        "dia": [str(n) for n in range(1, 29)],
        "n": [str(n) for n in range(2, 10)],
        "edad": [str(n) for n in range(58, 93)],
        "comuna": [str(n) for n in range(1, 23)],
        "nombre": [person() for _ in range(_POOL_SIZE)],
        "cedula": [identity() for _ in range(_POOL_SIZE)],
        "celular": [phone() for _ in range(_POOL_SIZE)],
        "direccion": [address() for _ in range(_POOL_SIZE)],
        "correo": [mail() for _ in range(_POOL_SIZE)],
        "monto": [money() for _ in range(_POOL_SIZE)],
        "numero": [digits(5 + chance() % 6) for _ in range(_POOL_SIZE)],
        "radicado": [f"{2025 + chance() % 2}-{digits(6)}" for _ in range(_POOL_SIZE)],
    }

    def filled(pieces: Sequence[str]) -> str:
        return _SLOT.sub(lambda slot: one(simple[slot.group(1)]), one(pieces))

    places = [filled(found["places"]) for _ in range(_POOL_SIZE)]
    times = [filled(found["times"]) for _ in range(_POOL_SIZE)]
    return {**simple, "lugar": places, "tiempo": times}


PLAIN = str.maketrans("áéíóúüñÁÉÍÓÚÜÑ", "aeiouunAEIOUUN")
"""Takes the accents off, as people in a hurry do."""
