"""Argilla's filters as conditions on its tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from argilla_server.enums import RecordStatus, ResponseStatus
from argilla_server.models import Question, Record, Response, Suggestion
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
from sqlalchemy import ColumnElement, String, and_, cast, exists, or_, select

from plata_argilla_search.values import each, some_value, within

PENDING = "pending"
"""Not a stored status: the reviewer has not answered."""


def condition(wanted: Filter) -> ColumnElement[bool]:
    """Return what a record must fulfil."""
    if isinstance(wanted, AndFilter):
        return and_(True, *(condition(part) for part in wanted.filters))
    match wanted.scope:
        case RecordFilterScope() as scope:
            return _record(scope, wanted)
        case MetadataFilterScope() as scope:
            return some_value(each(Record.metadata_, scope.metadata_property), wanted)
        case SuggestionFilterScope() as scope:
            return _suggestion(scope, wanted)
        case ResponseFilterScope() as scope:
            return _response(scope, wanted)
        case other:
            raise ValueError(f"cannot filter by {other}")


def _record(scope: RecordFilterScope, wanted: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    name = getattr(scope.property, "value", scope.property)
    convert: Callable[[Any], Any] = {
        "id": lambda value: UUID(str(value)),
        "status": RecordStatus,
        "inserted_at": moment,
        "updated_at": moment,
    }.get(name, str)
    column = getattr(Record, name)
    if isinstance(wanted, RangeFilter):
        return within(column, wanted, convert)
    fits: ColumnElement[bool] = column.in_([convert(value) for value in wanted.values])
    return fits


def moment(value: Any) -> datetime:
    """Read a time as Argilla's columns hold it: UTC without saying so.

    >>> moment("2026-03-01T12:00:00+02:00"), moment(0)
    (datetime.datetime(2026, 3, 1, 10, 0), datetime.datetime(1970, 1, 1, 0, 0))
    """
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None)
    read = datetime.fromisoformat(str(value))
    return read.astimezone(UTC).replace(tzinfo=None) if read.tzinfo else read


def suggestions_for(question: str) -> Any:
    """Return the condition that ties a suggestion to the record and to the named question."""
    return and_(
        Suggestion.record_id == Record.id,
        Question.id == Suggestion.question_id,
        Question.dataset_id == Record.dataset_id,
        Question.name == question,
    )


def _suggestion(
    scope: SuggestionFilterScope, wanted: TermsFilter | RangeFilter
) -> ColumnElement[bool]:
    column = getattr(Suggestion, str(scope.property))
    if scope.property in ("agent", "type") and isinstance(wanted, TermsFilter):
        fits = cast(column, String).in_([str(getattr(v, "value", v)) for v in wanted.values])
    else:
        fits = some_value(each(column), wanted)
    return exists(select(1).where(suggestions_for(scope.question), fits))


def responses_of(scope: ResponseFilterScope) -> Any:
    """Return the condition that ties a response to the record, and to one reviewer when named."""
    tied = Response.record_id == Record.id
    return tied if scope.user is None else and_(tied, Response.user_id == scope.user.id)


def _response(scope: ResponseFilterScope, wanted: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    mine = responses_of(scope)
    if scope.question is not None:
        fits = some_value(each(Response.values, scope.question, "value"), wanted)
        return exists(select(1).where(mine, fits))
    if scope.property != "status" or not isinstance(wanted, TermsFilter):
        raise ValueError(f"cannot filter responses by {scope.property}")
    asked = {getattr(value, "value", value) for value in wanted.values}
    stored = [ResponseStatus(value) for value in asked - {PENDING}]
    answered: ColumnElement[bool] = exists(select(1).where(mine, Response.status.in_(stored)))
    if PENDING not in asked:
        return answered
    return or_(~exists(select(1).where(mine)), answered)
