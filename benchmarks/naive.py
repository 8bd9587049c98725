"""The peer: the script one would write in an afternoon, with good libraries used plainly.

pandas reads the file, `SentenceTransformer.encode` embeds it with its defaults, scikit-learn
answers in one call, and psycopg inserts row by row. No contracts, no quarantine, no versions, no
resume, and one model where Plata asks two.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

Seconds = dict[str, float]

_TABLES = """
DROP SCHEMA IF EXISTS naive CASCADE;
CREATE SCHEMA naive;
CREATE TABLE naive.tickets (id text PRIMARY KEY, created_at timestamptz, channel text, text text);
CREATE TABLE naive.embeddings (id text PRIMARY KEY, embedding vector(384));
CREATE TABLE naive.classifications (id text PRIMARY KEY, label text, score float);
CREATE TABLE naive.volume (day date, channel text, label text, tickets int);
CREATE INDEX ON naive.embeddings USING hnsw (embedding vector_cosine_ops);
"""


def run(texts: Path, labelled: Path, model: Path, postgres_url: str) -> Seconds:
    """Take the CSV from file to tables; return the seconds of each step.

    Loading the embedding model and fitting the classifier are left out of the clock, as they are
    for Plata, whose workers are warm and whose model is registered.
    """
    encoder = SentenceTransformer(str(model))
    encoder.encode(["query: calentar"])
    history = pd.read_json(labelled, lines=True)
    classifier = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10))
    classifier.fit(history["texto"], history["tipo"])
    took: Seconds = {}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(_TABLES)
        with _timed(took, "bronze"):
            rows = pd.read_csv(texts)
        with _timed(took, "silver"):
            for row in rows.itertuples():
                connection.execute(
                    "INSERT INTO naive.tickets VALUES (%s, %s, %s, %s)",
                    [row.radicado, row.fecha, row.canal, row.texto],
                )
        with _timed(took, "embeddings"):
            vectors = encoder.encode([f"query: {text}" for text in rows["texto"]])
        with _timed(took, "index"):
            for name, vector in zip(rows["radicado"], vectors, strict=True):
                connection.execute(
                    "INSERT INTO naive.embeddings VALUES (%s, %s)",
                    [name, json.dumps(np.asarray(vector, dtype=float).tolist())],
                )
        with _timed(took, "classifications"):
            answers = classifier.predict_proba(rows["texto"])
            rows["label"] = classifier.classes_[answers.argmax(axis=1)]
            rows["score"] = answers.max(axis=1)
            for row in rows.itertuples():
                connection.execute(
                    "INSERT INTO naive.classifications VALUES (%s, %s, %s)",
                    [row.radicado, row.label, row.score],
                )
        with _timed(took, "gold"):
            rows["day"] = pd.to_datetime(rows["fecha"]).dt.date
            counts = rows.groupby(["day", "canal", "label"]).size()
            for key, tickets in counts.to_dict().items():
                connection.execute(
                    "INSERT INTO naive.volume VALUES (%s, %s, %s, %s)", [*key, int(tickets)]
                )
    return took


@contextmanager
def _timed(took: Seconds, step: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    took[step] = time.perf_counter() - begun
