"""Whatever Argilla's page or client asks is answered as plain Python answers it of the records."""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

pytestmark = pytest.mark.service

Json = dict[str, Any]
LABELS, TOPICS = ("peticion", "queja", "reclamo", "sugerencia"), ("agua", "luz", "gas", "aseo")
TITLES = ("primero", "segundo", "tercero")
WORDS = (
    "Reclamo", "petición", "factura", "energía", "agua", "demora", "CALLE", "señor", "cobro",
    "información", "ana@correo.co", "2.500", "pre-pago", "vía", "niños",
)  # fmt: skip
ODD = "un nulo \u0000 entre palabras"
COUNT = 48


@dataclass
class Case:
    """One record, as it was sent and as the server calls it."""

    name: str
    fields: Json
    metadata: Json
    suggestions: dict[str, Json]
    responses: dict[str, Json]
    vector: list[float] | None
    id: UUID = field(default_factory=lambda: UUID(int=0))
    inserted_at: str = ""
    updated_at: str = ""

    @property
    def status(self) -> str:
        submitted = [r for r in self.responses.values() if r["status"] == "submitted"]
        return "completed" if submitted else "pending"


def cases(people: tuple[str, ...]) -> list[Case]:
    """Make up records: some with everything, some with hardly anything."""
    draw = random.Random(20)
    return [_case(n, draw, people) for n in range(COUNT)]


def _case(n: int, draw: random.Random, people: tuple[str, ...]) -> Case:
    said = " ".join(draw.choices(WORDS, k=9))
    fields: Json = {"texto": f"{said}. Caso número {n}"}
    if n % 3:
        fields["asunto"] = draw.choice(("cobro doble", "Vía dañada", "sin tema"))
    if n % 4 == 0:
        fields["charla"] = [
            {"role": "ciudadano", "content": draw.choice(("¿Hay demora?", "Gracias, señor"))},
            {"role": "agente", "content": "La factura llegó"},
        ]
    if n % 5 == 0:
        fields["foto"] = "https://fotos.example/agua.png"
    metadata: Json = {"canal": draw.choice(("web", "chat", ["web", "chat"], ["call"]))}
    metadata |= {"largo": draw.randint(-3, 12)} if n % 6 else {}
    metadata |= {"confianza": draw.choice((0.0, 0.1, 0.25, 1e-7, 3.5))} if n % 7 else {}
    suggestions = {} if n % 8 == 0 else _suggestions(draw, fields["texto"])
    responses = {
        who: {
            "status": (status := draw.choice(("draft", "submitted", "discarded"))),
            "values": _answers(draw, fields["texto"], whole=status == "submitted"),
        }
        for who in people
        if draw.random() < 0.4
    }
    angle = draw.random() * math.pi
    vector = [math.cos(angle), math.sin(angle), draw.random()] if n % 9 else None
    return Case(f"c{n:02d}", fields, metadata, suggestions, responses, vector)


def _answers(draw: random.Random, text: str, *, whole: bool) -> Json:
    start = draw.randrange(len(text) - 4)
    ranks = draw.sample((1, 2, 3), k=3)
    values: Json = {
        "tipo": draw.choice(LABELS),
        "temas": draw.sample(TOPICS, k=draw.randint(1, 3)),
        "nota": draw.randint(1, 5),
        "orden": [{"value": t, "rank": r} for t, r in zip(TITLES, ranks, strict=True)],
        "marcas": [{"label": draw.choice(("lugar", "nombre")), "start": start, "end": start + 3}],
        "comentario": draw.choice(("bien", "Revisar la factura")),
    }
    return values if whole else {k: v for k, v in values.items() if draw.random() < 0.6}


def _suggestions(draw: random.Random, text: str) -> dict[str, Json]:
    made = {}
    for question, value in _answers(draw, text, whole=False).items():
        made[question] = {"value": value}
        if draw.random() < 0.8:
            several = isinstance(value, list)
            score = [round(draw.random(), 3) for _ in value] if several else draw.random()
            made[question] |= {"score": score, "agent": draw.choice(("modelo/1", "modelo/2"))}
        if draw.random() < 0.7:
            made[question]["type"] = draw.choice(("model", "human"))
    return made


