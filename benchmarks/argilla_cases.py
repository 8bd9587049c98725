"""A dataset in Argilla as large as one wants, for a benchmark of searching it.

Dataset and reviewers are made through the client, as anybody would. The records are copied into
Argilla's tables: through its API, at about a hundred a second, the filling would take longer than
everything that is measured. What our engine keeps is made by its own triggers either way.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import argilla as rg
import numpy as np
import psycopg

from benchmarks.progress import Tell
from benchmarks.texts import distinct_texts

TASK, VECTOR, DIMENSIONS = "tipo", "meaning", 384
LABELS = ("peticion", "queja", "reclamo", "sugerencia")
CHANNELS = ("email", "webform", "chat", "call", "other_digital")
REGIONS = ("Cundinamarca", "Antioquia", "Valle del Cauca", "Atlántico", "Santander", "Nariño")
PASSWORD = "una contraseña larga"
_TOPICS = 840
_FIRST_DAY = date(2026, 1, 1)
_BLOCK = 5_000


@dataclass(frozen=True, slots=True)
class Queue:
    """A filled dataset and who may label it."""

    dataset: uuid.UUID
    question: str
    fields: tuple[str, ...]
    reviewers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Server:
    """A running Argilla: where it answers, its owner's key, and the database behind it."""

    url: str
    api_key: str
    database: str


def make_queue(server: Server, *, name: str, reviewers: int) -> Queue:
    """Make an empty dataset of the shape Plata's have, and accounts that may label it."""
    client = rg.Argilla(api_url=server.url, api_key=server.api_key, timeout=120)
    workspace = rg.Workspace(name=name, client=client).create()
    settings = rg.Settings(
        guidelines="Lea la solicitud entera y elija el tipo.",
        fields=[
            rg.TextField("text", title="Texto de la solicitud", client=client),
            rg.TextField("why", title="Por qué está aquí", client=client),
        ],
        questions=[
            rg.LabelQuestion("label", list(LABELS), title="¿Qué tipo corresponde?", client=client),
            rg.TextQuestion("comment", title="Comentario", required=False, client=client),
        ],
        metadata=[
            *(rg.TermsMetadataProperty(n, client=client) for n in ("reason", "channel", "region")),
            rg.TermsMetadataProperty("day", client=client),
            rg.FloatMetadataProperty("score", client=client),
            rg.IntegerMetadataProperty("letters", client=client),
        ],
        vectors=[rg.VectorField(VECTOR, DIMENSIONS)],
    )
    made = rg.Dataset(TASK, workspace=workspace, settings=settings, client=client).create()
    names = tuple(f"{name}-{number}" for number in range(1, reviewers + 1))
    for reviewer in names:
        user = rg.User(
            username=reviewer, first_name=reviewer, role="annotator", password=PASSWORD,
            client=client,
        ).create()  # fmt: skip
        user.add_to_workspace(workspace)
    return Queue(made.id, "label", ("text", "why"), names)


def fill(queue: Queue, database: str, records: int, *, seed: int, tell: Tell) -> None:
    """Copy `records` into the dataset, each with a suggestion and a vector."""
    random = np.random.default_rng(seed)
    topics = random.normal(size=(_TOPICS, DIMENSIONS)).astype(np.float32)
    texts = distinct_texts(records, batch=f"{seed}-")
    with psycopg.connect(database) as connection:
        question, vectors = _ids(connection, queue)
        for start in range(0, records, _BLOCK):
            tell("copying records", start, records)
            numbers = range(start, min(start + _BLOCK, records))
            rows = [_record(n, texts[n], queue.dataset, random) for n in numbers]
            _copy(connection, "records", (row[0] for row in rows))
            _copy(connection, "suggestions", (_suggestion(*row[1:], question) for row in rows))
            _copy(
                connection,
                "vectors",
                (_vector(n, row[1], vectors, topics, random) for n, row in zip(numbers, rows)),  # noqa: B905
            )
        connection.commit()
        tell("copying records", records, records)
    with psycopg.connect(database, autocommit=True) as connection:
        # What autovacuum does within a minute of such a load.
        for table in ("records", "suggestions", "vectors", "responses"):
            connection.execute(f"VACUUM ANALYZE {table}".encode())


def _ids(connection: psycopg.Connection[Any], queue: Queue) -> tuple[uuid.UUID, uuid.UUID]:
    found = connection.execute(
        "SELECT questions.id, vectors_settings.id FROM questions JOIN vectors_settings "
        "USING (dataset_id) WHERE dataset_id = %s AND questions.name = %s",
        [queue.dataset, queue.question],
    ).fetchone()
    if found is None:
        raise LookupError(f"dataset {queue.dataset} has no question '{queue.question}'")
    return found[0], found[1]


_COLUMNS = {
    "records": "id, fields, metadata, status, external_id, dataset_id, inserted_at, updated_at",
    "suggestions": (
        "id, value, score, agent, type, record_id, question_id, inserted_at, updated_at"
    ),
    "vectors": "id, value, record_id, vector_settings_id, inserted_at, updated_at",
}


def _copy(connection: psycopg.Connection[Any], table: str, rows: Iterator[tuple[Any, ...]]) -> None:
    statement = f"COPY {table} ({_COLUMNS[table]}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)


def _record(
    number: int, text: str, dataset: uuid.UUID, random: np.random.Generator
) -> tuple[tuple[Any, ...], uuid.UUID, float, str, datetime]:
    score = round(float(random.beta(6, 2)), 4)
    label = LABELS[int(random.integers(len(LABELS)))]
    metadata = {
        "reason": "auditoría" if random.random() < 0.1 else "duda",
        "channel": CHANNELS[int(random.integers(len(CHANNELS)))],
        "region": REGIONS[int(random.integers(len(REGIONS)))],
        "day": (_FIRST_DAY + timedelta(days=number % 60)).isoformat(),
        "score": score,
        "letters": len(text),
    }
    fields = {"text": text, "why": f"Duda. Sugiere {label} con una confianza de {score:.0%}."}
    record = uuid.UUID(bytes=random.bytes(16), version=4)
    at = datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(seconds=number)
    row = (
        record, json.dumps(fields), json.dumps(metadata), "pending", f"case-{number}", dataset,
        at, at,
    )  # fmt: skip
    return row, record, score, label, at


def _suggestion(
    record: uuid.UUID, score: float, label: str, at: datetime, question: uuid.UUID
) -> tuple[Any, ...]:
    agent = "pqrs-tipo/7"
    return (
        uuid.uuid4(), json.dumps(label), json.dumps(score), agent, "model", record, question,
        at, at,
    )  # fmt: skip


def _vector(
    number: int,
    record: uuid.UUID,
    settings: uuid.UUID,
    topics: np.ndarray[Any, np.dtype[np.float32]],
    random: np.random.Generator,
) -> tuple[Any, ...]:
    near = topics[number % _TOPICS] + random.normal(scale=0.6, size=DIMENSIONS)
    value = (near / np.linalg.norm(near)).round(6).tolist()
    at = datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None)
    return (uuid.uuid4(), json.dumps(value), record, settings, at, at)
