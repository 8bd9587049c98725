"""Keep Argilla's pages at home: a browser without Internet must not wait for somebody's fonts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "img-src * data: blob:; media-src * data: blob:"
)
"""Scripts, styles, fonts and calls only from Argilla itself; a record may still show a picture."""


class LocalPages:
    """Adds the policy to every HTTP answer of the wrapped application."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's start and end."""

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message.get("headers", []), header]
            await send(message)

        await self._app(scope, receive, with_policy if scope["type"] == "http" else send)
