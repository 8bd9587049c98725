"""The bundled corpus as two tenants would deliver it: Raw events of one, plain texts of the other.

Everything is a function of the corpus and a seed, so that two demos deliver the same bytes. The
part of the corpus that is labelled history and the part that is the new week share no text.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from importlib import resources
from typing import Any

from contracts.pqrs import EventType, PqrsType, TicketState

SEED = 20260101
HISTORY_SHARE = 0.6
_NAMESPACE = uuid.UUID("6f1c1f0e-4f7e-5c3a-9d2b-0c6d1a8e5b42")

Request = dict[str, Any]
"""One line of the corpus; see pipelines/corpus/README.md."""


class Part(StrEnum):
    """Which part of the corpus: what was labelled before, and what comes in now."""

    HISTORY = "historia"
    WEEK = "semana"


@dataclass(frozen=True, slots=True)
class DemoTenant:
    """One of the demo's tenants. `regions` are (region, municipality, DANE code)."""

    tenant_id: str
    name: str
    source: str
    sectors: frozenset[str]
    regions: tuple[tuple[str, str, str], ...]


ALCALDIA = DemoTenant(
    "alcaldia-norte",
    "Alcaldía Norte",
    "ventanilla",
    frozenset(
        {
            "movilidad_y_transito",
            "seguridad_y_convivencia",
            "infraestructura_y_espacio_publico",
            "medio_ambiente_y_animales",
            "vivienda_y_catastro",
            "impuestos_y_tramites",
            "educacion",
            "salud",
        }
    ),
    (
        ("ATLÁNTICO", "BARRANQUILLA", "08001"),
        ("BOLÍVAR", "CARTAGENA DE INDIAS", "13001"),
        ("MAGDALENA", "SANTA MARTA", "47001"),
    ),
)

SERVICIOS = DemoTenant(
    "servicios-andinos",
    "Servicios Andinos",
    "portal-web",
    frozenset(
        {
            "gas",
            "energia",
            "acueducto_y_aseo",
            "telecomunicaciones",
            "banca_y_seguros",
            "comercio_y_consumo",
            "pensiones_y_subsidios",
        }
    ),
    (("ANTIOQUIA", "MEDELLÍN", "05001"), ("CALDAS", "MANIZALES", "17001")),
)

TENANTS = (ALCALDIA, SERVICIOS)

_FIRST_DAY = {Part.HISTORY: date(2026, 1, 5), Part.WEEK: date(2026, 2, 2)}
_DAYS = {Part.HISTORY: 26, Part.WEEK: 7}

_WALK = (
    TicketState.RECEIVED,
    TicketState.RADICATED,
    TicketState.CLASSIFIED,
    TicketState.ASSIGNED,
    TicketState.IN_PROGRESS,
    TicketState.RESPONDED,
    TicketState.CLOSED,
)


