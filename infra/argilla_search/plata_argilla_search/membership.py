"""Ask once a request whether a reviewer belongs to a workspace.

Argilla asks it anew for every value of metadata on a page: 50 records with ten properties are 500
queries, half a second of a page of similar records. Its account is read anew for each request, so
what is remembered on it cannot outlive one.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from argilla_server.models import User

_ask = User.is_member


async def _is_member(self: Any, workspace_id: UUID) -> bool:
    known: dict[UUID, bool] = self.__dict__.setdefault("_member_of", {})
    if workspace_id not in known:
        known[workspace_id] = await _ask(self, workspace_id)
    return known[workspace_id]


def remember() -> None:
    """Make the server remember; twice is as good as once."""
    User.is_member = _is_member
