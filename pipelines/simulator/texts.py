"""Texts: a request, a question back, an answer, put together from pieces and then made untidy.

A request opens with a statement of its own kind and often goes on with one of another kind, so that
a classifier must weigh the whole: no piece belongs to one type alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from contracts.pqrs import Channel, Priority
from pipelines.simulator.fragments import PLAIN, Chance, Fragments, Pool, Topic
from pipelines.simulator.histories import Said
from pipelines.simulator.places import Place

_ALL: Final = 65_536
"""What chance is counted in here: a number of 16 bits."""

_CHANNELS = list(Channel)
_PRIORITIES = [priority.value for priority in Priority]


def _share(percent: int) -> int:
    return _ALL * percent // 100


_P3, _P6, _P10, _P12, _P15, _P25, _P40, _P50, _P60, _P75, _P85 = (
    _share(percent) for percent in (3, 6, 10, 12, 15, 25, 40, 50, 60, 75, 85)
)

_GREETINGS = {
    Channel.EMAIL: ("formal", "formal", "formal", "plain"),
    Channel.WEBFORM: ("formal", "plain", "plain"),
    Channel.CHAT: ("chat",),
    Channel.CALL: ("oral",),
    Channel.OTHER_DIGITAL: ("plain", "chat"),
}
_CARELESS = {
    Channel.EMAIL: _P15,
    Channel.WEBFORM: _P25,
    Channel.CHAT: _P60,
    Channel.CALL: _P3,
    Channel.OTHER_DIGITAL: _P50,
}
_SHORTENED = {Channel.CHAT: _P40, Channel.WEBFORM: _P6, Channel.OTHER_DIGITAL: _P25}
_WRITTEN = {Channel.EMAIL, Channel.WEBFORM}
_TYPOS = (0,) * 9 + (1,) * 4 + (2, 2, 4)
_SHORTEST_WITH_TYPO = 8


class _Words(dict[str, str]):
    """What fills the braces of one text: its own matter and place, and for the rest a draw."""

    __slots__ = ("_chance", "_slots")

    def __init__(self, slots: Mapping[str, Pool], chance: Chance, **own: str) -> None:
        super().__init__(own)
        self._slots = slots
        self._chance = chance

    def __missing__(self, name: str) -> str:
        pool = self._slots[name]
        return pool[self._chance() % len(pool)]


class Writer:
    """Writes texts out of one stream of chance. `length` is a percentage of the usual one."""

    def __init__(self, pieces: Fragments, places: tuple[Place, ...], chance: Chance) -> None:
        self._pieces = pieces
        self._chance = chance
        self._spoken = [place.spoken for place in places]
        self._regional = [pieces.regional[place.region] for place in places]

    def subject(self, topic: int, place: int) -> str:
        """Write the subject of a request."""
        chance = self._chance
        subject = self._one(self._pieces.topics[topic].subjects)
        drawn = chance()
        if drawn < _P25:
            return f"{subject} - {self._spoken[place]}"
        if drawn < _P40:
            return f"{subject}, {self._one(self._pieces.slots['lugar'])}"
        return subject.upper() if drawn < _P50 else subject

    def message(
        self, said: int, topic: int, kind: int, priority: int, channel: int, place: int, length: int
    ) -> str:
        """Write what is said at one point of a ticket's life."""
        matter = self._pieces.topics[topic]
        words = _Words(
            self._pieces.slots,
            self._chance,
            municipio=self._spoken[place],
            entidad=self._one(matter.entities),
            cosa=self._one(matter.things),
            asunto=self._one(matter.subjects),
        )
        through = _CHANNELS[channel]
        if said == Said.REQUEST:
            text = self._request(matter, kind, _PRIORITIES[priority], through, place, length)
            return self._untidied(_contracted(text % words), through)
        if said == Said.BACK or said == Said.AGAIN:
            pool = self._pieces.answers["back" if said == Said.BACK else "again"]
            text = f"{self._one(pool)} {self._one(self._pieces.any_demand)}"
            return self._untidied(_contracted(text % words), through)
        return _contracted(self._answer(said) % words)

    def _one(self, pool: Pool) -> str:
        return pool[self._chance() % len(pool)]

    def _request(
        self, matter: Topic, kind: int, priority: str, channel: Channel, place: int, length: int
    ) -> str:
        chance, one, pieces = self._chance, self._one, self._pieces
        written = channel in _WRITTEN
        brief = channel is Channel.CHAT
        often = length * (40 if brief else 100)

        def maybe(threshold: int) -> bool:
            return chance() * 10_000 < threshold * often

        body = []
        if maybe(_P60):
            body.append(one(pieces.introductions))
        if maybe(_P60):
            body.append(one(matter.context))
        body.append(one(matter.statements[kind]))
        if maybe(_P40):
            other = matter.statements[(kind + 1 + chance() % 3) % len(matter.statements)]
            body.append(f"{one(pieces.connectors)} {one(other)}" if written else one(other))
        if maybe(_P12):
            body.append(one(self._regional[place]))
        if maybe(_P60):
            body.append(one(pieces.consequences))
        if length > 100:
            more = (matter.context, pieces.consequences)
            body.extend(one(more[n % 2]) for n in range(chance() % (2 + (length - 100) // 10)))
        if maybe(_P85):
            drawn = chance()
            wanted = kind if drawn < _P50 else chance() % len(pieces.demands)
            body.append(one(pieces.any_demand if drawn > _P75 else pieces.demands[wanted]))
        if maybe(_P60):
            level = priority if chance() < _P85 else _PRIORITIES[chance() % len(_PRIORITIES)]
            body.insert(len(body) - chance() % 3, one(pieces.priority[level]))
        if maybe(_P10):
            body.insert(0, body.pop())
        head = one(pieces.greetings[one(_GREETINGS[channel])]) if chance() < _P75 else ""
        tail = one(pieces.closings["formal" if written else "plain"]) if maybe(_P60) else ""
        if channel is not Channel.EMAIL:
            return " ".join(filter(None, (head, *body, tail)))
        return self._as_mail(head, body, tail)

    def _as_mail(self, head: str, body: list[str], tail: str) -> str:
        chance, one = self._chance, self._one
        gap = "\n\n" if chance() < _P60 else "\n"
        cut = chance() % len(body)
        signature = one(self._pieces.signatures) if chance() < _P60 else ""
        parts = (head, " ".join(body[:cut]), " ".join(body[cut:]), tail, signature)
        text = gap.join(filter(None, parts))
        return one(self._pieces.forwards) + text if chance() < _P10 else text

    def _answer(self, said: int) -> str:
        one, answers = self._one, self._pieces.answers
        if said == Said.ASK:
            return f"{one(answers['open'])} {one(answers['ask'])}"
        more = f" {one(answers['more'])}" if self._chance() < _P60 else ""
        return f"{one(answers['open'])}\n\n{one(answers['body'])}{more}"

    def _untidied(self, text: str, channel: Channel) -> str:
        chance = self._chance
        careless = chance() < _CARELESS[channel]
        if careless:
            text = text.translate(PLAIN)
            if chance() < _P50:
                text = text.lower()
        elif chance() < _P3:
            text = text.upper()
        if chance() < _SHORTENED.get(channel, 0):
            for whole, short in self._pieces.abbreviations:
                text = text.replace(whole, short)
            text = text.replace(". ", " ")
        typos = _TYPOS[chance() % len(_TYPOS)]
        for _ in range(2 * typos if careless else typos):
            text = self._mistyped(text)
        return text

    def _mistyped(self, text: str) -> str:
        if len(text) < _SHORTEST_WITH_TYPO:
            return text
        at = 1 + self._chance() % (len(text) - 2)
        if not text[at : at + 2].isalpha():
            return text
        how = self._chance() % 4
        if how == 0:
            return f"{text[:at]}{text[at + 1]}{text[at]}{text[at + 2 :]}"
        if how == 1:
            return text[:at] + text[at + 1 :]
        if how == 2:
            return text[: at + 1] + text[at:]
        return f"{text[: at + 1]} {text[at + 1 :]}"


def _contracted(text: str) -> str:
    """Join a preposition and an article that met when the braces were filled.

    >>> _contracted("La obra de el puente, frente a el parque.")
    'La obra del puente, frente al parque.'
    """
    return text.replace(" de el ", " del ").replace(" a el ", " al ")
