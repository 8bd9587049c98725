"""The words of the domain: types, priorities, channels and states of a citizen's request."""

from __future__ import annotations

from enum import StrEnum

from lakehouse.errors import InputError


class PqrsType(StrEnum):
    """The four legal categories, as stored."""

    PETICION = "peticion"
    QUEJA = "queja"
    RECLAMO = "reclamo"
    SUGERENCIA = "sugerencia"

    @classmethod
    def from_code(cls, code: str) -> PqrsType:
        """Read the one-letter code of the Raw contract; the only place that does.

        >>> PqrsType.from_code("Q")
        <PqrsType.QUEJA: 'queja'>
        """
        if code not in _CODES:
            msg = f"'{code}' is not a PQRS code: expected one of {', '.join(_CODES)}"
            raise InputError(msg)
        return _CODES[code]

    @property
    def code(self) -> str:
        """The one-letter code of the Raw contract."""
        return next(code for code, kind in _CODES.items() if kind is self)


_CODES = {
    "P": PqrsType.PETICION,
    "Q": PqrsType.QUEJA,
    "R": PqrsType.RECLAMO,
    "S": PqrsType.SUGERENCIA,
}


class Priority(StrEnum):
    """How soon it matters."""

    ALTA = "alta"
    MEDIA = "media"
    BAJA = "baja"


class Channel(StrEnum):
    """How a request came in."""

    EMAIL = "email"
    WEBFORM = "webform"
    CHAT = "chat"
    CALL = "call"
    OTHER_DIGITAL = "other_digital"


class EventType(StrEnum):
    """The four kinds of Raw event."""

    TICKET_CREATED = "TICKET_CREATED"
    MESSAGE_ADDED = "MESSAGE_ADDED"
    STATUS_CHANGED = "STATUS_CHANGED"
    ATTACHMENT_ADDED = "ATTACHMENT_ADDED"


class TicketState(StrEnum):
    """The ten states of the state machine, V1."""

    RECEIVED = "RECEIVED"
    RADICATED = "RADICATED"
    CLASSIFIED = "CLASSIFIED"
    ASSIGNED = "ASSIGNED"
    IN_PROGRESS = "IN_PROGRESS"
    ON_HOLD = "ON_HOLD"
    RESPONDED = "RESPONDED"
    CLOSED = "CLOSED"
    ARCHIVED = "ARCHIVED"
    REOPENED = "REOPENED"


class EntityKind(StrEnum):
    """What a text may name that is worth finding."""

    FECHA = "fecha"
    MONTO = "monto"
    RADICADO = "radicado"
    LUGAR = "lugar"
    ORGANIZACION = "organizacion"
