"""What a filter wants of JSON, as an SQL/JSON path: a value alone and one in a list are alike."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.search_engine.base import RangeFilter, TermsFilter
from sqlalchemy import ColumnElement, String, cast, literal, or_
from sqlalchemy.dialects.postgresql import JSONPATH

_Fits = ColumnElement[bool]


def holds(document: Any, keys: tuple[str, ...], wanted: TermsFilter | RangeFilter) -> _Fits:
    """Tell whether a JSON document has below `keys` one of the terms, or a number in the range."""
    below = _below(keys)
    if isinstance(wanted, RangeFilter):
        return _finds(document, f"{below}[*] ? ({_within(wanted)})")
    return _finds(document, f"{below}[*] ? ({_any(_is, wanted.values)})")


def answers(document: Any, keys: tuple[str, ...], wanted: TermsFilter | RangeFilter) -> _Fits:
    """Do the same for the answer to a question of any kind.

    A term also means the label of a marked span, and what a ranking puts first: the page writes
    down ranks, the client only the order.
    """
    if isinstance(wanted, RangeFilter):
        return holds(document, keys, wanted)
    below = _below(keys)
    return or_(
        _finds(document, f"{below}[*] ? ({_any(_is_or_says, wanted.values)})"),
        _finds(document, f"{below}[0] ? ({_any(_leads, wanted.values)})"),
    )


def _below(keys: tuple[str, ...]) -> str:
    return "$" + "".join(f".{_quoted(key)}" for key in keys)


def _finds(document: Any, path: str) -> _Fits:
    found: _Fits = document.bool_op("@?")(cast(literal(path, String), JSONPATH))
    return found


def _any(fits: Callable[[str], str], terms: list[Any]) -> str:
    return " || ".join(fits(str(term)) for term in terms)


def _is(term: str) -> str:
    number = _number(term)
    return f"@ == {_quoted(term)}" + ("" if number is None else f" || @ == {number}")


def _is_or_says(term: str) -> str:
    word = _quoted(term)
    return f"{_is(term)} || @.label == {word} || (@.value == {word} && @.rank == 1)"


def _leads(term: str) -> str:
    return f"(@.value == {_quoted(term)} && !(@.rank > 0))"


def _within(wanted: RangeFilter) -> str:
    bounds = [("ge", ">=", wanted.ge), ("le", "<=", wanted.le)]
    given = [
        (name, sign, _number(bound), bound) for name, sign, bound in bounds if bound is not None
    ]
    for name, _, number, bound in given:
        if number is None:
            raise UnprocessableEntityError(f"`{name}` must be a number, not '{bound}'")
    return " && ".join(f"@ {sign} {number}" for _, sign, number, _ in given)


def _number(value: Any) -> str | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return str(int(number)) if number.is_integer() else repr(number)


def _quoted(text: str) -> str:
    """Write a text as SQL/JSON reads it; it knows no NUL, and no record has one here."""
    return json.dumps(text.replace("\x00", " "), ensure_ascii=False)
