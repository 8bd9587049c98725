"""Cover the personal data a pattern can recognise, before a text leaves for the reviewers' screen.

A first line of defence, not a policy: names stay, and so does what people write in words of their
own. Amounts of money are left, because they often decide what a text is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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


def masked(text: str) -> str:
    """Return `text` with recognised personal data replaced by what kind it was.

    >>> masked("Soy Ana, c.c. 1.110.582.937, cel 315 037 6681; me cobraron $1.250.000")
    'Soy Ana, c.c. [número], cel [teléfono]; me cobraron $1.250.000'
    >>> masked("Vivo en la Calle 32 # 17B-09 apto 301, escríbanme a ana@example.org.")
    'Vivo en la [dirección], escríbanme a [correo].'
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _unless_money(found: re.Match[str]) -> str:
    digits = sum(character.isdigit() for character in found[0])
    if found["money"] or found["unit"] or digits < _MIN_DIGITS:
        return found[0]
    return "[número]"


_PATTERNS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_EMAIL, "[correo]"),
    (_LINK, "[enlace]"),
    (_ADDRESS, "[dirección]"),
    (_LOT, "[dirección]"),
    (_PHONE, "[teléfono]"),
    (_NUMBER, _unless_money),
    (_PLATE, "[placa]"),
)
