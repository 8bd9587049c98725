"""Argilla's sort orders as columns to order by."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from argilla_server.enums import SortOrder
from argilla_server.models import Record, Response
from argilla_server.search_engine.base import (
    MetadataFilterScope,
    Order,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
)
from sqlalchemy import Float, String, case, cast, func, null, select
from sqlalchemy.dialects.postgresql import JSONB

from plata_argilla_search.conditions import property_of, responses_of
from plata_argilla_search.tables import FACTS, read


def order_by(orders: list[Order]) -> list[Any]:
    """Return what to order records by; the last key makes the order total: no pages overlap."""
    keys = [key for order in orders for key in _keys(order)]
    return [*keys, *([] if keys else [Record.inserted_at]), Record.id]


def order_of(reviewer: UUID) -> list[Any]:
    """Return an order of the reviewer's own, always the same.

    So two who start together do not label the same records.
    """
    seed = int.from_bytes(reviewer.bytes[:8], signed=True)
    return [func.uuid_hash_extended(Record.id, seed), Record.id]


def _keys(order: Order) -> list[Any]:
    largest = order.order == SortOrder.desc
    return [
        (key.desc() if largest else key.asc()).nulls_last()
        for key in _sought(order.scope, largest=largest)
    ]


def _sought(scope: Any, *, largest: bool) -> list[Any]:
    match scope:
        case RecordFilterScope():
            name = getattr(scope.property, "value", scope.property)
            column = getattr(Record, name)
            return [cast(column, String) if name == "status" else column]
        case MetadataFilterScope():
            return [_extreme(FACTS.c.metadata[scope.metadata_property], largest=largest)]
        case SuggestionFilterScope():
            of_question = FACTS.c.suggestions[scope.question]
            return [_extreme(of_question[property_of(scope)], largest=largest)]
        case ResponseFilterScope():
            return _of_responses(scope, largest=largest)
        case other:
            raise ValueError(f"cannot sort by {other}")


def _extreme(value: Any, *, largest: bool) -> Any:
    """Return a value to sort by, of a list the one that comes first.

    JSON compares numbers as numbers and words as words.
    """
    parts = func.jsonb_array_elements(value).table_valued("value")
    part: Any = cast(parts.c.value, JSONB)
    ordered = part.desc() if largest else part.asc()
    first = select(part).select_from(parts).order_by(ordered).limit(1).scalar_subquery()
    kind = func.jsonb_typeof(value)
    return case((kind == "array", first), (kind == "null", null()), else_=value)


def _of_responses(scope: ResponseFilterScope, *, largest: bool) -> list[Any]:
    """Sort by the mean of numbers; by the first of words."""
    if scope.question is None:
        return [_over(scope, cast(Response.status, String), largest=largest)]
    value: Any = read(Response.values)[scope.question]["value"]
    number = case((func.jsonb_typeof(value) == "number", cast(value, Float)))
    mean = select(func.avg(number)).where(responses_of(scope)).scalar_subquery()
    return [mean, _over(scope, _extreme(value, largest=largest), largest=largest)]


def _over(scope: ResponseFilterScope, key: Any, *, largest: bool) -> Any:
    """Of several reviewers' answers take the one that comes first."""
    ordered = (key.desc() if largest else key.asc()).nulls_last()
    return select(key).where(responses_of(scope)).order_by(ordered).limit(1).scalar_subquery()
