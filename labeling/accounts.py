"""The reviewers' accounts that Plata makes itself: one a tenant, with a password made up for it."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from pathlib import Path

from labeling.queue import Reviewer
from lakehouse.errors import ConfigurationError
from lakehouse.tenancy import TenantContext

_PASSWORD_BYTES = 12


class ReviewerAccounts:
    """Accounts in a file that only its owner may read; `path` need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, tenant: TenantContext) -> Reviewer:
        """Return the tenant's reviewer `revisor-<tenant>`, made up when first asked for."""
        username = f"revisor-{tenant.tenant_id}"
        known = self._read()
        if username not in known:
            known[username] = secrets.token_urlsafe(_PASSWORD_BYTES)
            self._write(known)
        return Reviewer(username, known[username])

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            msg = (
                f"'{self._path}' is not the JSON Plata wrote: {error}. Remove it: passwords are "
                "made anew, and set in Argilla by the next `plata review push`"
            )
            raise ConfigurationError(msg) from error
        return {str(name): str(password) for name, password in known.items()}

    def _write(self, known: dict[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(known, file, indent=1, sort_keys=True)
        Path(draft).replace(self._path)
