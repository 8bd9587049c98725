"""Events as lines of JSON, a few thousand at a time.

Everything that can be written once is: a line is put together from ready pieces, and only words
that were drawn are escaped.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

import numpy as np

from contracts.pqrs import Channel, EventType, PqrsType, Priority
from contracts.raw import SCHEMA_VERSION
from pipelines.simulator.draws import Draws, uuids, written
from pipelines.simulator.fragments import Fragments, chances
from pipelines.simulator.histories import TRANSITIONS, Events, Kind, Said
from pipelines.simulator.places import Place
from pipelines.simulator.texts import Writer
from pipelines.simulator.working_time import DAY_SECONDS

_REASONS = (
    ("radicación automática", "recibido por ventanilla", None),
    ("clasificación inicial", "tipología confirmada", None),
    ("asignado por carga", "asignado por competencia", "reasignado al área", None),
    ("inicio de gestión", None, None),
    ("falta información del ciudadano", "traslado a otra entidad", "espera de concepto técnico"),
    ("información recibida", "concepto recibido", None),
    ("respuesta enviada", "respuesta proyectada y firmada", None),
    ("notificado al ciudadano", "cierre por respuesta de fondo", None),
    ("ciudadano inconforme", "respuesta incompleta"),
    ("se reanuda la gestión", None),
    ("archivo de gestión", None),
    (None,),
)
_BY_SYSTEM = 2
"""Transitions before this one are made by the system."""

_FILES = ("pdf", "jpg", "png", "docx", "mp4", "xlsx")
_LARGEST_KB = 8000

_Fill = Callable[[Events, list[int]], list[str]]


class Renderer:
    """Turns columns of events into lines. `length` gives a ticket's length of text by its day."""

    def __init__(
        self,
        seed: int,
        pieces: Fragments,
        places: tuple[Place, ...],
        length: Callable[[int], int],
    ) -> None:
        self._seed = seed
        self._pieces = pieces
        self._places = places
        self._length = length
        self._clock = [_clock(second) for second in range(DAY_SECONDS)]
        self._where = [
            f'"geo_region":{_quoted(place.department)},"geo_municipio":{_quoted(place.name)},'
            f'"dane_city_code":"{place.code}"'
            for place in places
        ]
        self._changes = [_changes(number) for number in range(len(TRANSITIONS))]
        self._channels = [channel.value for channel in Channel]
        self._classes = [[_class(kind, priority) for priority in Priority] for kind in PqrsType]

    def lines(self, events: Events, part: str) -> tuple[list[str], list[str]]:
        """Return a line an event, and its event_id. `part` names the chance that is used."""
        draws = Draws(self._seed, "lines", part)
        ids = written(uuids(draws, len(events)))
        tickets = written(events["ticket"])
        moments = self._moments(events)
        writer = Writer(self._pieces, self._places, chances(Draws(self._seed, "texts", part)))
        small = draws.below(len(events), _LARGEST_KB).tolist()
        data = self._data(events, small, writer)
        heads = [_HEADS[kind] for kind in events["kind"].tolist()]
        version = SCHEMA_VERSION
        lines = [
            f'{{"event_id":"{event_id}","ticket_id":"{ticket_id}",{head}"ts":"{moment}",'
            f'"schema_version":"{version}","data":{{{body}}}}}'
            for event_id, ticket_id, head, moment, body in zip(
                ids, tickets, heads, moments, data, strict=True
            )
        ]
        return lines, ids

    def _moments(self, events: Events) -> list[str]:
        days, seconds = np.divmod(events["ts"], DAY_SECONDS)
        names = {int(day): str(np.datetime64(int(day), "D")) for day in np.unique(days)}
        clock = self._clock
        return [
            f"{names[day]}T{clock[second]}Z"
            for day, second in zip(days.tolist(), seconds.tolist(), strict=True)
        ]

    def _data(self, events: Events, small: list[int], writer: Writer) -> list[str]:
        data = [""] * len(events)
        for kind, fill in self._fillers(writer).items():
            chosen = np.flatnonzero(events["kind"] == kind)
            at = chosen.tolist()
            for place, body in zip(at, fill(events[chosen], [small[n] for n in at]), strict=True):
                data[place] = body
        return data

    def _fillers(self, writer: Writer) -> dict[Kind, _Fill]:
        return {
            Kind.CREATED: lambda events, small: self._created(events, writer),
            Kind.STATUS: self._status,
            Kind.MESSAGE: lambda events, small: self._messages(events, writer),
            Kind.ATTACHMENT: self._attachments,
        }

    def _created(self, events: Events, writer: Writer) -> list[str]:
        rows = _rows(events, "day", "number", "channel", "type", "priority", "place", "topic")
        names = {day: str(np.datetime64(day, "D")).replace("-", "") for day, *_ in rows}
        channels, classes, where = self._channels, self._classes, self._where
        found = []
        for day, number, channel, kind, priority, place, topic in rows:
            has_subject = channels[channel] not in _WITHOUT_SUBJECT
            subject = encode_basestring(writer.subject(topic, place)) if has_subject else "null"
            found.append(
                f'"external_id":"{names[day]}-{number:06d}","source_channel":"{channels[channel]}",'
                f'{classes[kind][priority]},{where[place]},"subject":{subject}'
            )
        return found

    def _status(self, events: Events, small: list[int]) -> list[str]:
        changes = self._changes
        return [
            changes[number][drawn % len(changes[number])]
            for number, drawn in zip(events["detail"].tolist(), small, strict=True)
        ]

    def _messages(self, events: Events, writer: Writer) -> list[str]:
        lengths = {day: self._length(day) for day in np.unique(events["day"]).tolist()}
        found = []
        names = ("detail", "topic", "type", "priority", "channel", "place", "day")
        for said, topic, kind, priority, channel, place, day in _rows(events, *names):
            text = writer.message(said, topic, kind, priority, channel, place, lengths[day])
            found.append(
                f'"role":"{_ROLES[said]}","text":{encode_basestring(text)},"text_len":{len(text)}'
            )
        return found

    def _attachments(self, events: Events, small: list[int]) -> list[str]:
        channels = self._channels
        return [
            f'"file_type":"{_FILES[file]}","size_kb":{size + 12},'
            f'"source_channel":"{channels[channel]}"'
            for (file, channel), size in zip(_rows(events, "detail", "channel"), small, strict=True)
        ]


_HEADS = {
    Kind.CREATED.value: f'"event_type":"{EventType.TICKET_CREATED}",',
    Kind.STATUS.value: f'"event_type":"{EventType.STATUS_CHANGED}",',
    Kind.MESSAGE.value: f'"event_type":"{EventType.MESSAGE_ADDED}",',
    Kind.ATTACHMENT.value: f'"event_type":"{EventType.ATTACHMENT_ADDED}",',
}
_WITHOUT_SUBJECT = {Channel.CHAT, Channel.CALL}
_ROLES = {said.value: "agent" if said in (Said.ASK, Said.ANSWER) else "citizen" for said in Said}


def _rows(events: Events, *names: str) -> list[Any]:
    return list(zip(*(events[name].tolist() for name in names), strict=True))


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _quoted(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _class(kind: PqrsType, priority: Priority) -> str:
    return f'"pqrs_type":"{kind.code}","priority":"{priority}"'


def _changes(number: int) -> list[str]:
    before, after = TRANSITIONS[number]
    actor = "system" if number < _BY_SYSTEM else "agent"
    return [
        f'"status_from":"{before}","status_to":"{after}","actor_role":"{actor}",'
        f'"reason":{_quoted(reason)}'
        for reason in _REASONS[number]
    ]