# ---- the oracle


def holds(value: Any, wanted: Json) -> bool:
    """Tell whether a stored value, or one of a list, is what the filter wants."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if wanted["type"] == "terms":
        return any(_is(one, str(term)) for one in values for term in wanted["values"])
    numbers = [v for v in values if isinstance(v, int | float)]
    low, high = wanted.get("ge", -math.inf), wanted.get("le", math.inf)
    return any(low <= number <= high for number in numbers)


def _is(stored: Any, term: str) -> bool:
    if isinstance(stored, dict):
        return stored.get("label") == term or (
            stored.get("value") == term and stored.get("rank") == 1
        )
    if isinstance(stored, str):
        return stored == term
    return re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", term) is not None and stored == float(term)


def passes(case: Case, wanted: Json, who: str | None) -> bool:
    """Tell whether a record passes one filter, asked by a reviewer or (None) over all of them."""
    scope = wanted["scope"]
    if scope["entity"] == "metadata":
        return holds(case.metadata.get(scope["metadata_property"]), wanted)
    if scope["entity"] == "suggestion":
        suggestion = case.suggestions.get(scope["question"], {})
        return holds(suggestion.get(scope.get("property") or "value"), wanted)
    if scope["entity"] == "record":
        return _passes_of_record(case, scope["property"], wanted)
    mine = [r for by, r in case.responses.items() if who in (None, by)]
    if "question" in scope:
        return any(holds(r["values"].get(scope["question"]), wanted) for r in mine)
    return any(r["status"] in wanted["values"] for r in mine) or (
        "pending" in wanted["values"] and not mine
    )


def _passes_of_record(case: Case, name: str, wanted: Json) -> bool:
    stored = case.name if name == "external_id" else str(getattr(case, name))
    if wanted["type"] == "terms":
        return stored in wanted["values"]
    return str(wanted.get("ge", "")) <= stored <= str(wanted.get("le", "\uffff"))


def words(text: str) -> list[str]:
    folded = "".join(
        c for c in unicodedata.normalize("NFKD", text).lower() if not unicodedata.combining(c)
    )
    return re.findall(r"[^\W_]+", folded)


def said(case: Case, name: str | None) -> list[str]:
    """Return what can be read in a field, or in all of them."""
    texts = [case.fields.get(n) for n in ("texto", "asunto") if name in (None, n)]
    chat = case.fields.get("charla", []) if name in (None, "charla") else []
    texts += [part for turn in chat for part in (turn["role"], turn["content"])]
    return [word for text in texts if text for word in words(text)]


def key(case: Case, order: Json, who: str | None) -> list[Any]:
    """Return what a record is sorted by; None where there is nothing."""
    scope, first = order["scope"], (max if order["order"] == "desc" else min)
    if scope["entity"] == "record":
        name = scope["property"]
        return [case.name if name == "external_id" else str(getattr(case, name))]
    if scope["entity"] == "response":
        mine = [r for by, r in case.responses.items() if who in (None, by)]
        given = [r["values"].get(scope["question"]) for r in mine]
        present = [one for one in given if one is not None]
        numbers = [one for one in present if isinstance(one, int | float)]
        mean = sum(numbers) / len(numbers) if numbers else None
        return [mean, first((_first(p, first) for p in present), default=None)]
    if scope["entity"] == "metadata":
        return [_first(case.metadata.get(scope["metadata_property"]), first)]
    suggestion = case.suggestions.get(scope["question"], {})
    return [_first(suggestion.get(scope.get("property") or "value"), first)]


def _first(value: Any, first: Any) -> Any:
    return first(value) if isinstance(value, list) else value


def in_order(found: list[Case], orders: list[Json], who: str | None) -> list[str]:
    """Sort as asked, what is missing last, what is equal by its identifier."""
    ordered = sorted(found, key=lambda case: case.id)
    for order in reversed(orders):
        for place in reversed(range(len(key(found[0], order, who)) if found else 0)):
            there = [c for c in ordered if key(c, order, who)[place] is not None]
            missing = [c for c in ordered if key(c, order, who)[place] is None]

            def by(case: Case, order: Json = order, place: int = place) -> Any:
                return key(case, order, who)[place]

            there.sort(key=by, reverse=order["order"] == "desc")
            ordered = [*there, *missing]
    return [case.name for case in ordered]


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (math.hypot(*one) * math.hypot(*other))


# ---- the dataset and who asks


@dataclass
class Asked:
    """The dataset in the server, its records here, and a client for each who asks."""

    dataset: Any
    cases: list[Case]
    people: dict[str, httpx.Client]
    owner: httpx.Client

    def search(self, body: Json, who: str | None, **page: int) -> Json:
        """Ask as a reviewer's page does, or (None) as the client does for the owner."""
        path = f"datasets/{self.dataset.id}/records/search"
        http = self.owner if who is None else self.people[who]
        answer = http.post(path if who is None else f"me/{path}", json=body, params=page)
        answer.raise_for_status()
        value: Json = answer.json()
        return value

    def names(self, body: Json, who: str | None, **page: int) -> list[str]:
        found = self.search(body, who, **{"limit": 100, **page})["items"]
        return [item["record"]["external_id"] for item in found]

    def expected(self, filters: list[Json], who: str | None) -> list[Case]:
        return [case for case in self.cases if all(passes(case, f, who) for f in filters)]


