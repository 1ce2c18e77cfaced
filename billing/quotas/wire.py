"""Redis lines for the quota scripts: one asyncio, one blocking, same framing, never a silent retry.

Why not redis-py here: a reserve is one prepared byte string and one answer. Through redis-py's async client the same
call costs several times the processor time, and its retries would send a grant twice. hiredis parses.
Calls on one line are pipelined, and Redis answers them in order.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

from billing.quotas.errors import QuotaProtocolError, QuotaUnavailable
from billing.quotas.scripts import NAMES, run_id_of, script_text

POST_SECONDS = 0.002
"""How long a command that nobody waits for may wait for company."""


def pack(*parts: bytes | str | int) -> bytes:
    """One command in the Redis protocol."""
    out = [b"*%d\r\n" % len(parts)]
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(out)


def bulk(part: bytes) -> bytes:
    """One argument of a command whose other parts are already packed."""
    return b"$%d\r\n%b\r\n" % (len(part), part)


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where the server is: `redis://[user:password@]host:port/db`, `rediss://…`, `unix:///path?db=n`."""

    host: str | None
    port: int
    path: str | None
    db: int
    username: str | None
    password: str | None
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if parts.scheme in ("unix", "redis+socket"):
            db = query.get("db", query.get("virtual_host", ["0"]))[0]
            return cls(None, 0, unquote(parts.path), int(db), user, password, False)
        if parts.scheme not in ("redis", "rediss"):
            raise ValueError(f"not a Redis address: scheme {parts.scheme!r}")
        db = parts.path.strip("/") or query.get("db", ["0"])[0]
        return cls(
            parts.hostname or "127.0.0.1", parts.port or 6379, None, int(db), user, password, parts.scheme == "rediss"
        )

    def greeting(self) -> list[bytes]:
        """Commands a fresh connection sends first."""
        first: list[bytes] = []
        if self.password is not None:
            login = (self.username, self.password) if self.username else (self.password,)
            first.append(pack("AUTH", *login))
        if self.db:
            first.append(pack("SELECT", self.db))
        return first


def _digests(answers: list[Any]) -> dict[str, bytes]:
    return {name: bulk(bytes(answer)) for name, answer in zip(NAMES, answers, strict=True)}


class SyncLine:
    """A blocking line. One thread at a time; after any failure it is closed and the next call opens a new one."""

    def __init__(self, url: str, timeout: float = 2.0) -> None:
        self._address = Address.parse(url)
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()
        self._digests: dict[str, bytes] = {}

    def run(self, script: str, head: bytes, tail: bytes, count: int) -> Any:
        """Run a script: `head` is the packed keys and fixed arguments, `tail` the rest, `count` their number."""
        if self._socket is None:
            self._open()
        answer = self._ask(b"*%d\r\n$7\r\nEVALSHA\r\n" % (count + 2) + self._digests[script] + head + tail)
        if isinstance(answer, hiredis.ReplyError) and str(answer).startswith("NOSCRIPT"):
            self._load()
            answer = self._ask(b"*%d\r\n$7\r\nEVALSHA\r\n" % (count + 2) + self._digests[script] + head + tail)
        if isinstance(answer, hiredis.ReplyError):
            raise QuotaProtocolError(f"{script}: {answer}")
        return answer

    def command(self, *parts: bytes | str | int) -> Any:
        """One plain command."""
        if self._socket is None:
            self._open()
        answer = self._ask(pack(*parts))
        if isinstance(answer, hiredis.ReplyError):
            raise QuotaProtocolError(str(answer))
        return answer

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        address = self._address
        if address.path is None:
            raw = socket.create_connection((address.host, address.port), self._timeout)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return ssl.create_default_context().wrap_socket(raw, server_hostname=address.host) if address.tls else raw
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.settimeout(self._timeout)
        try:
            raw.connect(address.path)
        except OSError:
            raw.close()
            raise
        return raw

    def _open(self) -> None:
        try:
            self._socket = self._connect()
        except OSError as error:
            raise QuotaUnavailable(f"cannot reach the quota server: {error}") from error
        self._reader = hiredis.Reader()
        for command in self._address.greeting():
            answer = self._ask(command)
            if isinstance(answer, hiredis.ReplyError):
                self.close()
                raise QuotaUnavailable(f"the quota server refused us: {answer}")
        self._load()

    def _load(self) -> None:
        info = self._ask(pack("INFO", "server"))
        if isinstance(info, hiredis.ReplyError):
            self.close()
            raise QuotaUnavailable(f"the quota server is not ready: {info}")
        run_id = run_id_of(info)
        answers = [self._ask(pack("SCRIPT", "LOAD", script_text(name, run_id))) for name in NAMES]
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError):
                self.close()
                raise QuotaUnavailable(f"the quota server is not ready: {answer}")
        self._digests = _digests(answers)

    def _ask(self, payload: bytes) -> Any:
        line = self._socket
        if line is None:
            raise QuotaUnavailable("the line to the quota server is closed")
        try:
            line.sendall(payload)
            while True:
                answer = self._reader.gets()
                if answer is not False:
                    return answer
                data = line.recv(65536)
                if not data:
                    raise ConnectionResetError("closed by the quota server")
                self._reader.feed(data)
        except OSError as error:
            self.close()
            raise QuotaUnavailable(f"no answer from the quota server: {error}") from error


