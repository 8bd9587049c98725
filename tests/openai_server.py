"""A chat endpoint on loopback that keeps to OpenAI's protocol, counts what it charges, and fails on
demand.

It refuses what the real one refuses: a missing key, an unknown model, messages or a schema out of
shape. Answers come from the digest of the text, so they are the same however often it is asked.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "prueba-1"
KEY = "una-llave-de-prueba"
BUSY_SECONDS = "0.05"


class Fault(StrEnum):
    """What can go wrong with one call."""

    NONE = "none"
    BUSY = "429"
    BUSY_UNTIL = "429 with a date"
    BROKEN = "500"
    SLOW = "slow"
    TRICKLE = "an answer that trickles in"
    CUT = "connection cut"
    NOT_JSON = "content that is not JSON"
    NOT_A_COMPLETION = "a body that is no completion"
    WRONG_LABEL = "wrong label"
    REFUSAL = "refusal"
    TRUNCATED = "cut off at the limit of tokens"
    NO_USAGE = "usage missing"
    UNWANTED = "400"


@dataclass(frozen=True)
class Charged:
    """A reply the server charges for."""

    text: str
    prompt_tokens: int
    completion_tokens: int


Plan = Callable[[str, int], Fault]
"""Says what happens to a text when it is asked about for the n-th time, counted from 1."""


@dataclass
class OpenAiServer:
    """The server's own account of what it was asked."""

    url: str = ""
    plan: Plan = lambda text, nth: Fault.NONE
    slow_seconds: float = 1.0
    asked: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    charged: list[Charged] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens charged for, of prompts and of completions."""
        return (
            sum(c.prompt_tokens for c in self.charged),
            sum(c.completion_tokens for c in self.charged),
        )


def answer_of(text: str, labels: list[str]) -> dict[str, float]:
    """Return what the model says of a text."""
    weights = [1 + hashlib.sha256(f"{label}/{text}".encode()).digest()[0] for label in labels]
    return {label: weight / sum(weights) for label, weight in zip(labels, weights, strict=True)}


@contextmanager
def serving(plan: Plan = lambda text, nth: Fault.NONE) -> Iterator[OpenAiServer]:
    """Serve on a free port of loopback until the block ends."""
    state = OpenAiServer(plan=plan)

    class Handler(_Handler):
        server_state = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_state: OpenAiServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        state = self.server_state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refusal = self._refused(body)
        if refusal is not None:
            self._send(refusal[0], {"error": {"message": refusal[1]}})
            return
        text = body["messages"][-1]["content"]
        with state.lock:
            state.asked.append(text)
            state.bodies.append(body)
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
            nth = state.asked.count(text)
        try:
            self._answer(state.plan(text, nth), body, text)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with state.lock:
                state.at_once -= 1

    def _refused(self, body: dict[str, Any]) -> tuple[int, str] | None:
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return 401, "Incorrect API key provided"
        if self.path != "/v1/chat/completions":
            return 404, "Unknown path"
        if body.get("model") != MODEL:
            return 404, "The model does not exist"
        roles = [message.get("role") for message in body.get("messages", [])]
        if roles != ["system", "user"]:
            return 400, "messages out of shape"
        format_ = body.get("response_format", {})
        schema = format_.get("json_schema", {}).get("schema", {})
        strict = format_.get("json_schema", {}).get("strict")
        if format_.get("type") != "json_schema" or not strict or not _is_strict(schema):
            return 400, "Invalid schema for response_format"
        return None

    def _answer(self, fault: Fault, body: dict[str, Any], text: str) -> None:
        if fault is Fault.BUSY:
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": BUSY_SECONDS})
        elif fault is Fault.BUSY_UNTIL:
            date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": date})
        elif fault is Fault.BROKEN:
            self._send(500, {"error": {"message": "internal"}})
        elif fault is Fault.UNWANTED:
            self._send(400, {"error": {"message": "no"}})
        elif fault is Fault.NOT_A_COMPLETION:
            self._send(200, {"object": "something else"})
        elif fault is Fault.CUT:
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{")
        elif fault is Fault.TRICKLE:
            self._trickle()
        else:
            if fault is Fault.SLOW:
                time.sleep(self.server_state.slow_seconds)
            self._complete(fault, body, text)

    def _trickle(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
        for _ in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(self.server_state.slow_seconds / 10)

    def _complete(self, fault: Fault, body: dict[str, Any], text: str) -> None:
        schema = body["response_format"]["json_schema"]["schema"]
        (outer,) = schema["required"]
        labels = schema["properties"][outer]["required"]
        content: str | None = json.dumps({outer: answer_of(text, labels)})
        message: dict[str, Any] = {"role": "assistant", "refusal": None}
        reason = "stop"
        if fault is Fault.NOT_JSON:
            content = "Claro, con gusto: es una queja."
        if fault is Fault.WRONG_LABEL:
            content = json.dumps({outer: {**dict.fromkeys(labels, 0.0), "elogio": 1.0}})
        if fault is Fault.TRUNCATED:
            content, reason = (content or "")[:12], "length"
        if fault is Fault.REFUSAL:
            content, message["refusal"] = None, "I'm sorry, I can't help with that."
        message["content"] = content
        spent = Charged(
            text,
            sum(len(m["content"].split()) for m in body["messages"]),
            len((content or "no").split()),
        )
        with self.server_state.lock:
            self.server_state.charged.append(spent)
        reply = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {
                "prompt_tokens": spent.prompt_tokens,
                "completion_tokens": spent.completion_tokens,
                "total_tokens": spent.prompt_tokens + spent.completion_tokens,
            },
        }
        if fault is Fault.NO_USAGE:
            del reply["usage"]
        self._send(200, reply)

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        payload = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        for name, header in (headers or {}).items():
            self.send_header(name, header)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _is_strict(schema: dict[str, Any]) -> bool:
    """Tell whether a schema is one that strict mode takes: closed objects, all keys required."""
    if schema.get("type") != "object":
        return schema.get("type") in ("number", "string", "boolean", "integer")
    properties = schema.get("properties", {})
    closed = schema.get("additionalProperties") is False
    whole = set(schema.get("required", [])) == set(properties)
    return closed and whole and all(_is_strict(inner) for inner in properties.values())
