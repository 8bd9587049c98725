"""Three mends of Argilla's server, which has no more releases to wait for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from argilla_server.database import async_engine
from argilla_server.models import User, Vector

_ask = User.is_member


async def _is_member(self: Any, workspace_id: UUID) -> bool:
    known: dict[UUID, bool] = self.__dict__.setdefault("_member_of", {})
    if workspace_id not in known:
        known[workspace_id] = await _ask(self, workspace_id)
    return known[workspace_id]


def remember_membership() -> None:
    """Ask once a request whether a reviewer belongs to a workspace.

    Argilla asks it anew for every value of metadata on a page: 50 records with ten properties are
    500 queries, half a second of a page of similar records. The account is read anew for each
    request, so what is remembered on it cannot outlive one.
    """
    User.is_member = _is_member


def read_vectors_whole() -> None:
    """Read with a vector what it is called.

    A page on similar records asks for the one they are like; where that one has a vector the
    server reached for its name too late and failed.
    """
    named = Vector.__mapper__.get_property("vector_settings", _configure_mappers=False)
    named.lazy, named.strategy_key = "selectin", (("lazy", "selectin"),)


def ask_whether_a_connection_lives() -> None:
    """Try a pooled connection before it is used.

    After a restart of the database each of them failed once, as an error of somebody's request.
    """
    async_engine.sync_engine.pool._pre_ping = True
