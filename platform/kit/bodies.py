"""A request's body read by a thread while the event loop receives it, at the pace of whichever is slower."""

import asyncio
import io
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import CancelledError, Future
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

ARRIVING = "tunesmith.arriving"
"""Key in the scope of a request whose body the view reads as it arrives; the value is the sender's tenant."""
PARCEL = 256 << 10
"""Bytes handed over at a time: each hand-over costs a change of threads."""


class Gone(ConnectionError):
    """The client left before its body was complete."""


class Arriving(io.RawIOBase):
    """The body as a file to read once, from a thread beside the loop; `Gone` when the client is."""

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._receive, self._loop = receive, loop
        self._rest, self._complete, self._stopped = memoryview(b""), False, False
        self._wait: Future[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.left: asyncio.Future[None] = loop.create_future()
        """Done when the client has left."""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """What is there, as far as it fits; 0 at the end."""
        while not self._rest and not self._complete:
            self._rest = memoryview(self._next())
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def stop(self) -> None:
        """Receive no more: a thread that still reads is told that the client is gone. For the loop's thread."""
        self._stopped = True
        if self._wait is not None:
            self._wait.cancel()
        if self._watch is not None:
            self._watch.cancel()
        self.left.cancel()

    def _next(self) -> bytes:
        if self._stopped:
            raise Gone("the request is over")
        self._wait = asyncio.run_coroutine_threadsafe(self._parcel(), self._loop)
        try:
            return self._wait.result()
        except CancelledError as error:
            raise Gone("the request is over") from error

    async def _parcel(self) -> bytes:
        if self._stopped:  # since the thread asked
            raise Gone("the request is over")
        parts: list[bytes] = []
        have = 0
        while have < PARCEL and not self._complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                raise Gone("the client left before its body was complete")
            parts.append(message.get("body", b""))
            have += len(parts[-1])
            if not message.get("more_body", False):
                self._complete = True
                self._watch = self._loop.create_task(self._until_left())
        return b"".join(parts)

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._stopped = True
        if not self.left.done():
            self.left.set_result(None)
