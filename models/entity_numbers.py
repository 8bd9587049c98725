"""Dates, amounts of money and case numbers, as people in Colombia write them.

Patterns are put together of the lexicon's words, each taken letter by letter; nothing in them can
run away, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

from features.text import folded
from models.mentions import FECHA, MONTO, RADICADO, Lexicon, Mention

_UNITS = [
    "cero",
    "un",
    "dos",
    "tres",
    "cuatro",
    "cinco",
    "seis",
    "siete",
    "ocho",
    "nueve",
    "diez",
    "once",
    "doce",
    "trece",
    "catorce",
    "quince",
    "dieciseis",
    "diecisiete",
    "dieciocho",
    "diecinueve",
    "veinte",
    "veintiun",
    "veintidos",
    "veintitres",
    "veinticuatro",
    "veinticinco",
    "veintiseis",
    "veintisiete",
    "veintiocho",
    "veintinueve",
]
_TENS = ["treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]
_HUNDREDS = [
    "ciento",
    "doscientos",
    "trescientos",
    "cuatrocientos",
    "quinientos",
    "seiscientos",
    "setecientos",
    "ochocientos",
    "novecientos",
]
_WORTH = {
    **{word: n for n, word in enumerate(_UNITS)},
    **{word: 10 * n for n, word in enumerate(_TENS, 3)},
    **{word: 100 * n for n, word in enumerate(_HUNDREDS, 1)},
    "uno": 1,
    "una": 1,
    "veintiuno": 21,
    "cien": 100,
    "doscientas": 200,
    "trescientas": 300,
    "quinientas": 500,
}
_SCALES = {"mil": 1_000, "millon": 1_000_000, "millones": 1_000_000}
_PESOS = r"(?:\s+(?:de\s+)?(?:pesos|pesitos)\b)?"
_FIGURES = re.compile(
    rf"\$\s?\d[\d.,]{{0,18}}(?:\s+(?:mil|mill[oó]n(?:es)?)\b)?{_PESOS}"
    rf"|(?<![\w.,$])\d[\d.,]{{0,18}}\s+mill[oó]n(?:es)?\b{_PESOS}"
    rf"|(?<![\w.,$])\d[\d.,]{{0,18}}\s?mil\b{_PESOS}"
    rf"|(?<![\w.,$])\d[\d.,]{{0,18}}\s+(?:de\s+)?(?:pesos|pesitos)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_YEAR = r"(?:19[3-9]\d|20[0-4]\d)"
_LONE_YEAR = re.compile(rf"(?<![\w$#/.,-])({_YEAR})(?![\w/-]|[.,]\d)")
_ISO = re.compile(r"(?<![\w/-])(\d{4})-(\d{2})(?:-(\d{2}))?(?![\w/-])")
_SLASHED = re.compile(r"(?<![\w/-])(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d{2})(?![\w/-])")
_CODE = r"[A-Z0-9]{1,20}(?:[-_/][A-Z0-9]{1,20}){0,5}"
_LOOSE = re.compile(r"(?<![\w/$.#-])[A-Z]{1,6}-\d{2,10}(?:-[A-Z0-9]{1,12}){0,3}(?![\w-])")
_NUMBERED = re.compile(r"(?<![\w/$.#-])(?:19|20)\d{2}[-_]\d{4,10}(?![\w-])")
_TELEPHONE = re.compile(r"(?:57)?3\d{9}|60\d{8}")
_LINKS = r"(?:(?:n\.?[°ºo]\.?|no\.|nro\.?|n[uú]m(?:ero)?\.?|\#|es|el|la|con|de|del|n|:|\()\s?){0,5}"


class Numbers:
    """Finds what is written with numbers, by the lexicon's words."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._months = {folded(name): n for n, name in enumerate(lexicon.meses, 1)}
        months = _either([*lexicon.meses, "setiembre"])
        short = _either([name[:3] for name in lexicon.meses] + ["sept"])
        days = _either(lexicon.dias)
        self._dated = re.compile(
            rf"(?:\b(?:{days})\s+)?(?<![\w.,$#/-])(?:\d{{1,2}}|primero)(?:\s*(?:al|a|y|-)\s*\d{{1,2}})?"
            rf"\s+(?:(?:de\s+)?(?:este|ese)\s+mes|(?:de\s+)?(?P<mes>{months})"
            rf"(?:\s+(?:de|del)\s+(?:año\s+)?(?P<ano>{_YEAR}))?|(?P<corto>{short}))\b",
            re.IGNORECASE,
        )
        self._monthly = re.compile(
            rf"\b(?P<mes>{months})(?:\s+(?:de|del)\s+(?:año\s+)?(?P<ano>{_YEAR}))?\b", re.IGNORECASE
        )
        self._weekday = re.compile(rf"\b(?:{days})\s+\d{{1,2}}\b(?!\s*[:.]\d)", re.IGNORECASE)
        called = _either(lexicon.radicado)
        self._called = re.compile(
            rf"\b(?i:(?:{called})s?)\b[\s,]{{0,2}}(?i:{_LINKS})(?P<code>{_CODE}(?:\s+de\s+{_YEAR})?)"
            r"(?![\w-]|\s\d)"
        )
        self._foreign = re.compile(
            rf"\b(?:{_either(lexicon.ajeno)})\W{{0,6}}(?:n[uú]mero\W{{0,3}})?$", re.IGNORECASE
        )

    def find(self, text: str) -> Iterator[Mention]:
        """Yield mentions; some may overlap."""
        yield from self._cases(text)
        yield from self._amounts(text)
        yield from self._dates(text)

    def _cases(self, text: str) -> Iterator[Mention]:
        for match in self._called.finditer(text):
            code = match["code"]
            start, end = match.span("code")
            number = re.split(r"\s+de\s+", code)[0]
            if not any(c.isdigit() for c in number) or len(number) < 3:
                continue
            if re.fullmatch(_YEAR, number) and code == number:
                continue
            if self._belongs_to_a_person(text, match.start(), number):
                continue
            if self._belongs_to_a_person(text, start, number):
                continue
            if not number.isdigit() and " " in code and "-" not in number:
                code, end = number, start + len(number)
            yield Mention(RADICADO, start, end, code, {"number": code}, 0.9)
        for pattern in (_LOOSE, _NUMBERED):
            for match in pattern.finditer(text):
                if not self._belongs_to_a_person(text, match.start(), match[0]):
                    found = {"number": match[0]}
                    yield Mention(RADICADO, *match.span(), match[0], found, 0.7)

    def _belongs_to_a_person(self, text: str, start: int, number: str) -> bool:
        """Tell identity cards, accounts and telephones from cases."""
        if _TELEPHONE.fullmatch(number):
            return True
        return self._foreign.search(text[max(0, start - 30) : start]) is not None

    def _amounts(self, text: str) -> Iterator[Mention]:
        for match in _FIGURES.finditer(text):
            found = match[0].rstrip(".,")
            if not any(c.isdigit() for c in found):
                continue
            end = match.start() + len(found)
            yield Mention(MONTO, match.start(), end, found, _money(_figure(found)), 0.95)
        yield from _spelled(text)

    def _dates(self, text: str) -> Iterator[Mention]:
        for match in self._dated.finditer(text):
            yield self._dated_mention(match)
        for match in _ISO.finditer(text):
            year, month, day = match[1], match[2], match[3]
            if 1 <= int(month) <= 12:
                value = {"date": f"{year}-{month}"} if day is None else _whole(year, month, day)
                yield Mention(FECHA, *match.span(), match[0], value, 0.95)
        for match in _SLASHED.finditer(text):
            year = match[3] if len(match[3]) == 4 else f"20{match[3]}"
            if 1 <= int(match[2]) <= 12 and 1 <= int(match[1]) <= 31:
                value = _whole(year, match[2], match[1])
                yield Mention(FECHA, *match.span(), match[0], value, 0.9)
        for match in self._weekday.finditer(text):
            yield Mention(FECHA, *match.span(), match[0], None, 0.7)
        for match in self._monthly.finditer(text):
            month = self._months.get(folded(match["mes"]), 9)
            known = match["ano"]
            value = None if known is None else {"date": f"{known}-{month:02d}"}
            yield Mention(FECHA, *match.span(), match[0], value, 0.9)
        for match in _LONE_YEAR.finditer(text):
            yield Mention(FECHA, *match.span(), match[0], {"date": match[0]}, 0.6)

    def _dated_mention(self, match: re.Match[str]) -> Mention:
        value = None
        if match["mes"] and match["ano"] and not re.search(r"\d\s*(?:al|a|y|-)\s*\d", match[0]):
            day = re.search(r"\d{1,2}|primero", match[0], re.IGNORECASE)
            assert day is not None
            month = self._months.get(folded(match["mes"]), 9)
            number = "1" if day[0].lower() == "primero" else day[0]
            value = _whole(match["ano"], str(month), number)
        return Mention(FECHA, *match.span(), match[0], value, 0.95)