@pytest.fixture(scope="module")
def asked(plata_services: Any) -> Iterator[Asked]:
    import argilla as rg

    client = rg.Argilla(api_url=plata_services.argilla_url, api_key=plata_services.argilla_api_key)
    workspace = rg.Workspace(name="oraculo", client=client).create()
    settings = rg.Settings(
        fields=[
            rg.TextField("texto"),
            rg.TextField("asunto", required=False),
            rg.ChatField("charla", required=False),
            rg.ImageField("foto", required=False),
        ],
        questions=[
            rg.LabelQuestion("tipo", list(LABELS)),
            rg.MultiLabelQuestion("temas", list(TOPICS), required=False),
            rg.RatingQuestion("nota", [1, 2, 3, 4, 5], required=False),
            rg.RankingQuestion("orden", list(TITLES), required=False),
            rg.SpanQuestion("marcas", "texto", ["lugar", "nombre"], required=False),
            rg.TextQuestion("comentario", required=False),
        ],
        metadata=[
            rg.TermsMetadataProperty("canal"),
            rg.IntegerMetadataProperty("largo"),
            rg.FloatMetadataProperty("confianza"),
        ],
        vectors=[rg.VectorField("significado", dimensions=3)],
    )
    dataset = rg.Dataset("todo", workspace=workspace, settings=settings, client=client).create()
    people = {}
    for name in ("ana", "luis"):
        user = rg.User(
            username=f"contrato-{name}", first_name=name, role="annotator",
            password="una contraseña larga", client=client,
        ).create()  # fmt: skip
        user.add_to_workspace(workspace)
        people[name] = user
    made = cases(tuple(people))
    dataset.records.log([_sent(case, people) for case in made])
    with httpx.Client(base_url=f"{plata_services.argilla_url}/api/v1", timeout=60) as owner:
        owner.headers["X-Argilla-Api-Key"] = plata_services.argilla_api_key
        stored = owner.get(f"datasets/{dataset.id}/records", params={"limit": 1000}).json()
        by_name = {item["external_id"]: item for item in stored["items"]}
        for case in made:
            item = by_name[case.name]
            case.id, case.inserted_at = UUID(item["id"]), item["inserted_at"]
            case.updated_at = item["updated_at"]
        clients = {name: _client(owner, f"contrato-{name}") for name in people}
        yield Asked(dataset, made, clients, owner)
        for one in clients.values():
            one.close()


