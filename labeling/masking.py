"""Cover the personal data a pattern can recognise, before a text leaves for the reviewers' screen.

A first line of defence: names stay, and so does what people write in words of their own. Amounts of
money are left, because they often decide what a text is. Which kinds are covered is a tenant's own
policy; how each is recognised has a version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

RULES_VERSION = 1
"""How kinds are recognised. It grows with every change that covers another text."""


class Pii(StrEnum):
    """What is recognised, in the words that take its place."""

    CORREO = "correo"
    ENLACE = "enlace"
    DIRECCION = "dirección"
    TELEFONO = "teléfono"
    NUMERO = "número"
    PLACA = "placa"


_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_LINK = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)
_STREET = (
    r"\b(?:calle|cll?|carrera|cra|kra|kr|cr|avenida|av|diagonal|diag|dg|transversal|transv|tv|tr)\b"
)
_SIDE = r"(?:\s(?:sur|norte|este|oeste))?"
_PLOT = rf"\d+\s?(?:[a-z]\b)?(?:\s?bis\b)?{_SIDE}"
_SIGN = r"\s*,?\s*(?:#|n[°ºo]\.?|n[uú]mero|con)\s*"
_WITHIN = (
    r"(?:,?\s*\b(?:apto|apartamento|apt?|torre|bloque|interior|int|local|casa|piso|oficina|of)"
    r"\.?\s*\w{1,5})*"
)
_ADDRESS = re.compile(
    rf"{_STREET}\.?\s*(?:{_PLOT}|(?:\w+\s){{1,3}}(?=#))"
    rf"(?:{_SIGN}{_PLOT}(?:\s*[-–]\s*{_PLOT})?|\s+{_PLOT}\s*[-–]\s*{_PLOT}){_WITHIN}",
    re.IGNORECASE,
)
_LOT = re.compile(
    r"\b(?:mz|manzana)\.?\s*\w{1,3},?\s*(?:casa|lote|cs|lt)\.?\s*\w{1,4}", re.IGNORECASE
)
_PHONE = re.compile(
    r"(?<![\w.-])(?:\+?57[\s.-]?)?(?:3\d{2}|60\d)[\s.-]?\d{3}[\s.-]?\d{2}[\s.-]?\d{2}(?![\w]|[.-]\d)"
)
_PLATE = re.compile(r"\b[A-Z]{3}[\s-]?\d{2}[0-9A-Z]\b")
_NUMBER = re.compile(
    r"(?P<money>(?:\$|\bCOP)\s*)?(?<![\w.,-])(?:[A-Z]{2,3}-?)?\d[\d.\-]{5,}\d(?:-[A-Z])?(?![\w])"
    r"(?P<unit>\s*(?:de\s+)?(?:pesos|cop|millones|mil)\b)?",
    re.IGNORECASE,
)
_MIN_DIGITS = 7


_PATTERNS = (
    (Pii.CORREO, _EMAIL),
    (Pii.ENLACE, _LINK),
    (Pii.DIRECCION, _ADDRESS),
    (Pii.DIRECCION, _LOT),
    (Pii.TELEFONO, _PHONE),
    (Pii.NUMERO, _NUMBER),
    (Pii.PLACA, _PLATE),
)
"""In the order in which they are looked for: what one has found is not looked at again."""


@dataclass(frozen=True, slots=True)
class Masking:
    """Which kinds a tenant covers; all of them where it does not say."""

    kinds: frozenset[Pii] = frozenset(Pii)

    def __str__(self) -> str:
        """Name the version of the rules and the kinds, as a reviewer is told of them.

        >>> str(Masking(frozenset({Pii.TELEFONO, Pii.CORREO}))), str(Masking(frozenset()))
        ('v1: correo, teléfono', 'v1: nada')
        """
        names = [kind.value for kind in Pii if kind in self.kinds]
        return f"v{RULES_VERSION}: {', '.join(names) or 'nada'}"

    def __call__(self, text: str) -> str:
        """Return `text` with what is covered replaced by what kind it was.

        A kind that is not covered stays as it is, also where another's pattern would take it.

        >>> Masking(frozenset({Pii.NUMERO}))("c.c. 1.110.582.937, cel 315 037 6681")
        'c.c. [número], cel 315 037 6681'
        """
        pieces = [text]
        for kind, pattern in _PATTERNS:
            pieces = [
                part
                for place, piece in enumerate(pieces)
                for part in ([piece] if place % 2 else self._split(piece, kind, pattern))
            ]
        return "".join(pieces)

    def _split(self, piece: str, kind: Pii, pattern: re.Pattern[str]) -> Iterator[str]:
        """Cut at what is found: every second part is decided, the others are still to be read."""
        start = 0
        for found in pattern.finditer(piece):
            if kind is Pii.NUMERO and _is_money(found):
                continue
            yield piece[start : found.start()]
            yield f"[{kind.value}]" if kind in self.kinds else found[0]
            start = found.end()
        yield piece[start:]


def masked(text: str) -> str:
    """Return `text` with recognised personal data of every kind replaced by what kind it was.

    >>> masked("Soy Ana, c.c. 1.110.582.937, cel 315 037 6681; me cobraron $1.250.000")
    'Soy Ana, c.c. [número], cel [teléfono]; me cobraron $1.250.000'
    >>> masked("Vivo en la Calle 32 # 17B-09 apto 301, escríbanme a ana@example.org.")
    'Vivo en la [dirección], escríbanme a [correo].'
    """
    return _EVERYTHING(text)


def _is_money(found: re.Match[str]) -> bool:
    digits = sum(character.isdigit() for character in found[0])
    return bool(found["money"] or found["unit"] or digits < _MIN_DIGITS)


_EVERYTHING = Masking()
