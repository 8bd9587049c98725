"""Argilla's sort orders as columns to order by."""

from __future__ import annotations

from typing import Any

from argilla_server.enums import SortOrder
from argilla_server.models import Question, Record, Response, Suggestion
from argilla_server.search_engine.base import (
    MetadataFilterScope,
    Order,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
)
from sqlalchemy import String, cast, func, select

from plata_argilla_search.conditions import responses_of, suggestions_for
from plata_argilla_search.values import each, extreme


def order_by(orders: list[Order], user_id: Any | None) -> list[Any]:
    """Return what to order records by; the last keys make the order total, so pages never overlap.

    Without a wish every reviewer meets the records in an order of their own, always the same, so
    that two who start together do not label the same ones.
    """
    keys = [_directed(order) for order in orders]
    if not keys and user_id is not None:
        keys.append(func.md5(func.concat(str(user_id), cast(Record.id, String))))
    return [*keys, Record.inserted_at, Record.id]


def _directed(order: Order) -> Any:
    largest = order.order == SortOrder.desc
    key = _key(order.scope, largest=largest)
    return (key.desc() if largest else key.asc()).nulls_last()


def _key(scope: Any, *, largest: bool) -> Any:
    match scope:
        case RecordFilterScope():
            return getattr(Record, getattr(scope.property, "value", scope.property))
        case MetadataFilterScope():
            return extreme(
                each(Record.metadata_, scope.metadata_property), largest=largest
            ).scalar_subquery()
        case SuggestionFilterScope():
            return _suggestion_key(scope, largest=largest)
        case ResponseFilterScope():
            return _response_key(scope, largest=largest)
        case other:
            raise ValueError(f"cannot sort by {other}")


def _suggestion_key(scope: SuggestionFilterScope, *, largest: bool) -> Any:
    tied = suggestions_for(scope.question)
    column = getattr(Suggestion, str(scope.property))
    if scope.property in ("agent", "type"):
        key: Any = cast(column, String)
    else:
        key = extreme(each(column), largest=largest).scalar_subquery()
    chosen = (
        select(key).select_from(Suggestion).join(Question, Question.id == Suggestion.question_id)
    )
    return chosen.where(tied).limit(1).scalar_subquery()


def _response_key(scope: ResponseFilterScope, *, largest: bool) -> Any:
    if scope.question is None:
        key: Any = cast(Response.status, String)
    else:
        values = each(Response.values, scope.question, "value")
        key = extreme(values, largest=largest).scalar_subquery()
    ordered = key.desc() if largest else key.asc()
    chosen = select(key).select_from(Response).where(responses_of(scope))
    return chosen.order_by(ordered.nulls_last()).limit(1).scalar_subquery()
