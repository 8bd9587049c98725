"""As many texts as a benchmark wants, no two alike, made of the bundled corpus."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

from pipelines.demo_corpus import corpus

_FIRST_DAY = datetime(2026, 3, 2, 7, tzinfo=UTC)
_DAYS = 7


def distinct_texts(rows: int, *, batch: str) -> list[str]:
    """Return the 840 requests of the corpus over and over, each ending in a number of its own.

    The number is what makes them differ: equal texts are encoded once, which would flatter Plata.

    >>> one, other = (distinct_texts(841, batch="a")[n] for n in (0, 840))
    >>> one.rsplit(".", 2)[0] == other.rsplit(".", 2)[0], one == other
    (True, False)
    """
    texts = [str(request["texto"]) for request in corpus()]
    return [f"{texts[n % len(texts)]} Radicado {batch}{n:05d}." for n in range(rows)]


def as_csv(texts: list[str], *, batch: str) -> str:
    """Return texts as a channel delivers them, with the columns of `demo_corpus.TEXT_COLUMNS`."""
    requests = corpus()
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["radicado", "fecha", "canal", "tipo_declarado", "texto"])
    for number, text in enumerate(texts):
        request = requests[number % len(requests)]
        moment = _FIRST_DAY + timedelta(days=number % _DAYS, seconds=number)
        name = f"{batch}-{number:05d}"
        writer.writerow([name, moment.isoformat(), request["canal"], request["tipo"], text])
    return sink.getvalue()
