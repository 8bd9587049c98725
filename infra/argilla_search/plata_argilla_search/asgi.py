"""The Argilla server with our search engine: `uvicorn plata_argilla_search.asgi:app`."""

from __future__ import annotations

from argilla_server import app as argilla

from plata_argilla_search import membership
from plata_argilla_search.engine import PostgresSearchEngine
from plata_argilla_search.pages import LocalPages

ENGINE = PostgresSearchEngine  # registered by its definition, before the first request
membership.remember()
app = LocalPages(argilla)