def _either(words: Sequence[str]) -> str:
    """Return a pattern of words, the longest first; an accent may be missing."""
    loose = str.maketrans({"á": "[aá]", "é": "[eé]", "í": "[ií]", "ó": "[oó]", "ú": "[uú]"})
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return "|".join(re.escape(word).translate(loose) for word in ordered)


def _whole(year: str, month: str, day: str) -> dict[str, str] | None:
    try:
        return {"date": date(int(year), int(month), int(day)).isoformat()}
    except ValueError:
        return None


def _money(amount: float | None) -> dict[str, object] | None:
    if amount is None:
        return None
    whole = int(amount) if amount == int(amount) else amount
    return {"amount": whole, "currency": "COP"}


def _figure(found: str) -> float | None:
    """Read `$ 1.250.000`, `42 millones`, `$87,5 mil`; points part thousands, a comma cents."""
    digits = re.search(r"\d[\d.,]*", found)
    assert digits is not None
    text = digits[0].rstrip(".,")
    if re.search(r",\d{1,2}$", text):
        whole, _, cents = text.rpartition(",")
    elif re.search(r"\.\d{1,2}$", text):
        whole, _, cents = text.rpartition(".")
    else:
        whole, cents = text, ""
    try:
        amount = float(f"{re.sub(r'[.,]', '', whole)}.{cents or 0}")
    except ValueError:
        return None
    rest = folded(found[digits.end() :]).split()
    scale = next((_SCALES[word] for word in rest if word in _SCALES), 1)
    return amount * scale