def corpus() -> list[Request]:
    """Return the 840 requests."""
    file = resources.files("pipelines").joinpath("corpus", "pqrs_es.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def part_of(request: Request) -> Part:
    """Put a request in a part by a hash of its id, so that no change of order moves it.

    >>> part_of({"id": "a0001"})
    <Part.HISTORY: 'historia'>
    """
    drawn = int.from_bytes(hashlib.sha256(request["id"].encode()).digest()[:8], "big")
    return Part.HISTORY if drawn < HISTORY_SHARE * 2**64 else Part.WEEK


def requests_of(tenant: DemoTenant, part: Part) -> list[Request]:
    """Return what a tenant's citizens wrote in that part."""
    return [r for r in corpus() if r["sector"] in tenant.sectors and part_of(r) is part]


def labelled_history() -> str:
    """Return the labelled history as JSONL with `texto`, `tipo` and `prioridad`.

    Both tenants train on the whole of it: their own half would be too little.
    """
    rows = [r for r in corpus() if part_of(r) is Part.HISTORY]
    keep = ("texto", "tipo", "prioridad")
    return _lines({name: row[name] for name in keep} for row in rows)


def as_events(tenant: DemoTenant, part: Part) -> str:
    """Return the part as Raw events in JSONL, with a few lines that break the contract."""
    events = [
        event
        for number, request in enumerate(requests_of(tenant, part))
        for event in _events(tenant, part, number, request)
    ]
    events.sort(key=lambda event: (event["ts"], event["event_id"]))
    return _lines(events) + "".join(f"{line}\n" for line in _faulty(tenant, part, events))


def as_texts(tenant: DemoTenant, part: Part) -> str:
    """Return the part as CSV with `radicado, fecha, canal, tipo_declarado, texto`."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["radicado", "fecha", "canal", "tipo_declarado", "texto"])
    for number, request in enumerate(requests_of(tenant, part)):
        rng = _rng(tenant, request)
        writer.writerow(
            [
                _radicado(tenant, part, number),
                _arrival(part, rng).isoformat(),
                request["canal"],
                _declared(request, rng),
                request["texto"],
            ]
        )
    return sink.getvalue()


TEXT_COLUMNS = {
    "text": "texto",
    "created_at": "fecha",
    "channel": "canal",
    "type": "tipo_declarado",
    "external_id": "radicado",
}
"""Which column of `as_texts` holds which field, as `plata ingest --map` takes it."""


def _events(
    tenant: DemoTenant, part: Part, number: int, request: Request
) -> Iterator[dict[str, Any]]:
    rng = _rng(tenant, request)
    arrived = _arrival(part, rng)
    ticket_id = str(uuid.uuid5(_NAMESPACE, f"{tenant.tenant_id}/{request['id']}"))
    region, city, code = rng.choice(tenant.regions)

    def event(kind: EventType, at: datetime, data: dict[str, Any]) -> dict[str, Any]:
        mark = f"{ticket_id}/{kind}/{at.isoformat()}/{data.get('status_to', '')}"
        return {
            "event_id": str(uuid.uuid5(_NAMESPACE, mark)),
            "ticket_id": ticket_id,
            "event_type": kind.value,
            "ts": at.isoformat(),
            "data": data,
        }

    yield event(
        EventType.TICKET_CREATED,
        arrived,
        {
            "external_id": _radicado(tenant, part, number),
            "source_channel": request["canal"],
            "pqrs_type": PqrsType(_declared(request, rng)).code,
            "geo_region": region,
            "geo_municipio": city,
            "dane_city_code": code,
        },
    )
    yield event(
        EventType.MESSAGE_ADDED,
        arrived + timedelta(seconds=1),
        {"role": "citizen", "text": request["texto"], "text_len": len(request["texto"])},
    )
    if rng.random() < 0.2:
        yield event(
            EventType.ATTACHMENT_ADDED,
            arrived + timedelta(seconds=2),
            {"file_type": rng.choice(["pdf", "jpg"]), "size_kb": rng.randint(40, 4000)},
        )
    moment = arrived
    for before, after in _steps(rng):
        moment += timedelta(hours=rng.randint(1, 40))
        yield event(
            EventType.STATUS_CHANGED,
            moment,
            {"status_from": before, "status_to": after, "actor_role": "agent"},
        )


def _steps(rng: random.Random) -> list[tuple[TicketState, TicketState]]:
    reached = rng.randint(1, len(_WALK) - 1)
    return list(itertools.pairwise(_WALK[: reached + 1]))


def _faulty(tenant: DemoTenant, part: Part, events: Sequence[dict[str, Any]]) -> list[str]:
    """Lines such as a channel really sends: cut off, without an id, out of the calendar, twice."""
    stamp = f"{tenant.tenant_id}/{part}"
    ticket = str(uuid.uuid5(_NAMESPACE, f"{stamp}/faulty"))
    base = {"ticket_id": ticket, "event_type": "STATUS_CHANGED", "ts": "2026-02-30T10:00:00Z"}
    data = {"status_from": "RECEIVED", "status_to": "RADICATED"}
    late = {"event_id": str(uuid.uuid5(_NAMESPACE, stamp)), **base, "data": data}
    return [
        '{"event_id": "cortado',
        json.dumps({**base, "data": data}),
        json.dumps(late),
        json.dumps(events[0], ensure_ascii=False),
    ]


def _rng(tenant: DemoTenant, request: Request) -> random.Random:
    return random.Random(f"{SEED}/{tenant.tenant_id}/{request['id']}")


def _arrival(part: Part, rng: random.Random) -> datetime:
    day = _FIRST_DAY[part] + timedelta(days=rng.randrange(_DAYS[part]))
    start = datetime(day.year, day.month, day.day, 7, tzinfo=UTC)
    return start + timedelta(seconds=rng.randrange(12 * 3600))


def _declared(request: Request, rng: random.Random) -> str:
    """Say what the citizen ticked: mostly right, since people mix the categories up."""
    if rng.random() < 0.7:
        return str(request["tipo"])
    return rng.choice([kind.value for kind in PqrsType])


def _radicado(tenant: DemoTenant, part: Part, number: int) -> str:
    return f"{tenant.source[:3].upper()}-{_FIRST_DAY[part]:%Y%m}-{number:05d}"


def _lines(rows: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