def _client(owner: httpx.Client, username: str) -> httpx.Client:
    log_in = {"username": username, "password": "una contraseña larga"}
    token = owner.post("token", data=log_in).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=owner.base_url, headers=headers, timeout=60)


def _sent(case: Case, people: dict[str, Any]) -> Any:
    import argilla as rg

    return rg.Record(
        id=case.name,
        fields=case.fields,
        metadata=case.metadata,
        vectors={"significado": case.vector} if case.vector else None,
        suggestions=[
            rg.Suggestion(
                question_name=question,
                value=_written(question, given["value"]),
                score=given.get("score"),
                agent=given.get("agent"),
                type=given.get("type"),
            )
            for question, given in case.suggestions.items()
        ],
        responses=[
            rg.Response(question, value, user_id=people[who].id, status=given["status"])
            for who, given in case.responses.items()
            for question, value in given["values"].items()
        ],
    )


def _written(question: str, value: Any) -> Any:
    """Write a ranking as the client takes it: the titles, first things first."""
    if question != "orden":
        return value
    return [ranked["value"] for ranked in sorted(value, key=lambda ranked: ranked["rank"])]


# ---- what is asked


def terms(scope: Json, *values: Any) -> Json:
    return {"type": "terms", "scope": scope, "values": [str(value) for value in values]}


def between(scope: Json, **bounds: Any) -> Json:
    return {"type": "range", "scope": scope, **bounds}


def metadata(name: str) -> Json:
    return {"entity": "metadata", "metadata_property": name}


def suggestion(question: str, name: str = "value") -> Json:
    return {"entity": "suggestion", "question": question, "property": name}


def response(question: str) -> Json:
    return {"entity": "response", "question": question}


def record(name: str) -> Json:
    return {"entity": "record", "property": name}


STATUS = {"entity": "response", "property": "status"}
FILTERS = [
    terms(STATUS, "pending"),
    terms(STATUS, "draft"),
    terms(STATUS, "discarded"),
    terms(STATUS, "submitted"),
    terms(STATUS, "pending", "draft"),
    terms(record("status"), "pending"),
    terms(record("status"), "completed"),
    terms(record("external_id"), "c03", "c17", "nobody"),
    between(record("external_id"), ge="c10", le="c20"),
    terms(metadata("canal"), "web"),
    terms(metadata("canal"), "chat", "call"),
    terms(metadata("canal"), 'comilla " y \\ barra'),
    terms(metadata("largo"), 3, 4),
    between(metadata("largo"), ge=2),
    between(metadata("largo"), ge=-1, le=5),
    between(metadata("confianza"), le=0.1),
    between(metadata("confianza"), ge=1e-7, le=0.25),
    *(terms(suggestion("tipo"), label) for label in LABELS),
    terms(suggestion("tipo"), "queja", "reclamo"),
    terms(suggestion("temas"), "agua"),
    terms(suggestion("temas"), "luz", "gas"),
    terms(suggestion("nota"), 4),
    between(suggestion("nota"), ge=2, le=4),
    terms(suggestion("orden"), "segundo"),
    terms(suggestion("marcas"), "lugar"),
    terms(suggestion("comentario"), "Revisar la factura"),
    between(suggestion("tipo", "score"), ge=0.5),
    between(suggestion("temas", "score"), ge=0.2, le=0.3),
    terms(suggestion("tipo", "agent"), "modelo/2"),
    terms(suggestion("nota", "type"), "human"),
    *(terms(response("tipo"), label) for label in LABELS),
    terms(response("temas"), "agua", "aseo"),
    terms(response("nota"), 1, 5),
    between(response("nota"), ge=3),
    terms(response("orden"), "tercero"),
    terms(response("marcas"), "nombre"),
    terms(response("comentario"), "bien"),
]
SCOPES = [
    record("external_id"),
    record("inserted_at"),
    record("updated_at"),
    record("status"),
    metadata("canal"),
    metadata("largo"),
    metadata("confianza"),
    suggestion("tipo"),
    suggestion("temas", "score"),
    suggestion("nota"),
    suggestion("tipo", "score"),
    suggestion("tipo", "agent"),
    suggestion("nota", "type"),
    response("nota"),
    response("tipo"),
    response("temas"),
]
ASKING = ("ana", "luis", None)


