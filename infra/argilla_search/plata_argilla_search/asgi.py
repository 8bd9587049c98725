"""The Argilla server with our search engine: `uvicorn plata_argilla_search.asgi:app`."""

from __future__ import annotations

from argilla_server import app as argilla

from plata_argilla_search import mends
from plata_argilla_search.engine import PostgresSearchEngine
from plata_argilla_search.pages import LocalPages

ENGINE = PostgresSearchEngine  # registered by its definition, before the first request
mends.remember_membership()
mends.read_vectors_whole()
mends.ask_whether_a_connection_lives()
app = LocalPages(argilla)
