"""Django as an ASGI application: a request is one trip to a thread of `kit.threads`, middleware and view together.

Django's own ASGI handler awaits each middleware on a thread made for the request, some ten trips for a page, and reads
whole bodies before anything may look at them. Here the synchronous chain runs in one go, and bodies of files, which the
edge marks, are read by the view as they arrive. See docs/decisions/0019.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from typing import Any, cast
from uuid import UUID

from django.core import signals
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http.response import HttpResponseBase, StreamingHttpResponse
from django.urls import set_script_prefix

from kit import threads
from kit.bodies import ARRIVING, PARCEL, Arriving, Gone

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

AT_ONCE = 6
"""Bodies of one organisation that are taken in at a time; the next one is read when one of them is done."""


@dataclass(slots=True)
class _Turns:
    """One organisation's."""

    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as the wire wants it: whole, or with a stream still to come."""

    status: int
    headers: Headers
    body: bytes = b""
    stream: StreamingHttpResponse | None = None


class Handler(ASGIHandler):
    """Django's handler with the synchronous middleware chain."""

    def __init__(self) -> None:
        self.load_middleware(is_async=False)
        self._senders: dict[UUID, _Turns] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served here, not {scope['type']}")
        if ARRIVING in scope:
            await self._while_arriving(scope, receive, send)
        else:
            await self._when_arrived(scope, receive, send)

    async def _when_arrived(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _whole(receive)
        except Gone:
            return
        context = contextvars.copy_context()
        work = threads.submit(threads.workers(), context, self._work, scope, BytesIO(body))
        left = asyncio.ensure_future(_until_left(receive))
        try:
            await self._answer(work, context, left, send)
        finally:
            left.cancel()

    async def _while_arriving(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turn_of(scope[ARRIVING]):
            body = Arriving(receive, asyncio.get_running_loop())
            context = contextvars.copy_context()
            work = threads.submit(threads.transfers(), context, self._work, scope, BufferedReader(body, PARCEL))
            try:
                await self._answer(work, context, body.left, send)
            finally:
                body.stop()

    async def _answer(
        self, work: "Future[Answer]", context: contextvars.Context, left: "asyncio.Future[None]", send: Send
    ) -> None:
        """Send what the work makes of the request, unless the client leaves first."""
        answered = asyncio.wrap_future(work)
        sent: asyncio.Future[None] | None = None
        try:
            await asyncio.wait(cast("Any", [answered, left]), return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                return
            sent = asyncio.get_running_loop().create_task(_send(answered.result(), send), context=context)
            await asyncio.wait([sent, left], return_when=asyncio.FIRST_COMPLETED)
            if sent.done():
                sent.result()
        finally:
            if sent is not None and not sent.done():
                sent.cancel()
                await asyncio.wait({sent})
            work.cancel()  # it may still wait for its thread
            work.add_done_callback(_finish)

    @contextlib.asynccontextmanager
    async def _turn_of(self, sender: UUID) -> AsyncIterator[None]:
        """One organisation, however many keys it has, cannot hold every thread that takes bodies in."""
        turns = self._senders.setdefault(sender, _Turns())
        turns.wanted += 1
        try:
            async with turns.free:
                yield
        finally:
            turns.wanted -= 1
            if not turns.wanted:
                del self._senders[sender]

    def _work(self, scope: Scope, body: Any) -> Answer:
        """The whole of Django, on one thread."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        response = cast("HttpResponseBase", refusal if request is None else self.get_response(request))
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        headers = _headers(response)
        bare = scope["method"] == "HEAD"  # the server would drop a body: no stream is read to its end for that
        if response.streaming and response.is_async and not bare:  # type: ignore[attr-defined]
            return Answer(response.status_code, headers, stream=cast("StreamingHttpResponse", response))
        with contextlib.closing(response):
            body = b"" if bare else b"".join(cast("Any", response))  # a static file, at most
        return Answer(response.status_code, headers, body)


async def _whole(receive: Receive) -> bytes:
    """A body of the size that the edge lets through to memory."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(response: HttpResponseBase) -> Headers:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    for cookie in response.cookies.values():
        headers.append((b"Set-Cookie", cookie.output(header="").strip().encode("ascii")))
    return headers


async def _send(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if answer.stream is not None:
        async with aclosing(cast("Any", aiter(answer.stream))) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": answer.body})


def _finish(work: "Future[Answer]") -> None:
    """Close a streamed response, on a thread: its end is a request's end, which looks at the thread's connections."""
    if not work.cancelled() and work.exception() is None:
        stream = work.result().stream
        if stream is not None:
            threads.workers().submit(stream.close)
