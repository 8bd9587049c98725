"""Passwords and keys of the local services: made once, kept in one file of the owner's."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field, fields

from infra.embedded.errors import StateFileError
from infra.embedded.files import read_json, waiting_for, write_json
from infra.embedded.layout import Layout

ARGILLA_OWNER = "argilla"


def _password() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Every secret of one installation; letters that need no quoting in a URL."""

    installation: str = field(default_factory=lambda: secrets.token_hex(8))
    """Names data that must live outside the state folder, wherever that folder moves."""
    postgres: str = field(default_factory=_password, repr=False)
    mlflow: str = field(default_factory=_password, repr=False)
    prefect: str = field(default_factory=_password, repr=False)
    argilla_database: str = field(default_factory=_password, repr=False)
    valkey: str = field(default_factory=_password, repr=False)
    argilla_password: str = field(default_factory=_password, repr=False)
    argilla_api_key: str = field(default_factory=_password, repr=False)
    argilla_secret_key: str = field(default_factory=_password, repr=False)
    mlflow_secret_key: str = field(default_factory=_password, repr=False)


def read_credentials(layout: Layout) -> Credentials | None:
    """Return what an earlier start made, None before the first."""
    stored = read_json(layout.secrets)
    if stored is None:
        return None
    names = {entry.name for entry in fields(Credentials)}
    if not names >= stored.keys() or not all(isinstance(v, str) and v for v in stored.values()):
        raise StateFileError.of(layout.secrets, "it holds other keys than Plata's")
    return Credentials(**stored)


def ensure_credentials(layout: Layout) -> Credentials:
    """Return this installation's secrets, making those that do not exist yet."""
    with waiting_for(layout.run / "secrets.lock"):
        found = read_credentials(layout) or Credentials()
        write_json(layout.secrets, asdict(found))
    return found
