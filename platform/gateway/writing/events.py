"""Server-sent events to one client: begun with the first token, kept awake before it, ended for who does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from gateway.calls import Call
from gateway.wire import Disconnected, Message, encode, head
from kit.errors import ApiError

T = TypeVar("T")

PING_SECONDS = 15.0
"""How often a client that waits for the first token hears from us. Until then a failure is a plain error answer."""
SLOW_SECONDS = 60.0
"""How long one event may wait for a client that reads nothing."""
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Events:
    """The answer to a call, event by event. Every method raises Disconnected when the client is gone or reads nothing;
    while it does not read, `data` waits, and so does who writes."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.begun = False

    async def first(self, work: Awaitable[T]) -> T:
        """The result of the work; while it takes long, the client is sent comments."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait((task,), timeout=PING_SECONDS)
                if done:
                    return task.result()
                await self._body(b": ping\n\n")
        finally:
            task.cancel()

    async def data(self, value: Any) -> None:
        """One event."""
        await self._body(b"data: " + encode(value) + b"\n\n")

    async def end(self, error: ApiError | None = None) -> None:
        """The last event: that all is done, or what went wrong."""
        last = b"data: [DONE]\n\n" if error is None else b"data: " + encode(error.body()) + b"\n\n"
        if error is not None:
            self._call.note.status, self._call.note.code = error.status, error.code or error.type
        await self._body(last, more=False)

    async def _body(self, body: bytes, *, more: bool = True) -> None:
        if not self.begun:
            self.begun = True
            headers = [*_HEADERS, *head(self._call.request_id, self._call.started), *self._call.headers]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _send(self, message: Message) -> None:
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                await self._call.send(message)
        except (TimeoutError, OSError) as error:
            raise Disconnected from error
