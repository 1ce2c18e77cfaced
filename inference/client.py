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
from typing import Any, TypeVar

from inference import wire
from inference.address import Address
from inference.connection import Connection, Generation, broken_off, expire
from inference.errors import Draining, Internal, Late, Unavailable, Unreachable, from_code

__all__ = ["BlockingClient", "EngineClient", "Generation"]

T = TypeVar("T", bound=wire.Message)

BACKOFF_S = 0.25  # after a failed attempt to connect, calls fail at once for this long instead of piling up


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

    def leave(self) -> Any:
        """`wire.Done`: the engine takes nothing new, finishes what it has, and its process ends."""
        return self._call(wire.Leave(next(self._ids)), wire.Done)

    def join(self, *, pool: str) -> Any:
        """`wire.Done`: the engine serves this pool from now on, and says so."""
        return self._call(wire.Join(next(self._ids), pool), wire.Done)

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
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._not_before = 0.0

    @property
    def in_flight(self) -> int:
        """Calls and texts in the making."""
        connection = self._connection
        return 0 if connection is None else len(connection.waiting) + len(connection.generations)

    @property
    def heard(self) -> int:
        """Grows with everything that arrives on the connection of the moment."""
        return 0 if self._connection is None else self._connection.heard

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None and self._connection.transport is not None

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

    async def _open_connection(self) -> Connection:
        connection = self._connection
        if connection is None or connection.transport is None:
            connection = await self._connect()
        if connection.leaving:
            raise Draining(f"The engine at {self._address} is about to leave.", retry_after=1.0)
        return connection

    async def _call(self, message: Any, kind: type[T], timeout: float | None = None) -> T:
        frame = wire.pack(message)
        connection = await self._open_connection()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        connection.waiting[message.id] = future
        connection.send(frame)
        expiry = loop.call_later(self._timeout if timeout is None else timeout, expire, future)
        try:
            answer = await future
        except TimeoutError:
            self._give_up(connection, message.id)
            raise Late("The engine did not answer in time.", retry_after=1.0) from None
        except asyncio.CancelledError:
            self._give_up(connection, message.id)
            raise
        finally:
            expiry.cancel()
        if not isinstance(answer, kind):
            raise Internal(f"The engine answered {type(answer).__name__} where {kind.__name__} was due.")
        return answer

    @staticmethod
    def _give_up(connection: Connection, request_id: int) -> None:
        if connection.waiting.pop(request_id, None) is not None and connection.transport is not None:
            connection.send(wire.pack(wire.Cancel(request_id)))

    async def _connect(self) -> Connection:
        """The open connection; concurrent callers share one attempt."""
        if self._opening is None:
            if time.monotonic() < self._not_before:
                raise Unreachable(f"The engine at {self._address} cannot be reached.", retry_after=1.0)
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        self._opening = None
        if task.cancelled() or task.exception() is not None:
            self._not_before = time.monotonic() + BACKOFF_S
        else:
            self._connection = task.result()

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                if self._address.path:
                    _, connection = await loop.create_unix_connection(Connection, self._address.path)
                else:
                    _, connection = await loop.create_connection(Connection, self._address.host, self._address.port)
                assert connection.transport is not None
                connection.transport.write(wire.pack(wire.Hello(wire.PROTOCOL, self._token)))
                await connection.welcome
        except (OSError, TimeoutError, Unavailable) as error:
            raise Unreachable(f"The engine at {self._address} cannot be reached: {error}", retry_after=1.0) from error
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
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; the client may be entered again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def open(self) -> None:
        """Connect; a call does so by itself. Raises `Unreachable`, `Draining` or `Unauthorised`."""
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
            raise Unreachable(f"The engine at {self._address} cannot be reached: {error}", retry_after=1.0) from error

    def _call(self, message: Any, kind: type[T], timeout: float | None = None) -> T:
        if self._socket is None:
            self.open()
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
                if isinstance(answer, wire.Leaving):
                    continue  # what was asked before is still answered
                if isinstance(answer, wire.Failed) and not answer.id and kind is not wire.Welcome:
                    self.close()
                    raise broken_off(answer)
                if isinstance(answer, wire.Failed):
                    raise from_code(answer.code, answer.message, answer.retry_after)
                if not isinstance(answer, kind):
                    raise Internal(f"The engine answered {type(answer).__name__} where {kind.__name__} was due.")
                return answer
