"""One open connection to an engine, seen by the caller, and a text that is being written over it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

import msgspec

from inference import wire
from inference.errors import EngineError, Late, TooLarge, Unavailable, from_code


class Connection(asyncio.Protocol):
    """One socket: sends frames, hands each answer to the call that waits for it."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.generations: dict[int, Generation] = {}
        self.welcome: asyncio.Future[wire.Welcome] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.leaving = False
        """Whether the engine takes nothing new; the last answer closes the connection, so that none is cut off."""
        self.heard = 0
        """Grows with everything that arrives."""
        self._loop = asyncio.get_running_loop()
        self._frames = wire.Frames()
        self._outgoing: list[bytes] = []

    def send(self, frame: bytes) -> None:
        """Write a frame, together with all others of this loop turn."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frame)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self.transport is not None:
            self.transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class

    def data_received(self, data: bytes) -> None:
        self.heard += 1
        try:
            for body in self._frames.feed(data):
                self._deliver(wire.read_answer(body))
        except (msgspec.MsgspecError, TooLarge) as error:
            self._fail(Unavailable(f"The engine sent something unreadable: {error}"))
            self.close()
        if self.leaving:
            self._close_when_done()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(Unavailable("The engine closed the connection.", retry_after=1.0))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def _close_when_done(self) -> None:
        if not self.waiting and not self.generations:
            self.close()

    def _deliver(self, answer: wire.Answer) -> None:
        if isinstance(answer, wire.Leaving):
            self.leaving = True
            return
        if isinstance(answer, wire.Welcome):
            if not self.welcome.done():
                self.welcome.set_result(answer)
            return
        if isinstance(answer, wire.Failed) and answer.id == 0:
            refusal = from_code(answer.code, answer.message, answer.retry_after)
            # Once the connection is open, what broke it is about one frame, and not what the others asked.
            self._fail(broken_off(answer) if self.welcome.done() else refusal)
            return
        generation = self.generations.get(answer.id)
        if generation is not None:
            generation.deliver(answer)
            return
        future = self.waiting.pop(answer.id, None)
        if future is None or future.done():
            return
        if isinstance(answer, wire.Failed):
            future.set_exception(from_code(answer.code, answer.message, answer.retry_after))
        else:
            future.set_result(answer)

    def _fail(self, error: EngineError) -> None:
        waiting, self.waiting = self.waiting, {}
        for future in (self.welcome, *waiting.values()):
            if not future.done():
                future.set_exception(error)
                future.exception()  # mark as seen: a caller that gave up must not raise a warning
        for generation in list(self.generations.values()):
            generation.fail(error)


def broken_off(answer: wire.Failed) -> Unavailable:
    """What calls in flight get when the engine closes the connection over something that cannot be read."""
    return Unavailable(f"The engine broke off: {answer.message}", retry_after=1.0)


def expire(future: asyncio.Future[Any]) -> None:
    """A bare timer: `asyncio.timeout` costs several times as much, on every call."""
    if not future.done():
        future.set_exception(TimeoutError())


class Generation:
    """A text in the making: iterate over its pieces, then read `result`.

    Iterating raises `EngineError` when it fails on the way. Call `close` in a `finally`: what is not ended is cancelled
    in the engine.
    """

    def __init__(self, connection: Connection, request_id: int, patience: float) -> None:
        self.result: wire.Generated | None = None
        self._connection, self._id, self._patience = connection, request_id, patience
        self._arrived: deque[wire.Piece | wire.Generated | EngineError] = deque()
        self._arrival: asyncio.Future[None] | None = None  # of who waits for the next
        connection.generations[request_id] = self

    def allow(self, tokens: int, *, last: bool = False) -> None:
        """Raise what may be made to `tokens` in all; `last` ends it there with reason `budget`."""
        if self._connection.transport is not None:
            self._connection.send(wire.pack(wire.Allow(self._id, tokens, last)))

    def close(self) -> list[wire.Piece]:
        """Cancel what has not ended. Returns the pieces that had come and that nobody read: they were made as well."""
        if self._connection.generations.pop(self._id, None) is not None and self._connection.transport is not None:
            self._connection.send(wire.pack(wire.Cancel(self._id)))
        unread = [arrived for arrived in self._arrived if isinstance(arrived, wire.Piece)]
        self._arrived.clear()
        return unread

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> wire.Piece:
        if not self._arrived:
            await self._wait()
        arrived = self._arrived.popleft()
        if isinstance(arrived, EngineError):
            raise arrived
        if isinstance(arrived, wire.Generated):
            self.result = arrived
            raise StopAsyncIteration
        return arrived

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        arrival = self._arrival = loop.create_future()
        expiry = loop.call_later(self._patience, expire, arrival)
        try:
            await arrival
        except TimeoutError:
            self.close()
            raise Late("The engine did not answer in time.", retry_after=1.0) from None
        finally:
            expiry.cancel()
            self._arrival = None

    def deliver(self, answer: Any) -> None:
        """Called by the connection."""
        if isinstance(answer, wire.Failed):
            self.fail(from_code(answer.code, answer.message, answer.retry_after))
            return
        if isinstance(answer, wire.Generated):
            self._connection.generations.pop(self._id, None)
        self._put(answer)

    def fail(self, error: EngineError) -> None:
        """Called by the connection."""
        self._connection.generations.pop(self._id, None)
        self._put(error)

    def _put(self, arrived: Any) -> None:
        self._arrived.append(arrived)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
