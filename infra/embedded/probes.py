"""Real questions to a service: each returns when it answers well, and raises when it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import psycopg

Probe = Callable[[], Awaitable[None]]


class NotReadyError(Exception):
    """The service does not answer, or answers with an error."""


async def postgres(url: str) -> None:
    """Ask the database for a row."""
    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=5, autocommit=True)
    except psycopg.Error as error:
        raise NotReadyError(str(error).strip().splitlines()[-1]) from error
    async with connection:
        await connection.execute("SELECT 1")


async def http(url: str, *, seconds: float = 10.0) -> None:
    """Expect a successful answer to a GET."""
    await _get(url, seconds)


async def dask_worker(scheduler: str, name: str) -> None:
    """Expect the scheduler to know the worker."""
    answer = await _get(f"{scheduler}/json/identity.json", 10.0)
    workers = json.loads(answer)["workers"].values()
    if name not in {str(worker.get("name")) for worker in workers}:
        raise NotReadyError(f"{name} has not registered with the scheduler")


async def _get(url: str, seconds: float) -> bytes:
    """Return the body of a successful answer."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    host = parts.hostname or ""
    answer = await _exchange(host, port, request.encode(), seconds, lines=None, secure=secure)
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode(errors="replace")
    if status.split()[1:2] not in (["200"], ["204"]):
        raise NotReadyError(f"{url} answered {status or 'nothing'}")
    return body


async def valkey(host: str, port: int, password: str) -> None:
    """Expect a PONG."""
    answer = await _exchange(host, port, f"AUTH {password}\r\nPING\r\n".encode(), 5.0, lines=2)
    if b"+PONG" not in answer:
        raise NotReadyError(f"expected +PONG, got {answer!r}")


async def listening(url: str) -> None:
    """Expect somebody to accept a connection: for protocols without a question as cheap."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(5.0):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.close()
    except (OSError, TimeoutError) as error:
        raise NotReadyError(f"{url}: {error or 'no answer in 5 s'}") from error


async def _exchange(
    host: str,
    port: int,
    question: bytes,
    seconds: float,
    *,
    lines: int | None,
    secure: bool = False,
) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port, ssl=secure or None)
            try:
                writer.write(question)
                await writer.drain()
                if lines is None:
                    return await reader.read()
                return b"".join([await reader.readline() for _ in range(lines)])
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise NotReadyError(f"{host}:{port}: {error or f'no answer in {seconds:g} s'}") from error
