"""Raw ASGI: reading a bounded body, writing an answer with all its headers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from kit.errors import ApiError, PayloadTooLarge, UnsupportedMediaType

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_BODY = 8 << 20
MAX_DRAIN = 64 << 20  # of a body that is too large anyway; then the connection is simply closed
_JSON = (b"content-type", b"application/json")
_VERSION = (b"openai-version", b"2020-10-01")
_encode = msgspec.json.Encoder().encode


class Disconnected(Exception):
    """The client went away."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body, of at most MAX_BODY bytes and of a type that claims to be JSON."""
    kind = header(scope, b"content-type")
    if kind is not None and b"json" not in kind.lower():
        raise UnsupportedMediaType("This route reads application/json.")
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            if message.get("more_body", False):
                await _drain(receive)
            raise PayloadTooLarge(
                f"The body is larger than {MAX_BODY >> 20} MiB. Send fewer or shorter texts in one request."
            )
        if not message.get("more_body", False):
            return body


async def _drain(receive: Receive) -> None:
    """Take in the rest and drop it: most clients read the answer only after they could send everything."""
    left = MAX_DRAIN
    while left > 0:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def answer(
    send: Send, status: int, body: bytes, *, request_id: str, started: float, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """Send one complete answer."""
    length = (b"content-length", b"%d" % len(body))
    everything = [_JSON, length, *head(request_id, started), *headers]
    await send({"type": "http.response.start", "status": status, "headers": everything})
    await send({"type": "http.response.body", "body": body})


def head(request_id: str, started: float) -> Headers:
    """Headers of every answer, streams as well."""
    milliseconds = int((time.perf_counter() - started) * 1000)
    return [
        (b"x-request-id", request_id.encode()),
        (b"openai-processing-ms", b"%d" % milliseconds),
        _VERSION,
    ]


def error_body(error: ApiError) -> bytes:
    """The four keys."""
    return _encode(error.body())


def error_headers(error: ApiError) -> Headers:
    """The error's own headers as raw pairs."""
    return [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]


def encode(value: Any) -> bytes:
    """A body from msgspec structs."""
    return _encode(value)
