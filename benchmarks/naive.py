"""The peer: the script one would write in an afternoon, with good libraries used plainly.

pandas reads the file, `SentenceTransformer.encode` embeds it with its defaults, scikit-learn
answers in one call, and psycopg inserts row by row. No contracts, no quarantine, no versions, no
resume, and one model where Plata asks three.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import torch
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

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


class Script:
    """The script with its models in memory, as Plata's workers have theirs."""

    def __init__(self, labelled: Path, model: Path, postgres_url: str, threads: int) -> None:
        torch.set_num_threads(threads)
        history = pd.read_json(labelled, lines=True)
        self._encoder = SentenceTransformer(str(model), device="cpu")
        self._classifier: Pipeline = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10)
        )
        self._classifier.fit(history["texto"], history["tipo"])
        self._postgres_url = postgres_url

    def run(self, texts: Path) -> Seconds:
        """Take the CSV from file to new tables; return the seconds of each step."""
        took: Seconds = {}
        with psycopg.connect(self._postgres_url, autocommit=True) as connection:
            connection.execute(_TABLES)
            with _timed(took, "all"):
                self._take(texts, connection, took)
        return took

    def _take(self, texts: Path, connection: psycopg.Connection, took: Seconds) -> None:
        with _timed(took, "bronze"):
            rows = pd.read_csv(texts)
        with _timed(took, "silver"):
            for row in rows.itertuples():
                connection.execute(
                    "INSERT INTO naive.tickets VALUES (%s, %s, %s, %s)",
                    [row.radicado, row.fecha, row.canal, row.texto],
                )
        with _timed(took, "embeddings"):
            vectors = self._encoder.encode([f"query: {text}" for text in rows["texto"]])
        with _timed(took, "index"):
            for name, vector in zip(rows["radicado"], vectors, strict=True):
                connection.execute(
                    "INSERT INTO naive.embeddings VALUES (%s, %s)",
                    [name, json.dumps(np.asarray(vector, dtype=float).tolist())],
                )
        with _timed(took, "classifications"):
            answers = self._classifier.predict_proba(rows["texto"])
            rows["label"] = self._classifier.classes_[answers.argmax(axis=1)]
            rows["score"] = answers.max(axis=1)
            for row in rows.itertuples():
                connection.execute(
                    "INSERT INTO naive.classifications VALUES (%s, %s, %s)",
                    [row.radicado, row.label, row.score],
                )
        with _timed(took, "gold"):
            rows["day"] = pd.to_datetime(rows["fecha"]).dt.date
            counts = rows.groupby(["day", "canal", "label"]).size().reset_index(name="tickets")
            for row in counts.itertuples():
                connection.execute(
                    "INSERT INTO naive.volume VALUES (%s, %s, %s, %s)",
                    [row.day, row.canal, row.label, row.tickets],
                )


@contextmanager
def _timed(took: Seconds, step: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    took[step] = time.perf_counter() - begun


def main(arguments: list[str]) -> None:
    """Serve the benchmark: a path a line on standard input, seconds as JSON on standard output."""
    labelled, model, postgres_url, threads = arguments
    script = Script(Path(labelled), Path(model), postgres_url, int(threads))
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        print(json.dumps(script.run(Path(line.strip()))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
