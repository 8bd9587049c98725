"""Reviewers' query language as a PostgreSQL `tsquery`.

Words must all occur; `"a phrase"`, `-without`, `this | that`, `begin*` and `(groups)` mean what
Argilla's help says. Nothing a reviewer types is an error: stray operators are ignored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

EVERYTHING = "*"
"""A query that asks for no word in particular."""

_TOKEN = re.compile(
    r'"(?P<phrase>[^"]*)"(?:~\d+)?|(?P<mark>[()|]|[+-](?=[^\s+\-|)]))|(?P<word>[^\s"()|]+)'
)
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_BETWEEN = re.compile(r"[\W_]+")


def to_tsquery(query: str) -> str:
    """Translate; the result is safe to hand to `to_tsquery` and empty when no word is left.

    >>> to_tsquery('cobro -"agua potable" factur* | luz')
    "('cobro' & !'agua potable' & 'factur':* | 'luz')"
    >>> to_tsquery("Petición ana@correo.co")
    "('peticion' & 'ana correo co')"
    >>> to_tsquery("| ( -")
    ''
    """
    return _alternatives(_tokens(query), depth=0)


def _tokens(query: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(query):
        kind = match.lastgroup or ""
        yield kind, match.group(kind)


def _alternatives(tokens: Iterator[tuple[str, str]], depth: int) -> str:
    """Read up to the closing parenthesis: conjunctions joined by `|`."""
    choices: list[list[str]] = [[]]
    sign = ""
    for kind, text in tokens:
        if (kind, text) == ("mark", ")") and depth:
            break
        if (kind, text) == ("mark", "|"):
            choices.append([])
        elif kind == "mark" and text in "+-":
            sign = "!" if text == "-" else ""
            continue
        else:
            term = _term(kind, text, tokens, depth)
            if term:
                choices[-1].append(sign + term)
        sign = ""
    joined = " | ".join(" & ".join(terms) for terms in choices if terms)
    return f"({joined})" if sum(map(len, choices)) > 1 else joined


def _term(kind: str, text: str, tokens: Iterator[tuple[str, str]], depth: int) -> str:
    if kind == "mark":
        return _alternatives(tokens, depth + 1) if text == "(" else ""
    prefix = kind == "word" and text.endswith("*")
    words = _plain(re.sub(r"(\*+|~\d+)$", "", text) if kind == "word" else text)
    return (f"'{words}'" + (":*" if prefix else "")) if words else ""


def _plain(text: str) -> str:
    """Write words as `plata_search.words` in `schema.sql` writes those of a record."""
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text).lower())
    return _BETWEEN.sub(" ", bare).strip()
