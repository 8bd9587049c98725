"""Argilla's filters as conditions on its tables and on our facts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any
from uuid import UUID

from argilla_server.enums import RecordStatus, ResponseStatus
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import Record, Response
from argilla_server.search_engine.base import (
    AndFilter,
    Filter,
    MetadataFilterScope,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
    TermsFilter,
)
from sqlalchemy import ColumnElement, and_, exists, false, or_, select

from plata_argilla_search.tables import FACTS, read
from plata_argilla_search.values import answers, holds

PENDING = "pending"
"""Not a stored status: the reviewer has not answered."""


def condition(wanted: Filter) -> ColumnElement[bool]:
    """Return what a record, joined with its facts, must fulfil."""
    if isinstance(wanted, AndFilter):
        return and_(True, *(condition(part) for part in wanted.filters))
    match wanted.scope:
        case RecordFilterScope() as scope:
            return _record(scope, wanted)
        case MetadataFilterScope() as scope:
            return holds(FACTS.c.metadata, (scope.metadata_property,), wanted)
        case SuggestionFilterScope() as scope:
            return _suggestion(scope, wanted)
        case ResponseFilterScope() as scope:
            return _response(scope, wanted)
        case other:
            raise ValueError(f"cannot filter by {other}")


def _suggestion(
    scope: SuggestionFilterScope, wanted: TermsFilter | RangeFilter
) -> ColumnElement[bool]:
    keys = (scope.question, property_of(scope))
    fits = answers if keys[1] == "value" else holds
    return fits(FACTS.c.suggestions, keys, wanted)


def property_of(scope: SuggestionFilterScope) -> str:
    """Return what of the suggestion is meant; the server writes `None` for its value."""
    return "value" if scope.property == "None" else str(scope.property)


def _record(scope: RecordFilterScope, wanted: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    name = getattr(scope.property, "value", scope.property)
    column = getattr(Record, name)
    if isinstance(wanted, RangeFilter):
        return _between(column, wanted, moment if name.endswith("_at") else str)
    convert: dict[str, Callable[[Any], Any]] = {
        "id": UUID,
        "status": RecordStatus,
        "inserted_at": moment,
        "updated_at": moment,
    }
    known = _converted(wanted.values, convert.get(name, str))
    fits: ColumnElement[bool] = column.in_(known)
    return fits


def _converted(values: list[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Leave out what no record can have: it is found nowhere, which is no error."""
    found = []
    for value in values:
        try:
            found.append(convert(value))
        except (ValueError, UnprocessableEntityError):
            continue
    return found


def _between(
    column: Any, wanted: RangeFilter, convert: Callable[[Any], Any]
) -> ColumnElement[bool]:
    """Compare with the bounds that are given, both inclusive."""
    bounds = []
    if wanted.ge is not None:
        bounds.append(column >= convert(wanted.ge))
    if wanted.le is not None:
        last = convert(wanted.le)
        whole_day = convert is moment and len(str(wanted.le)) == len("2026-01-31")
        bounds.append(column <= (datetime.combine(last, time.max) if whole_day else last))
    return and_(True, *bounds)


def moment(value: Any) -> datetime:
    """Read a time as Argilla's columns hold it: UTC without saying so.

    >>> moment("2026-03-01T12:00:00+02:00"), moment(0)
    (datetime.datetime(2026, 3, 1, 10, 0), datetime.datetime(1970, 1, 1, 0, 0))
    """
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None)
        read = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError) as error:
        raise UnprocessableEntityError(f"'{value}' is not a time such as 2026-01-31") from error
    return read.astimezone(UTC).replace(tzinfo=None) if read.tzinfo else read


def responses_of(scope: ResponseFilterScope) -> Any:
    """Return the condition that ties a response to the record, and to one reviewer when named."""
    tied = Response.record_id == Record.id
    return tied if scope.user is None else and_(tied, Response.user_id == scope.user.id)


def _response(scope: ResponseFilterScope, wanted: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    mine = responses_of(scope)
    if scope.question is not None:
        fits = answers(read(Response.values), (scope.question, "value"), wanted)
        return exists(select(1).where(mine, fits))
    if scope.property != "status" or not isinstance(wanted, TermsFilter):
        raise UnprocessableEntityError("responses are filtered by a question or by their status")
    asked = {getattr(value, "value", value) for value in wanted.values}
    stored = _converted(sorted(asked - {PENDING}), ResponseStatus)
    answered = exists(select(1).where(mine, Response.status.in_(stored))) if stored else false()
    if PENDING not in asked:
        return answered
    return (
        or_(~exists(select(1).where(mine)), answered) if stored else ~exists(select(1).where(mine))
    )
