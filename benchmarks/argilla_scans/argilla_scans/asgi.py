"""The Argilla server with the peer: `uvicorn argilla_scans.asgi:app`."""

from __future__ import annotations

from argilla_server import app as argilla

from argilla_scans.engine import ScanningEngine

ENGINE = ScanningEngine  # registered by its definition, before the first request
app = argilla
