"""Reading Argilla's JSON columns in SQL: one row a value, whether one value is stored or a list."""

from __future__ import annotations

from typing import Any

from argilla_server.search_engine.base import RangeFilter, TermsFilter
from sqlalchemy import (
    ColumnElement,
    Float,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import UserDefinedType

# Accents are folded on both sides: a reviewer who types `peticion` means `petición`.
_ACCENTED = "áàâäãéèêëíìîïóòôöõúùûüñç"
_FOLDED = "aaaaaeeeeiiiiooooouuuunc"
# No stemming, no stop words: what is typed is what is found, in any language.
_SIMPLE: Any = text("'simple'::regconfig")
_NO_PATH: Any = text("'{}'::text[]")


class VectorType(UserDefinedType[Any]):
    """The type of the extension pgvector, to cast to."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return its name."""
        return "vector"


def as_vector(value: Any) -> ColumnElement[Any]:
    """Cast a JSON list, or its text, to a vector: both are written alike."""
    return cast(cast(value, Text), VectorType())


def folded(words: ColumnElement[Any]) -> ColumnElement[Any]:
    """Write in lower case without accents."""
    return func.translate(func.lower(words), _ACCENTED, _FOLDED)


def matches_text(document: ColumnElement[Any], tsquery: str) -> ColumnElement[bool]:
    """Search a text for a query in PostgreSQL's own language."""
    vector = func.to_tsvector(_SIMPLE, folded(document))
    return vector.op("@@")(func.to_tsquery(_SIMPLE, folded(literal(tsquery))))


def each(column: Any, *path: str) -> TableValuedAlias:
    """Return the values below `path` as rows of a table with one column, `value`."""
    node: Any = cast(column, JSONB)
    for key in path:
        node = node[key]
    many = func.jsonb_typeof(node) == "array"
    listed = case((many, node), else_=func.jsonb_build_array(node))
    return func.jsonb_array_elements(listed).table_valued("value")


def some_value(values: TableValuedAlias, wanted: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    """Tell whether any of the values is among the terms, or in the range."""
    bare = _text(values)
    if isinstance(wanted, TermsFilter):
        fits: ColumnElement[bool] = bare.in_([str(term) for term in wanted.values])
    else:
        fits = within(cast(bare, Float), wanted, float)
    return exists(select(1).select_from(values).where(fits))


def within(column: Any, wanted: RangeFilter, convert: Any) -> ColumnElement[bool]:
    """Compare with the bounds that are given, both inclusive."""
    bounds = []
    if wanted.ge is not None:
        bounds.append(column >= convert(wanted.ge))
    if wanted.le is not None:
        bounds.append(column <= convert(wanted.le))
    return and_(True, *bounds)


def extreme(values: TableValuedAlias, *, largest: bool) -> Any:
    """Return one of the values to sort by; JSON compares numbers as numbers and words as words."""
    value: Any = cast(values.c.value, JSONB)
    order = value.desc() if largest else value.asc()
    known = func.jsonb_typeof(value) != "null"
    return select(value).select_from(values).where(known).order_by(order).limit(1)


def _text(values: TableValuedAlias) -> Any:
    """Return a JSON scalar as bare text: `"web"` as web, 3 as 3, null as nothing."""
    return cast(values.c.value, JSONB).op("#>>")(_NO_PATH)
