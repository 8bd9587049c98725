"""Places and organisations: municipalities by DIVIPOLA, and names by the words around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from features.text import folded
from models.mentions import LUGAR, ORGANIZACION, Lexicon, Mention

_WORD = re.compile(r"[^\W_]+")
_LONGEST_NAME = 6
_LONGEST_SEQUENCE = 7
_WHERE = {"en", "de", "desde", "a", "para", "por", "hasta"}
_WATER = {"rio", "quebrada", "canal"}
_MOSTLY = 0.6
"""Share of capitals from which a text is taken to be written in capitals."""


@dataclass(frozen=True, slots=True)
class Place:
    """A municipality."""

    dane_code: str
    name: str
    department: str


@dataclass(frozen=True, slots=True)
class _Word:
    start: int
    end: int
    text: str
    key: str

    @property
    def capital(self) -> bool:
        return self.text[0].isupper()


class Names:
    """Finds names, by the gazetteer and the lexicon's words."""

    def __init__(self, lexicon: Lexicon, places: Sequence[Place]) -> None:
        self._places = _by_name(lexicon, places)
        self._departments = {folded(place.department): place for place in places}
        self._doubtful = set(lexicon.dudoso)
        self._below = set(map(folded, lexicon.lugar))
        self._heads = sorted((folded(h).split() for h in lexicon.organizacion), key=len)[::-1]
        self._before = set(map(folded, lexicon.antes))
        self._union = set(map(folded, lexicon.union))
        suffixes = sorted(lexicon.sufijos, key=len, reverse=True)
        self._suffix = re.compile(rf"\s+(?:{'|'.join(map(re.escape, suffixes))})(?!\w)")

    def find(self, text: str) -> Iterator[Mention]:
        """Yield mentions; some may overlap."""
        words = [_Word(m.start(), m.end(), m[0], folded(m[0])) for m in _WORD.finditer(text)]
        shouted = _shouted(text)
        for place in range(len(words)):
            yield from self._municipality(words, place, text)
            if words[place].key in self._below and not shouted:
                yield from self._named_after(words, place, text, LUGAR)
            yield from self._organisation(words, place, text, shouted)

    def _municipality(self, words: list[_Word], place: int, text: str) -> Iterator[Mention]:
        first = words[place]
        if not first.capital:
            return
        for length in range(min(_LONGEST_NAME, len(words) - place), 0, -1):
            run = words[place : place + length]
            if any(not w.capital and w.key not in self._union for w in run):
                continue
            name = " ".join(word.key for word in run)
            found = self._places.get(name)
            if not _one_line(text, run):
                continue
            follows = self._department_after(words, place, text) == name if place else False
            if name in self._departments and (found is None or follows):
                yield self._department(run, text)
                return
            if found is None:
                continue
            department = self._department_after(words, place + length, text)
            known = [p for p in found if department in (None, folded(p.department))]
            if self._is_name_of_something_else(words, place, length, text, department):
                return
            chosen = known[0] if len(known) == 1 else None
            value = None if chosen is None else {"dane_code": chosen.dane_code, "name": chosen.name}
            end = run[-1].end
            yield Mention(
                LUGAR, first.start, end, text[first.start : end], value, 0.9 if chosen else 0.7
            )
            return

    def _department(self, run: Sequence[_Word], text: str) -> Mention:
        place = self._departments[" ".join(word.key for word in run)]
        value = {"dane_code": place.dane_code[:2], "name": place.department}
        start, end = run[0].start, run[-1].end
        return Mention(LUGAR, start, end, text[start:end], value, 0.8)

    def _is_name_of_something_else(
        self, words: list[_Word], place: int, length: int, text: str, department: str | None
    ) -> bool:
        """Tell people, streets and organisations from places: by the words on both sides."""
        run = words[place : place + length]
        if department is not None:
            return False
        before = words[place - 1] if place else None
        said = before is not None and before.key in _WHERE
        doubtful = " ".join(word.key for word in run) in self._doubtful
        if said or _shouted(text):
            return doubtful and not said
        after = words[place + length] if place + length < len(words) else None
        glued = before is not None and text[before.end : run[0].start] in (" ", "-")
        if glued and before is not None and before.capital and not _ends(text, before.end):
            return before.key not in self._union and before.key not in self._before
        follows = after is not None and text[run[-1].end : after.start] == " " and after.capital
        if follows:
            return True
        return doubtful or (before is not None and before.key in _WATER)

    def _department_after(self, words: list[_Word], place: int, text: str) -> str | None:
        """Return the department that follows a municipality after a comma or in brackets."""
        if place >= len(words) or not words[place - 1].capital:
            return None
        between = text[words[place - 1].end : words[place].start]
        if between.strip() not in (",", "(", "-"):
            return None
        for length in (4, 3, 2, 1):
            run = words[place : place + length]
            name = " ".join(word.key for word in run)
            if len(run) == length and name in self._departments:
                return name
        return None

    def _named_after(
        self, words: list[_Word], place: int, text: str, kind: str
    ) -> Iterator[Mention]:
        """Yield the capitals that follow a word such as `vereda` or `empresa`."""
        start = place + 1
        if kind == LUGAR and start < len(words) and words[start].key == "de":
            start += 1
        end = self._sequence(words, start, text, both=kind == ORGANIZACION)
        if end == start or text[words[start - 1].end : words[start].start].strip(' «"“'):
            return
        begin = words[place if words[place].capital and start == place + 1 else start].start
        stop = self._with_suffix(words[end - 1].end, text)
        found = text[begin:stop]
        yield Mention(kind, begin, stop, found, {"name": found}, 0.6)

    def _organisation(
        self, words: list[_Word], place: int, text: str, shouted: bool
    ) -> Iterator[Mention]:
        word = words[place]
        if word.key in self._before and not word.capital:
            yield from self._named_after(words, place, text, ORGANIZACION)
        if not word.capital or shouted:
            return
        head = self._head(words, place)
        begins = place == 0 or not self._joins(words, place - 1, text)
        end = self._sequence(words, place, text)
        stop = self._with_suffix(words[end - 1].end, text)
        suffixed = begins and stop > words[end - 1].end
        if suffixed or (head and end > place + head):
            found = text[word.start : stop]
            score = 0.9 if suffixed else 0.7
            yield Mention(ORGANIZACION, word.start, stop, found, {"name": found}, score)

    def _head(self, words: list[_Word], place: int) -> int:
        """Return how many words the head of an organisation has here, 0 where none begins."""
        for head in self._heads:
            if [word.key for word in words[place : place + len(head)]] == head:
                return len(head)
        return 0

    def _joins(self, words: list[_Word], place: int, text: str) -> bool:
        return words[place].capital and text[words[place].end : words[place + 1].start] == " "

    def _sequence(self, words: list[_Word], place: int, text: str, *, both: bool = True) -> int:
        """Return where a run of capitalised words ends, joined by words such as `de la`.

        `y` joins the parts of one name only where `both` is set.

        A run ends before a municipality that says where the thing is: `IPS Vida | de Neiva`.
        """
        end = place
        for number in range(place, min(len(words), place + _LONGEST_SEQUENCE + 3)):
            if number > place and self._parted(words, number, text):
                break
            if words[number].capital:
                linked = number > end and number > place
                if linked and self._places.get(words[number].key) and end > place:
                    break
                end = number + 1
            elif (
                words[number].key not in self._union
                or number == place
                or number - end >= 2
                or (words[number].key == "y" and not both)
            ):
                break
        return end

    def _parted(self, words: list[_Word], number: int, text: str) -> bool:
        """Tell whether a name ends before a word: at a sign, or where `S.A.S.` begins."""
        end = words[number - 1].end
        return text[end : words[number].start] != " " or self._suffix.match(text, end) is not None

    def _with_suffix(self, end: int, text: str) -> int:
        match = self._suffix.match(text, end)
        return end if match is None else match.end()


def _by_name(lexicon: Lexicon, places: Sequence[Place]) -> Mapping[str, list[Place]]:
    by_code = {place.dane_code: place for place in places}
    found: dict[str, list[Place]] = {}
    for place in places:
        found.setdefault(folded(place.name), []).append(place)
    for name, code in lexicon.alias.items():
        found[folded(name)] = [by_code[code]]
    return found


def _one_line(text: str, run: Sequence[_Word]) -> bool:
    return "\n" not in text[run[0].start : run[-1].end] and not re.search(
        r"[,;:()]", text[run[0].start : run[-1].end]
    )


def _ends(text: str, at: int) -> bool:
    return text[at : at + 1] in (".", ",", ";", ":", "\n")


def _shouted(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return bool(letters) and sum(c.isupper() for c in letters) > _MOSTLY * len(letters)
