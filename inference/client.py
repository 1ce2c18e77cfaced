"""Clients of the engine: `EngineClient` for asyncio, `BlockingClient` for tasks and scripts.

The asyncio client keeps one connection, any number of calls in flight on it, and opens it again when it breaks. It
never repeats a call by itself: a caller that lost its answer decides whether asking again is safe (it is: no message
changes anything but what is in memory).
"""

from __future__ import annotations

import abc
import asyncio
import itertools
import socket
import time
from typing import Any, TypeVar, cast

import msgspec

from inference import wire
from inference.address import Address
from inference.errors import EngineError, Internal, TooLarge, Unavailable, from_code

T = TypeVar("T", bound=wire.Message)

BACKOFF_S = 0.25  # after a failed attempt to connect, calls fail at once for this long instead of piling up


class _Connection(asyncio.Protocol):
    """One socket: sends frames, hands each answer to the call that waits for it."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.generations: dict[int, Generation] = {}
        self.welcome: asyncio.Future[wire.Welcome] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
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
        try:
            for body in self._frames.feed(data):
                self._deliver(wire.read_answer(body))
        except (msgspec.MsgspecError, TooLarge) as error:
            self._fail(Unavailable(f"The engine sent something unreadable: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(Unavailable("The engine closed the connection.", retry_after=1.0))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def _deliver(self, answer: wire.Answer) -> None:
        if isinstance(answer, wire.Welcome):
            if not self.welcome.done():
                self.welcome.set_result(answer)
            return
        if isinstance(answer, wire.Failed) and answer.id == 0:
            self._fail(from_code(answer.code, answer.message, answer.retry_after))
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


def _expire(future: asyncio.Future[Any]) -> None:
    """A bare timer: `asyncio.timeout` costs several times as much, on every call."""
    if not future.done():
        future.set_exception(TimeoutError())


class Generation:
    """A text in the making: iterate over its pieces, then read `result`.

    Iterating raises `EngineError` when it fails on the way. Call `close` in a `finally`: what is not ended is cancelled
    in the engine.
    """

    def __init__(self, connection: _Connection, request_id: int, patience: float) -> None:
        self.result: wire.Generated | None = None
        self._connection, self._id, self._patience = connection, request_id, patience
        self._arrived: asyncio.Queue[wire.Piece | wire.Generated | EngineError] = asyncio.Queue()
        connection.generations[request_id] = self

    def allow(self, tokens: int, *, last: bool = False) -> None:
        """Raise what may be made to `tokens` in all; `last` ends it there with reason `budget`."""
        if self._connection.transport is not None:
            self._connection.send(wire.pack(wire.Allow(self._id, tokens, last)))

    def close(self) -> list[wire.Piece]:
        """Cancel what has not ended. Returns the pieces that had come and that nobody read: they were made as well."""
        if self._connection.generations.pop(self._id, None) is not None and self._connection.transport is not None:
            self._connection.send(wire.pack(wire.Cancel(self._id)))
        unread = []
        while not self._arrived.empty():
            arrived = self._arrived.get_nowait()
            if isinstance(arrived, wire.Piece):
                unread.append(arrived)
        return unread

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> wire.Piece:
        try:
            async with asyncio.timeout(self._patience):
                arrived = await self._arrived.get()
        except TimeoutError:
            self.close()
            raise Unavailable("The engine did not answer in time.", retry_after=1.0) from None
        if isinstance(arrived, EngineError):
            raise arrived
        if isinstance(arrived, wire.Generated):
            self.result = arrived
            raise StopAsyncIteration
        return arrived

    def deliver(self, answer: Any) -> None:
        """Called by the connection."""
        if isinstance(answer, wire.Failed):
            self.fail(from_code(answer.code, answer.message, answer.retry_after))
            return
        if isinstance(answer, wire.Generated):
            self._connection.generations.pop(self._id, None)
        self._arrived.put_nowait(answer)

    def fail(self, error: EngineError) -> None:
        """Called by the connection."""
        self._connection.generations.pop(self._id, None)
        self._arrived.put_nowait(error)


class _Calls(abc.ABC):
    """Builds the messages; shared by both clients, which differ only in how `_call` waits."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    @abc.abstractmethod
    def _call(self, message: Any, kind: type[T], timeout: float | None = None) -> Any:
        """Send the message and return the answer of this kind, or an awaitable of it."""

    def classify(
        self, *, tenant: str, model: str, texts: list[str], weight: int = 1, trace: str = "",
        timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """`wire.Classified` for the texts. Raises `NotResident`, `Overloaded`, `TooLarge`, `Unavailable`."""
        return self._call(wire.Classify(next(self._ids), tenant, model, texts, weight, trace), wire.Classified, timeout)

    def embed(
        self, *, tenant: str, texts: list[str], model: str = "", base: str = "", weight: int = 1, dimensions: int = 0,
        trace: str = "", timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """`wire.Embedded` for the texts, from a base or from a tenant's own model. Raises as `classify`, and
        `BadDimensions`."""
        message = wire.Embed(next(self._ids), tenant, texts, model, base, weight, dimensions, trace)
        return self._call(message, wire.Embedded, timeout)

    def rank(self, *, tenant: str, model: str, query: str, texts: list[str], weight: int = 1, trace: str = "") -> Any:
        """`wire.Classified`, one number for each text: how well it answers the query. Raises as `classify`."""
        return self._call(wire.Rank(next(self._ids), tenant, model, query, texts, weight, trace), wire.Classified)

    def tag(self, *, tenant: str, model: str, texts: list[str], weight: int = 1, trace: str = "") -> Any:
        """`wire.Tagged`: entities of each text. Raises as `classify`."""
        return self._call(wire.Tag(next(self._ids), tenant, model, texts, weight, trace), wire.Tagged)

    def ask(
        self, *, tenant: str, model: str, pairs: list[tuple[str, str]], answers: int = 1, weight: int = 1,
        trace: str = "",
    ) -> Any:  # fmt: skip
        """`wire.Asked`: answers to each question in its context. Raises as `classify`."""
        return self._call(wire.Ask(next(self._ids), tenant, model, pairs, answers, weight, trace), wire.Asked)

    def nearest(
        self, *, tenant: str, sha256: str, vector: bytes, k: int, folder: str = "", urls: dict[str, str] | None = None
    ) -> Any:
        """`wire.Neighbours`: rows of the training data nearest to a vector of `embed`. Raises as `load`."""
        message = wire.Nearest(next(self._ids), tenant, folder, sha256, vector, k, urls or {})
        return self._call(message, wire.Neighbours)

    def count(self, *, base: str, texts: list[str]) -> Any:
        """`wire.Counted`: tokens of each text."""
        return self._call(wire.Count(next(self._ids), base, texts), wire.Counted)

    def render(
        self, *, tenant: str, model: str = "", base: str = "", prompts: list[str] | None = None,
        chat: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """`wire.Rendered`: prompts, or one chat, as tokens. Raises `NotResident`, `BadRequest`."""
        return self._call(wire.Render(next(self._ids), tenant, model, base, prompts or [], chat), wire.Rendered)

    def load(
        self, *, tenant: str, model: str, sha256: str, folder: str = "", urls: dict[str, str] | None = None,
        pin: bool | None = None,
    ) -> Any:  # fmt: skip
        """`wire.Described` once the model is in memory. Raises `BadArtefact`, `NoRoom`, or `Unavailable` when the
        files are behind `urls` whose store does not answer."""
        message = wire.Load(next(self._ids), tenant, model, folder, sha256, urls or {}, pin)
        return self._call(message, wire.Described)

    def unload(self, *, tenant: str, model: str) -> Any:
        """`wire.Done`."""
        return self._call(wire.Unload(next(self._ids), tenant, model), wire.Done)

    def describe(self, *, tenant: str, model: str) -> Any:
        """`wire.Described`. Raises `NotResident`."""
        return self._call(wire.Describe(next(self._ids), tenant, model), wire.Described)

    def parity(self, *, tenant: str, model: str) -> Any:
        """`wire.ParityReport`. Raises `NotResident`, or `BadArtefact` if nothing was recorded at training time."""
        return self._call(wire.Parity(next(self._ids), tenant, model), wire.ParityReport)

    def health(self, *, timeout: float | None = 2.0) -> Any:
        """`wire.HealthReport`."""
        return self._call(wire.Health(next(self._ids)), wire.HealthReport, timeout)


class EngineClient(_Calls):
    """Calls over one multiplexed connection; every method of `_Calls` is awaitable here.

    `timeout` (seconds) bounds a call that names none. A cancelled call is cancelled in the engine too.
    """

    def __init__(self, address: str, token: str = "", *, timeout: float = 30.0, connect_timeout: float = 2.0) -> None:
        super().__init__()
        self._address = Address.parse(address)
        self._token = token
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._connection: _Connection | None = None
        self._opening: asyncio.Task[_Connection] | None = None
        self._not_before = 0.0

    async def close(self) -> None:
        """Close the connection; calls in flight raise `Unavailable`."""
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def generate(
        self, *, tenant: str, prompt: list[int], sampling: wire.Sampling, allowed: int, model: str = "", base: str = "",
        choices: int = 1, stream: bool = False, weight: int = 1, trace: str = "", patience: float = 120.0,
    ) -> Generation:  # fmt: skip
        """Begin to write. `patience` (seconds) bounds the wait for each piece."""
        message = wire.Generate(
            next(self._ids), tenant, prompt, sampling, allowed, model, base, choices, stream, weight, trace
        )  # fmt: skip
        frame = wire.pack(message)
        connection = await self._open_connection()
        generation = Generation(connection, message.id, patience)
        connection.send(frame)
        return generation

    async def _open_connection(self) -> _Connection:
        connection = self._connection
        if connection is None or connection.transport is None:
            connection = await self._connect()
        return connection

    async def _call(self, message: Any, kind: type[T], timeout: float | None = None) -> T:
        frame = wire.pack(message)
        connection = await self._open_connection()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        connection.waiting[message.id] = future
        connection.send(frame)
        expiry = loop.call_later(self._timeout if timeout is None else timeout, _expire, future)
        try:
            answer = await future
        except TimeoutError:
            self._give_up(connection, message.id)
            raise Unavailable("The engine did not answer in time.", retry_after=1.0) from None
        except asyncio.CancelledError:
            self._give_up(connection, message.id)
            raise
        finally:
            expiry.cancel()
        if not isinstance(answer, kind):
            raise Internal(f"The engine answered {type(answer).__name__} where {kind.__name__} was due.")
        return answer

    @staticmethod
    def _give_up(connection: _Connection, request_id: int) -> None:
        if connection.waiting.pop(request_id, None) is not None and connection.transport is not None:
            connection.send(wire.pack(wire.Cancel(request_id)))

    async def _connect(self) -> _Connection:
        """The open connection; concurrent callers share one attempt."""
        if self._opening is None:
            if time.monotonic() < self._not_before:
                raise Unavailable(f"The engine at {self._address} cannot be reached.", retry_after=1.0)
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[_Connection]) -> None:
        self._opening = None
        if task.cancelled() or task.exception() is not None:
            self._not_before = time.monotonic() + BACKOFF_S
        else:
            self._connection = task.result()

    async def _open(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                if self._address.path:
                    _, connection = await loop.create_unix_connection(_Connection, self._address.path)
                else:
                    _, connection = await loop.create_connection(_Connection, self._address.host, self._address.port)
                assert connection.transport is not None
                connection.transport.write(wire.pack(wire.Hello(wire.PROTOCOL, self._token)))
                await connection.welcome
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"The engine at {self._address} cannot be reached: {error}", retry_after=1.0) from error
        return connection


class BlockingClient(_Calls):
    """The same calls, one at a time, over a blocking socket. Use as a context manager."""

    def __init__(self, address: str, token: str = "", *, timeout: float = 120.0, connect_timeout: float = 5.0) -> None:
        super().__init__()
        self._address = Address.parse(address)
        self._token = token
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._socket: socket.socket | None = None
        self._frames = wire.Frames()

    def __enter__(self) -> BlockingClient:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; the client may be entered again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> None:
        self._frames = wire.Frames()
        try:
            if self._address.path:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(self._connect_timeout)
                self._socket.connect(self._address.path)
            else:
                where = (self._address.host, self._address.port)
                self._socket = socket.create_connection(where, self._connect_timeout)
            self._socket.settimeout(self._timeout)
            self._socket.sendall(wire.pack(wire.Hello(wire.PROTOCOL, self._token)))
            self._receive(wire.Welcome)
        except OSError as error:
            self.close()
            raise Unavailable(f"The engine at {self._address} cannot be reached: {error}", retry_after=1.0) from error

    def _call(self, message: Any, kind: type[T], timeout: float | None = None) -> T:
        if self._socket is None:
            self._open()
        assert self._socket is not None
        try:
            self._socket.settimeout(self._timeout if timeout is None else timeout)
            self._socket.sendall(wire.pack(message))
            return self._receive(kind)
        except OSError as error:
            self.close()
            raise Unavailable(f"The engine did not answer: {error}", retry_after=1.0) from error

    def _receive(self, kind: type[T]) -> T:
        assert self._socket is not None
        while True:
            data = self._socket.recv(1 << 20)
            if not data:
                self.close()
                raise Unavailable("The engine closed the connection.", retry_after=1.0)
            for body in self._frames.feed(data):
                answer = wire.read_answer(body)
                if isinstance(answer, wire.Failed):
                    raise from_code(answer.code, answer.message, answer.retry_after)
                if not isinstance(answer, kind):
                    raise Internal(f"The engine answered {type(answer).__name__} where {kind.__name__} was due.")
                return answer