@pytest.mark.parametrize("who", ["ana", None])
def test_every_filter_finds_what_plain_python_finds(asked: Asked, who: str | None) -> None:
    answers, truth = {}, {}
    for n, wanted in enumerate(FILTERS):
        answer = asked.search({"filters": {"and": [wanted]}}, who, limit=100)
        answers[n] = {item["record"]["external_id"] for item in answer["items"]}
        truth[n] = {case.name for case in asked.expected([wanted], who)}
        assert answer["total"] == len(answers[n])
    assert answers == truth
    assert sum(1 for found in truth.values() if found) > len(FILTERS) * 0.85


def test_filters_together_find_what_passes_each(asked: Asked) -> None:
    draw = random.Random(5)
    for _ in range(40):
        some, who = draw.sample(FILTERS, k=draw.randint(2, 4)), draw.choice(ASKING)
        found = asked.names({"filters": {"and": some}}, who)
        assert set(found) == {case.name for case in asked.expected(some, who)}, some


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_every_order_is_the_one_plain_python_makes(asked: Asked, direction: str) -> None:
    for who in ("ana", None):
        for scope in SCOPES:
            orders = [{"scope": scope, "order": direction}]
            expected = in_order(asked.cases, orders, who)
            assert asked.names({"sort": orders}, who) == expected, (scope, who)


def test_a_second_order_decides_where_the_first_is_even_and_pages_never_overlap(
    asked: Asked,
) -> None:
    orders = [
        {"scope": metadata("confianza"), "order": "desc"},
        {"scope": suggestion("tipo"), "order": "asc"},
    ]
    body = {"sort": orders, "filters": {"and": [terms(metadata("canal"), "web")]}}
    found = asked.expected(body["filters"]["and"], "ana")  # type: ignore[index]
    pages = [asked.names(body, "ana", limit=7, offset=start) for start in range(0, 49, 7)]
    assert [name for page in pages for name in page] == in_order(found, orders, "ana")
    assert asked.search(body, "ana", offset=400)["total"] == len(found)


@pytest.mark.parametrize("who", ASKING)
def test_each_reviewer_keeps_an_order_of_their_own(asked: Asked, who: str | None) -> None:
    whole = asked.names({}, who)
    assert sorted(whole) == [case.name for case in asked.cases]
    assert [n for s in range(0, 48, 12) for n in asked.names({}, who, limit=12, offset=s)] == whole
    others = [asked.names({}, other) for other in ASKING if other != who]
    assert whole not in others


@pytest.mark.parametrize("name", [None, "texto", "asunto", "charla"])
def test_words_are_found_in_one_field_or_in_all(asked: Asked, name: str | None) -> None:
    for word in ("PETICIÓN", "senor", "cobro", "gracias", "agente", "png"):
        for pattern in (word, f"{word[:4]}*", f"{word} -via", f"-demora | {word}"):
            query = {"text": {"q": pattern, **({"field": name} if name else {})}}
            expected = {c.name for c in asked.cases if says(said(c, name), pattern)}
            assert set(asked.names({"query": query}, "ana")) == expected, (name, pattern)


def says(spoken: list[str], pattern: str) -> bool:
    """Read the few forms of query the test above asks; a field that is not there says nothing."""
    if not spoken:
        return False
    if " | " in pattern:
        return any(says(spoken, part) for part in pattern.split(" | "))
    if " " in pattern:
        return all(says(spoken, part) for part in pattern.split())
    if pattern.startswith("-"):
        return not says(spoken, pattern[1:])
    word = words(pattern)[0]
    if pattern.endswith("*"):
        return any(one.startswith(word) for one in spoken)
    return word in spoken


