"""Argilla's real server and client on our search engine: what reviewers and `plata review` need."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.service

TEXTS = (
    "Reclamo por cobro doble en la factura del agua",
    "Petición de certificación laboral",
    "Queja por maltrato de un funcionario",
    "Sugiero mejorar el alumbrado del parque",
    "Reclamo: la factura de energía llegó tarde",
    "Solicito información sobre el impuesto predial",
)
LABELS = ("reclamo", "peticion", "queja", "sugerencia", "reclamo", "peticion")
PENDING = {"entity": "response", "property": "status"}


def vector(number: int) -> list[float]:
    angle = number * math.pi / 6
    return [math.cos(angle), math.sin(angle)]


@pytest.fixture(scope="module")
def dataset(plata_services: Any) -> Any:
    import argilla as rg

    client = rg.Argilla(api_url=plata_services.argilla_url, api_key=plata_services.argilla_api_key)
    workspace = rg.Workspace(name="contrato", client=client).create()
    settings = rg.Settings(
        fields=[rg.TextField(name="texto"), rg.TextField(name="asunto", required=False)],
        questions=[rg.LabelQuestion(name="tipo", labels=sorted(set(LABELS)))],
        metadata=[
            rg.TermsMetadataProperty("canal"),
            rg.IntegerMetadataProperty("largo"),
            rg.FloatMetadataProperty("confianza"),
        ],
        vectors=[rg.VectorField(name="significado", dimensions=2)],
    )
    made = rg.Dataset(name="pqrs", workspace=workspace, settings=settings, client=client).create()
    made.records.log(
        [
            rg.Record(
                id=f"r{n}",
                fields={"texto": text, "asunto": "par" if n % 2 == 0 else "impar"},
                metadata={"canal": ["web", "chat"][n % 2], "largo": n, "confianza": n / 10},
                vectors={"significado": vector(n)},
                suggestions=[rg.Suggestion("tipo", label, score=n / 10, agent=f"modelo-{n % 2}")],
            )
            for n, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))
        ]
    )
    return made


@pytest.fixture(scope="module")
def found(dataset: Any) -> Callable[..., set[str]]:
    """Search as the client does and return the records' own names."""
    import argilla as rg

    def search(text: str | None = None, *conditions: tuple[str, str, Any]) -> set[str]:
        query = rg.Query(query=text, filter=rg.Filter(list(conditions)) if conditions else None)
        return {record.id for record in dataset.records(query=query)}

    return search


@pytest.fixture(scope="module")
def page(dataset: Any, plata_services: Any) -> Any:
    """Ask what Argilla's web page asks, as its owner."""
    http = httpx.Client(
        base_url=f"{plata_services.argilla_url}/api/v1",
        headers={"X-Argilla-Api-Key": plata_services.argilla_api_key},
        timeout=30,
    )

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        answer = http.post(f"/me/datasets/{dataset.id}/records/search", json=body)
        answer.raise_for_status()
        value: dict[str, Any] = answer.json()
        return value

    yield ask
    http.close()


def names(answer: dict[str, Any]) -> list[str]:
    return [item["record"]["external_id"] for item in answer["items"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("factura", {"r0", "r4"}),
        ("FACTURA agua", {"r0"}),
        ("peticion", {"r1"}),
        ('"factura del agua"', {"r0"}),
        ('"agua factura"', set()),
        ("factura -agua", {"r4"}),
        ("alumbrado | predial", {"r3", "r5"}),
        ("infor*", {"r5"}),
        ("reclamo (agua | energia)", {"r0", "r4"}),
        ("impar", {"r1", "r3", "r5"}),
        ("inexistente", set()),
        ("| ( - ' \\ : & !", set()),
    ],
)
def test_words_are_found(found: Callable[..., set[str]], text: str, expected: set[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("metadata.canal", "in", ["chat"]), {"r1", "r3", "r5"}),
        (("metadata.largo", ">=", 4), {"r4", "r5"}),
        (("metadata.confianza", "<=", 0.1), {"r0", "r1"}),
        (("tipo.suggestion", "==", "queja"), {"r2"}),
        (("tipo.score", ">=", 0.45), {"r5"}),
        (("tipo.agent", "==", "modelo-1"), {"r1", "r3", "r5"}),
        (("status", "==", "completed"), set()),
    ],
)
def test_filters_narrow(
    found: Callable[..., set[str]], condition: tuple[str, str, Any], expected: set[str]
) -> None:
    assert found(None, condition) == expected


