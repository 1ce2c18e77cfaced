"""The HTTP server's patience: uvicorn's protocol with limits on request heads and on clients that stall.

uvicorn's own reads heads of any size and waits for ever on a connection that never finishes one. This one answers 431
or closes. It is chosen on the command line: `uvicorn --http kit.server:PatientHttp`.

It promises nothing about the size of bodies; `config.edge` does.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kit.errors import ApiError, BadRequest

HEAD_BYTES = 64 << 10
"""A request line and its header fields together; with what one read brings, so a little more may pass."""
HEAD_FIELDS = 100
HEAD_SECONDS = 20.0
"""From a connection's start, or a request's first byte, to the end of its head."""
BODY_WINDOW_SECONDS = 30.0
BODY_WINDOW_BYTES = 4 << 10
"""Bytes of an unfinished body that have to arrive in each window."""
ANSWER_SECONDS = 60.0
"""How long a client may take none of an answer that waits for it."""
TICK_SECONDS = 5.0
JOIN_BYTES = 64 << 10
"""What waits for the end of a loop's turn at most. More is written at once, so that the transport can push back."""


class HeadTooLarge(ApiError):
    """More header bytes or fields than any client of ours sends."""

    status = 431
    default_code = "headers_too_large"

    def __init__(self) -> None:
        super().__init__(
            f"The request's headers are larger than {HEAD_BYTES >> 10} KiB or more than {HEAD_FIELDS} fields. "
            "Send fewer or shorter ones, and long data in the body."
        )


class JoinedWrites:
    """A transport whose writes of one loop turn leave together: uvicorn writes head and body of an answer apart, and
    the second system call costs as much as all the rest of sending it."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keep the bytes until the end of the turn, or until there are many."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > JOIN_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is kept, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))


class PatientHttp(HttpToolsProtocol):
    """One connection. A timer looks at it every few seconds; a request costs two comparisons."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self.transport: Any = JoinedWrites(transport, self.loop)
        self.url = b""
        self._in_head, self._head_bytes, self._window_bytes, self._unread = True, 0, 0, 0
        self._since = self.loop.time()
        self._stalled_since = self._since
        self._timer = self.loop.call_later(TICK_SECONDS, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count, parse, and give up on a head that has grown too large."""
        if self._in_head:
            if not self._head_bytes:
                self._since = self.loop.time()
            self._head_bytes += len(data)
        else:
            self._window_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._end(HeadTooLarge())

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head. What comes behind a body is none, whatever it is called: nothing here reads trailers,
        and one that counted would pass whoever checks heads in front of us."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is in; one of too many fields goes to the refusal instead of the application."""
        self._in_head, self._window_bytes, self._since = False, 0, self.loop.time()
        if len(self.headers) > HEAD_FIELDS or (self._head_bytes > HEAD_BYTES and self._size() > HEAD_BYTES):
            self.app = _refuse_head
        super().on_headers_complete()

    def _size(self) -> int:
        """Exactly, because what was read may hold a part of the body as well."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def on_message_complete(self) -> None:
        """The next byte begins a new head."""
        self._in_head, self._head_bytes, self._since = True, 0, self.loop.time()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP at all, in the shape of the path it names, if it came that far."""
        if not self.transport.is_closing():
            self._end(BadRequest("This is not a valid HTTP request."))

    def _end(self, error: ApiError) -> None:
        """Answer on the bare connection, where no request stands yet or none can, and close it."""
        if self.cycle is not None and not self.cycle.response_complete:
            if self._in_head or self.pipeline or self.cycle.response_started:
                self.transport.close()  # an answer to an earlier request is on its way: nothing may stand inside it
                return
            self.cycle.disconnected = True  # it is this request's body that is none: whoever waits for it is let go
            self.cycle.message_event.set()
        kind, body = _body(error, self.url.decode("latin-1"))
        lines = [
            STATUS_LINE[error.status].removesuffix(b"\r\n"),
            b"content-type: " + kind,
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()

    def _tick(self) -> None:
        """Close the connection of a client that keeps us waiting."""
        if self.transport.is_closing() and not self.flow.write_paused:
            return  # a closed one whose client takes nothing of what is left is watched on
        if self._waits_too_long(self.loop.time()):
            self.transport.abort()
            return
        self._timer = self.loop.call_later(TICK_SECONDS, self._tick)

    def _waits_too_long(self, now: float) -> bool:
        if self.flow.write_paused:
            unread = self.transport.get_write_buffer_size()
            if unread != self._unread:
                self._unread, self._stalled_since = unread, now
            return now - self._stalled_since > ANSWER_SECONDS
        self._unread = 0
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._in_head:
            idle = self.timeout_keep_alive_task is not None  # uvicorn's own timer ends a connection between requests
            return not answering and not idle and now - self._since > HEAD_SECONDS
        if not answering:  # refused already, and still sending
            return now - self._since > HEAD_SECONDS
        if self.flow.read_paused or now - self._since < BODY_WINDOW_SECONDS:
            return False
        slow = self._window_bytes < BODY_WINDOW_BYTES
        self._since, self._window_bytes = now, 0
        return slow


def _body(error: ApiError, path: str) -> tuple[bytes, bytes]:
    if path == "/v1" or path.startswith(("/v1/", "/v1?")):
        return b"application/json", json.dumps(error.body()).encode()
    return b"text/plain; charset=utf-8", f"{error.message}\n".encode()


async def _refuse_head(scope: Any, receive: Any, send: Any) -> None:
    error = HeadTooLarge()
    kind, body = _body(error, scope["path"])
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