@pytest.mark.parametrize(
    "phrase", ["ana@correo.co", '"caso número 7"', '"numero caso"', "pre-pago"]
)
def test_a_phrase_is_found_as_it_stands(asked: Asked, phrase: str) -> None:
    wanted = " ".join(words(phrase))
    expected = {c.name for c in asked.cases if f" {wanted} " in f" {' '.join(said(c, 'texto'))} "}
    found = asked.names({"query": {"text": {"q": phrase, "field": "texto"}}}, "luis")
    assert set(found) == expected


def test_a_star_asks_for_everything_and_stray_signs_for_nothing(asked: Asked) -> None:
    assert len(asked.names({"query": {"text": {"q": "*"}}}, "ana")) == COUNT
    assert asked.names({"query": {"text": {"q": "| ( - ' \\ : & !"}}}, "ana") == []


def test_without_a_reviewer_the_best_match_comes_first(asked: Asked) -> None:
    answer = asked.search({"query": {"text": {"q": "factura | demora"}}}, None, limit=100)
    scores = [item["query_score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1] > 0


@pytest.mark.parametrize("order", ["most_similar", "least_similar"])
@pytest.mark.parametrize("wanted", [None, FILTERS[0], FILTERS[9], FILTERS[17]])
def test_similar_records_are_the_exact_ones_under_any_filter(
    asked: Asked, order: str, wanted: Json | None
) -> None:
    given = next(case for case in asked.cases if case.vector)
    filters = [wanted] if wanted else []
    body: Json = {"filters": {"and": filters}} if filters else {}
    for query, target, without in (
        ({"record_id": str(given.id)}, given.vector, given.name),
        ({"value": [0.3, 0.2, -0.9]}, [0.3, 0.2, -0.9], None),
    ):
        body["query"] = {"vector": {"name": "significado", "order": order, **query}}
        sign = 1 if order == "most_similar" else -1
        scores = {
            case.name: (1 + sign * cosine(case.vector, target)) / 2
            for case in asked.expected(filters, "luis")
            if case.vector and target and case.name != without
        }
        answer = asked.search(body, "luis", limit=9)
        found = {i["record"]["external_id"]: i["query_score"] for i in answer["items"]}
        assert found == pytest.approx({name: scores[name] for name in found}, abs=1e-5)
        best = sorted(scores.values(), reverse=True)[:9]
        assert [i["query_score"] for i in answer["items"]] == pytest.approx(best, abs=1e-5)


def test_the_record_that_others_are_like_can_be_read_by_who_looks_at_them(asked: Asked) -> None:
    given = next(case for case in asked.cases if case.vector)
    answer = asked.people["ana"].get(f"records/{given.id}").raise_for_status().json()
    assert answer["vectors"] == {"significado": pytest.approx(given.vector)}


def test_similar_records_can_also_be_asked_for_words(asked: Asked) -> None:
    body = {
        "query": {
            "text": {"q": "factura"},
            "vector": {"name": "significado", "value": [1.0, 0.0, 0.0]},
        }
    }
    expected = {c.name for c in asked.cases if c.vector and "factura" in said(c, None)}
    assert set(asked.names(body, "ana")) == expected


def test_dates_bound_by_moment_and_by_whole_days(asked: Asked) -> None:
    moments = sorted(case.inserted_at for case in asked.cases)
    day, middle = moments[0][:10], moments[COUNT // 2]
    later = [case.name for case in asked.cases if case.inserted_at >= middle]
    since = between(record("inserted_at"), ge=middle)
    assert sorted(asked.names({"filters": {"and": [since]}}, "ana")) == later
    of_day = between(record("updated_at"), ge=day, le=max(c.updated_at for c in asked.cases)[:10])
    assert len(asked.names({"filters": {"and": [of_day]}}, "ana")) == COUNT
    before = between(record("inserted_at"), le="2001-01-01")
    assert asked.names({"filters": {"and": [before]}}, "ana") == []


@pytest.mark.parametrize(
    "body",
    [
        {"filters": {"and": [between(metadata("largo"), ge="mucho")]}},
        {"filters": {"and": [between(record("inserted_at"), ge="ayer")]}},
        {"query": {"vector": {"name": "significado", "value": [1.0]}}},
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(asked: Asked, body: Json) -> None:
    answer = asked.owner.post(f"me/datasets/{asked.dataset.id}/records/search", json=body)
    assert answer.status_code == 422
    assert "detail" in answer.json()


@pytest.mark.parametrize(
    "wanted",
    [terms(record("id"), "no-uuid"), terms(record("status"), "asleep"), terms(STATUS, "asleep")],
)
def test_what_no_record_can_have_is_found_nowhere(asked: Asked, wanted: Json) -> None:
    assert asked.names({"filters": {"and": [wanted]}}, "ana") == []


def test_the_pages_numbers_are_those_of_the_records(asked: Asked) -> None:
    done = sum(case.status == "completed" for case in asked.cases)
    progress = asked.owner.get(f"datasets/{asked.dataset.id}/progress").json()
    del progress["users"]
    assert progress == {"total": COUNT, "completed": done, "pending": COUNT - done}
    for who, http in asked.people.items():
        mine = [case.responses[who]["status"] for case in asked.cases if who in case.responses]
        counted = http.get(f"me/datasets/{asked.dataset.id}/metrics").json()["responses"]
        assert {name: n for name, n in counted.items() if n} == {
            "total": len(mine) + counted["pending"],
            "pending": counted["pending"],
            **{status: mine.count(status) for status in set(mine)},
        }
    properties = asked.owner.get(f"me/datasets/{asked.dataset.id}/metadata-properties").json()
    metrics = {
        p["name"]: asked.owner.get(f"metadata-properties/{p['id']}/metrics").json()
        for p in properties["items"]
    }
    channels = [c for case in asked.cases for c in _listed(case.metadata["canal"])]
    assert metrics["canal"]["total"] == len(channels)
    assert {v["term"]: v["count"] for v in metrics["canal"]["values"]} == {
        channel: channels.count(channel) for channel in set(channels)
    }
    for name in ("largo", "confianza"):
        numbers = [case.metadata[name] for case in asked.cases if name in case.metadata]
        assert (metrics[name]["min"], metrics[name]["max"]) == (min(numbers), max(numbers))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_a_database_that_hung_up_is_asked_again(asked: Asked, plata_services: Any) -> None:
    with psycopg.connect(plata_services.postgres_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'argilla'"
        )
    assert len(asked.names({}, "ana")) == COUNT


def test_a_record_is_found_by_what_it_says_now(asked: Asked) -> None:
    """Last: it changes the dataset."""
    case = next(c for c in asked.cases if c.suggestions)
    path = f"records/{case.id}"
    query = {"query": {"text": {"q": "murciélago nulo"}}}
    assert asked.names(query, None) == []
    patch = {"metadata": {"canal": "buzón", "largo": 99}, "vectors": {"significado": [0, 0, -1]}}
    asked.owner.patch(path, json=patch).raise_for_status()
    question = asked.dataset.settings.questions["tipo"].id
    given = {"question_id": str(question), "value": "queja", "score": 0.987, "agent": "modelo/9"}
    asked.owner.put(f"{path}/suggestions", json=given).raise_for_status()
    asked.dataset.records.log([{"id": case.name, "texto": f"Murciélago: {ODD}"}])
    assert asked.names(query, None) == [case.name]
    agent = {"filters": {"and": [terms(suggestion("tipo", "agent"), "modelo/9")]}}
    assert asked.names(agent, None) == [case.name]
    nearest = {"query": {"vector": {"name": "significado", "value": [0, 0, -1]}}}
    assert asked.names(nearest, None, limit=1) == [case.name]
    found = asked.owner.get(f"{path}/suggestions").json()["items"]
    gone = next(s["id"] for s in found if s["question_id"] == str(question))
    asked.owner.delete(f"{path}/suggestions", params={"ids": gone}).raise_for_status()
    assert asked.names(agent, None) == []
    asked.owner.delete(path).raise_for_status()
    assert asked.names(query, None) == []
