"""The door to HTTP: any endpoint that speaks OpenAI's `/v1/chat/completions`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from models.chat import CallError, Failure, Reply

_LONGEST_SHOWN = 200
_LONGEST_ANSWER = 1_000_000
"""Bytes. An answer is a few hundred; what is longer is none."""


class OpenAiEndpoint:
    """`url` ends where `/chat/completions` begins, as in `http://127.0.0.1:8000/v1`.

    The key is sent and kept nowhere else; None where the endpoint wants none.
    """

    def __init__(self, url: str, key: str | None, *, connections: int) -> None:
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections
        )
        self._client = self._connected()

    def complete(self, body: Mapping[str, Any], *, timeout: float) -> Reply:
        """Send one request. `timeout` bounds the whole, however slowly the answer trickles in."""
        ends = time.monotonic() + timeout
        late = CallError(Failure.TIMEOUT, f"no answer within {timeout:.1f} s")
        try:
            with self._client.stream("POST", self._url, json=dict(body), timeout=timeout) as found:
                content = bytearray()
                for chunk in found.iter_bytes():
                    content += chunk
                    if time.monotonic() > ends:
                        raise late
                    if len(content) > _LONGEST_ANSWER:
                        raise CallError(Failure.SERVER_ERROR, "an answer without end")
        except httpx.TimeoutException as error:
            raise late from error
        except httpx.HTTPError as error:
            cause = f"{type(error).__name__}: {str(error)[:_LONGEST_SHOWN]}"
            raise CallError(Failure.UNREACHABLE, cause) from error
        if found.status_code != httpx.codes.OK:
            raise _refused(found)
        return _reply(bytes(content))

    def close(self) -> None:
        """Leave; a later request connects again."""
        self._client.close()
        self._client = self._connected()

    def _connected(self) -> httpx.Client:
        return httpx.Client(headers=self._headers, limits=self._limits, follow_redirects=False)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: dict[str, Any] | None = None


def _reply(content: bytes) -> Reply:
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError as error:
        found = f"the endpoint's answer is no chat completion ({error.error_count()} problems)"
        raise CallError(Failure.SERVER_ERROR, found) from error
    choice, usage = completion.choices[0], completion.usage or {}
    return Reply(
        content=choice.message.content,
        refusal=choice.message.refusal,
        finish_reason=choice.finish_reason,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _refused(response: httpx.Response) -> CallError:
    status = response.status_code
    found = f"HTTP {status}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return CallError(Failure.RATE_LIMITED, found, _retry_after(response))
    if status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.GATEWAY_TIMEOUT):
        return CallError(Failure.TIMEOUT, found, _retry_after(response))
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return CallError(Failure.SERVER_ERROR, found, _retry_after(response))
    if status in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY):
        return CallError(Failure.BAD_REQUEST, found)
    return CallError(Failure.REJECTED, found)


def _retry_after(response: httpx.Response) -> float | None:
    """Read the header as seconds or as a date; None where it is neither."""
    value = response.headers.get("Retry-After", "").strip()
    if value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