def test_text_and_filters_go_together(found: Callable[..., set[str]]) -> None:
    assert found("reclamo", ("metadata.largo", ">=", 1), ("tipo.score", ">=", 0.1)) == {"r4"}


@pytest.mark.parametrize(
    ("order", "expected"),
    [("most_similar", ["r1", "r2", "r3"]), ("least_similar", ["r5", "r4", "r3"])],
)
def test_similar_records_come_nearest_first(page: Any, order: str, expected: list[str]) -> None:
    records = {item["record"]["external_id"]: item["record"]["id"] for item in page({})["items"]}
    query = {"vector": {"name": "significado", "record_id": records["r0"], "order": order}}
    answer = page({"query": query})
    assert names(answer)[:3] == expected
    scores = [item["query_score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)


def test_the_similarity_score_is_the_cosine_from_zero_to_one(page: Any) -> None:
    answer = page({"query": {"vector": {"name": "significado", "value": vector(0)}}})
    scores = {item["record"]["external_id"]: item["query_score"] for item in answer["items"]}
    assert scores["r0"] == pytest.approx(1.0, abs=1e-6)
    assert scores["r3"] == pytest.approx(0.5, abs=1e-6)


def test_records_are_sorted_as_asked_numbers_as_numbers(page: Any) -> None:
    by_score = {"entity": "suggestion", "question": "tipo", "property": "score"}
    by_length = {"entity": "metadata", "metadata_property": "largo"}
    descending = ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert names(page({"sort": [{"scope": by_score, "order": "desc"}]})) == descending
    assert names(page({"sort": [{"scope": by_length, "order": "asc"}]})) == descending[::-1]


def test_a_reviewer_meets_the_records_in_one_stable_order(page: Any) -> None:
    assert names(page({})) == names(page({}))
    assert sorted(names(page({}))) == [f"r{n}" for n in range(len(TEXTS))]


def test_metadata_metrics_count_what_is_there(dataset: Any, plata_services: Any) -> None:
    headers = {"X-Argilla-Api-Key": plata_services.argilla_api_key}
    base = f"{plata_services.argilla_url}/api/v1"
    with httpx.Client(base_url=base, headers=headers, timeout=30) as http:
        properties = http.get(f"/me/datasets/{dataset.id}/metadata-properties").json()["items"]
        metrics = {
            entry["name"]: http.get(f"/metadata-properties/{entry['id']}/metrics").json()
            for entry in properties
        }
    terms = {value["term"]: value["count"] for value in metrics["canal"]["values"]}
    assert terms == {"web": 3, "chat": 3}
    assert (metrics["largo"]["min"], metrics["largo"]["max"]) == (0, 5)
    assert (metrics["confianza"]["min"], metrics["confianza"]["max"]) == (0.0, 0.5)


def test_an_answered_record_is_no_longer_pending(
    dataset: Any, page: Any, found: Callable[..., set[str]], plata_services: Any
) -> None:
    def of_status(status: str) -> set[str]:
        wanted = {"type": "terms", "scope": PENDING, "values": [status]}
        return set(names(page({"filters": {"and": [wanted]}})))

    records = {item["record"]["external_id"]: item["record"]["id"] for item in page({})["items"]}
    answer = {"status": "submitted", "values": {"tipo": {"value": "reclamo"}}}
    httpx.post(
        f"{plata_services.argilla_url}/api/v1/records/{records['r0']}/responses",
        headers={"X-Argilla-Api-Key": plata_services.argilla_api_key},
        json=answer,
    ).raise_for_status()
    assert of_status("submitted") == {"r0"}
    assert of_status("pending") == {"r1", "r2", "r3", "r4", "r5"}
    assert found(None, ("tipo.response", "==", "reclamo")) == {"r0"}
    assert found(None, ("status", "==", "completed")) == {"r0"}
    assert dataset.progress()["completed"] == 1


def test_no_page_asks_another_host_for_anything(plata_services: Any) -> None:
    answer = httpx.get(plata_services.argilla_url, follow_redirects=True)
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
