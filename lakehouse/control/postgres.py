"""The door to Postgres: connections that can see one tenant, and one that administers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.rows import TupleRow

from lakehouse.errors import ServiceUnavailableError
from lakehouse.tenancy import TenantContext

Connection = psycopg.Connection[TupleRow]

APPLICATION_ROLE = "plata_app"
_TIMEOUT_SECONDS = 10


def without_password(url: str) -> str:
    """Hide the password of a connection URL, for messages.

    >>> without_password("postgresql://ana:secreto@127.0.0.1:5433/plata")
    'postgresql://ana:***@127.0.0.1:5433/plata'
    """
    return re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", url)


class Postgres:
    """Where the control plane, the vectors and served Gold live.

    Work for a tenant runs as a role under row-level security, which sees the rows of that tenant
    only; `administer` is for migrations and for what spans tenants, such as their directory.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._kept: list[Connection] = []
        self._keepers = 0

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep connections open from one transaction to the next while the block runs.

        A run has dozens of short transactions, and opening a connection takes longer than most.
        """
        self._keepers += 1
        try:
            yield
        finally:
            self._keepers -= 1
            while not self._keepers and (connection := self._popped()) is not None:
                connection.close()

    def rehearsed(self) -> Postgres:
        """Return the same database, in which nothing that is written stays."""
        return RehearsedPostgres(self._url)

    @contextmanager
    def connect(self, tenant: TenantContext) -> Iterator[Connection]:
        """Open one transaction that sees only `tenant`; commits at the end, unless it raises.

        Statements are never auto-prepared: a generic plan would freeze a bad choice of partition.
        """
        with self._open() as connection:
            connection.execute(
                "SELECT set_config('plata.tenant', %s, false), set_config('role', %s, false)",
                [tenant.tenant_id, APPLICATION_ROLE],
            )
            yield connection

    @contextmanager
    def administer(self) -> Iterator[Connection]:
        """Open one transaction as the owner, past row-level security."""
        with self._open() as connection:
            yield connection

    @contextmanager
    def _open(self) -> Iterator[Connection]:
        connection = self._take_kept() or self._connected()
        try:
            yield connection
            if not connection.closed:
                connection.commit()
        except BaseException:
            with suppress(psycopg.Error):
                connection.rollback()
            connection.close()
            raise
        if self._keepers and not connection.closed:
            self._kept.append(connection)
        else:
            connection.close()

    def _take_kept(self) -> Connection | None:
        """Return a connection as if it were new; one whose server went down is left behind."""
        while (connection := self._popped()) is not None:
            try:
                connection.autocommit = True
                connection.execute("RESET ROLE")
                connection.execute("DISCARD ALL")
                connection.autocommit = False
            except psycopg.Error:
                connection.close()
            else:
                return connection
        return None

    def _popped(self) -> Connection | None:
        """Take one that is kept; events are told from a thread aside, which may take the last."""
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def _connected(self) -> Connection:
        try:
            return psycopg.connect(
                self._url, connect_timeout=_TIMEOUT_SECONDS, prepare_threshold=None
            )
        except psycopg.OperationalError as error:
            cause = str(error).strip().splitlines()[-1] if str(error).strip() else "no answer"
            raise ServiceUnavailableError.of(
                "Postgres", without_password(self._url), cause
            ) from error


class RehearsedPostgres(Postgres):
    """A Postgres in which anything can be written and nothing stays: each transaction ends undone.

    For doing work again to see what comes out of it. Only work whose later transactions do not
    read what earlier ones wrote.
    """

    @contextmanager
    def connect(self, tenant: TenantContext) -> Iterator[Connection]:
        """Open one transaction that sees only `tenant`, and roll it back at the end."""
        with super().connect(tenant) as connection:
            try:
                yield connection
            finally:
                connection.rollback()
