"""The accounts of reviewers that Plata makes itself, each with a password made up for it.

An account is of one person and one tenant, such as `ana-alcaldia-norte`: whoever reviews for two
tenants has two.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from pathlib import Path

from labeling.queue import Reviewer
from lakehouse.errors import ConfigurationError, InputError
from lakehouse.tenancy import TenantContext

DEFAULT_NAME = "revisor"

_PASSWORD_BYTES = 12
_NAME = re.compile(r"[a-z][a-z0-9._]{0,39}")


class ReviewerAccounts:
    """Accounts in a file that only its owner may read; `path` need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, tenant: TenantContext) -> Reviewer:
        """Return the tenant's first account, in the order of `all`."""
        return self.all(tenant)[0]

    def all(self, tenant: TenantContext) -> tuple[Reviewer, ...]:
        """Return the tenant's accounts by name; `revisor-<tenant>` is made where there is none."""
        known = self._read()
        own = [name for name in sorted(known) if name.partition("-")[2] == tenant.tenant_id]
        if not own:
            return (self.add(DEFAULT_NAME, tenant),)
        return tuple(Reviewer(name, known[name]) for name in own)

    def add(self, name: str, tenant: TenantContext) -> Reviewer:
        """Return the account of a person, made up when first asked for. Raises `InputError`."""
        username = username_of(name, tenant)
        known = self._read()
        if username not in known:
            known[username] = secrets.token_urlsafe(_PASSWORD_BYTES)
            self._write(known)
        return Reviewer(username, known[username])

    def find(self, name: str, tenant: TenantContext) -> Reviewer:
        """Return the account of a person. Raises `InputError` where there is none."""
        username = username_of(name, tenant)
        known = {reviewer.username: reviewer for reviewer in self.all(tenant)}
        if username not in known:
            msg = f"there is no account '{username}'; the tenant has {', '.join(known)}"
            raise InputError(msg)
        return known[username]

    def remove(self, name: str, tenant: TenantContext) -> None:
        """Forget the account of a person. Raises `InputError` where there is none."""
        username = self.find(name, tenant).username
        self._write({kept: word for kept, word in self._read().items() if kept != username})

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


def username_of(name: str, tenant: TenantContext) -> str:
    """Return the username of a person in a tenant's queues. Raises `InputError`.

    >>> username_of("ana.gomez", TenantContext.parse("alcaldia-norte"))
    'ana.gomez-alcaldia-norte'
    """
    if not _NAME.fullmatch(name):
        msg = (
            f"'{name}' is not a reviewer's name: expected up to 40 lower-case letters, digits, "
            "dots and underscores, beginning with a letter, such as 'ana.gomez'"
        )
        raise InputError(msg)
    return f"{name}-{tenant.tenant_id}"