class AsyncLine(asyncio.Protocol):
    """An asyncio line shared by all calls of a process: pipelined, writes of one loop turn leave together, and what
    nobody waits for rides with the next call or leaves after `POST_SECONDS`.

    Deadlines are watched by one timer for the whole line, not one per call: answers come in order, so a late oldest
    call means the line is stuck, and all calls on it fail with `QuotaUnavailable`.
    """

    def __init__(self, url: str, timeout: float = 0.5, on_lost: Callable[[], None] | None = None) -> None:
        self._address = Address.parse(url)
        self._timeout = timeout
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._digests: dict[str, bytes] = {}
        self._waiting: collections.deque[tuple[asyncio.Future[Any], float]] = collections.deque()
        self._outgoing: list[bytes] = []
        self._flush_soon = False
        self._flush_later: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.ready = False

    # -- calls -----------------------------------------------------------------------------------------------------

    async def run(self, script: str, head: bytes, tail: bytes, count: int) -> Any:
        """Run a script; see `SyncLine.run`."""
        if not self.ready:
            await self.open()
        answer = await self.send(b"*%d\r\n$7\r\nEVALSHA\r\n" % (count + 2) + self._digests[script] + head + tail)
        if isinstance(answer, hiredis.ReplyError):
            if not str(answer).startswith("NOSCRIPT"):
                raise QuotaProtocolError(f"{script}: {answer}")
            await self._load()
            answer = await self.send(b"*%d\r\n$7\r\nEVALSHA\r\n" % (count + 2) + self._digests[script] + head + tail)
            if isinstance(answer, hiredis.ReplyError):
                raise QuotaProtocolError(f"{script}: {answer}")
        return answer

    def post(self, script: str, head: bytes, tail: bytes, count: int) -> asyncio.Future[Any] | None:
        """Run a script without waiting; None when the line is down. The answer's future needs no awaiting."""
        if not self.ready:
            return None
        payload = b"*%d\r\n$7\r\nEVALSHA\r\n" % (count + 2) + self._digests[script] + head + tail
        return self._queue(payload, POST_SECONDS)

    def send(self, payload: bytes) -> asyncio.Future[Any]:
        """Queue raw bytes of one command; its answer is the future's result, an error answer included."""
        return self._queue(payload, 0.0)

    def _queue(self, payload: bytes, patience: float) -> asyncio.Future[Any]:
        loop = self._loop
        if self._transport is None or loop is None:
            raise QuotaUnavailable("the line to the quota server is down")
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((future, loop.time() + patience))
        self._outgoing.append(payload)
        if not patience:
            if not self._flush_soon:
                self._flush_soon = True
                loop.call_soon(self._flush)
        elif self._flush_later is None:
            self._flush_later = loop.call_later(patience, self._flush_posted)
        return future

    def _flush_posted(self) -> None:
        self._flush_later = None
        self._flush()

    def _flush(self) -> None:
        self._flush_soon = False
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and outgoing:
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))

    # -- life ------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and load the scripts; several callers share one attempt, and a failed one is not repeated at once."""
        if self.ready:
            return
        if self._opening is None:
            if time.monotonic() < self._retry_at:
                raise QuotaUnavailable("the quota server was unreachable a moment ago")
            self._opening = asyncio.ensure_future(self._open())
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(max(self._timeout, 1.0)):
                await self._connect()
                for command in self._address.greeting():
                    answer = await self.send(command)
                    if isinstance(answer, hiredis.ReplyError):
                        raise QuotaUnavailable(f"the quota server refused us: {answer}")
                await self._load()
            self.ready = True
        except (OSError, TimeoutError) as error:
            self._drop()
            self._retry_at = time.monotonic() + 0.2
            raise QuotaUnavailable(f"cannot reach the quota server: {error}") from error
        except QuotaUnavailable:
            self._drop()
            self._retry_at = time.monotonic() + 0.2
            raise
        finally:
            self._opening = None

    async def _connect(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        address = self._address
        if address.path is not None:
            await loop.create_unix_connection(lambda: self, address.path)
        else:
            context = ssl.create_default_context() if address.tls else None
            await loop.create_connection(lambda: self, address.host or "127.0.0.1", address.port, ssl=context)
        self._schedule_watch()

    async def _load(self) -> None:
        info = await self.send(pack("INFO", "server"))
        if isinstance(info, hiredis.ReplyError):
            raise QuotaUnavailable(f"the quota server is not ready: {info}")
        run_id = run_id_of(info)
        answers = [await self.send(pack("SCRIPT", "LOAD", script_text(name, run_id))) for name in NAMES]
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError):
                raise QuotaUnavailable(f"the quota server is not ready: {answer}")
        self._digests = _digests(answers)

    def close(self) -> None:
        """Write what is queued and close the line; calls still waiting fail."""
        self._flush()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()  # unlike an abort, this lets the last commands leave
        self._drop()

    def _schedule_watch(self) -> None:
        if self._loop is not None and self._transport is not None:
            self._watch = self._loop.call_later(self._timeout / 4, self._check)

    def _check(self) -> None:
        if self._loop is None or self._transport is None:
            return
        if self._waiting and self._loop.time() - self._waiting[0][1] > self._timeout:
            self._drop()
            return
        self._schedule_watch()

    def _drop(self) -> None:
        was_ready, self.ready = self.ready, False
        transport, self._transport = self._transport, None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._flush_later is not None:
            self._flush_later.cancel()
            self._flush_later = None
        if transport is not None:
            transport.abort()
        waiting, self._waiting = self._waiting, collections.deque()
        self._outgoing.clear()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(QuotaUnavailable("no answer from the quota server"))
                future.exception()  # a posted call has nobody who awaits it
        if was_ready and self._on_lost is not None:
            self._on_lost()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # asyncio's promise; uvloop's are of another class
        self._reader = hiredis.Reader()
        line = transport.get_extra_info("socket")
        if line is not None and line.family != socket.AF_UNIX:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        while True:
            answer = reader.gets()
            if answer is False:
                return
            if not waiting:
                self._drop()
                return
            future, _ = waiting.popleft()
            if not future.done():
                future.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._drop()