def _spelled(text: str) -> Iterator[Mention]:
    """Yield amounts in words: those that reach a thousand, and those that name pesos."""
    words = [(m.start(), m.end(), folded(m[0])) for m in _WORD.finditer(text)]
    place = 0
    while place < len(words):
        end = _run(words, place, text)
        if end == place:
            place += 1
            continue
        start, stop = words[place][0], words[end - 1][1]
        said = [word for _, _, word in words[place:end]]
        pesos = re.match(r"\s+(?:de\s+)?(?:pesos|pesitos)\b", text[stop:], re.IGNORECASE)
        year = said[:2] == ["dos", "mil"] and 2 < len(said) <= 4 and pesos is None
        if pesos is not None or (_SCALES.keys() & set(said) and len(said) > 1 and not year):
            stop += 0 if pesos is None else pesos.end()
            found = text[start:stop]
            yield Mention(MONTO, start, stop, found, _money(_counted(said)), 0.6)
        place = end


def _run(words: Sequence[tuple[int, int, str]], place: int, text: str) -> int:
    """Return where a run of number words that begins at `place` ends."""
    end = place
    for number in range(place, len(words)):
        known = words[number][2] in _WORTH or words[number][2] in _SCALES
        joined = number > place and words[number][2] == "y" and number + 1 < len(words)
        joined = joined and words[number + 1][2] in _WORTH and words[number - 1][2] in _TENS
        near = number == place or not text[words[number - 1][1] : words[number][0]].strip()
        if not near or not (known or joined):
            break
        end = number + 1
    return end


def _counted(words: Sequence[str]) -> float | None:
    total, part = 0, 0
    for word in words:
        if word in _WORTH:
            part += _WORTH[word]
        elif word in _SCALES:
            total += max(part, 1) * _SCALES[word]
            part = 0
    return float(total + part) or None
