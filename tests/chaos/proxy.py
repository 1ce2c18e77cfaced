"""Stands between a client and a server and passes everything on, until it is told to do harm.

    proxy = Proxy("/run/harm/redis.sock", "/run/redis.sock")     # a path, or (host, port)
    proxy.fault = Fault(latency=0.2)                             # at once, for open connections as well
    proxy.cut()                                                  # end every connection that is open
    proxy.fault = NONE

It runs in a thread with a loop of its own. A lost COMMIT is one that PostgreSQL has done and the client never hears of.
"""

import asyncio
import contextlib
import random
import re
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Address = str | tuple[str, int]

CHUNK = 1 << 16
COMMITTED = re.compile(rb"C\x00\x00\x00\x0bCOMMIT\x00")
"""The server's CommandComplete of a COMMIT."""
ASKED = re.compile(rb"Q\x00\x00\x00.COMMIT\x00", re.DOTALL)
"""A client's simple query COMMIT."""
PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to what passes. Everything off is no fault."""

    latency: float = 0.0
    """Seconds that each piece waits, either way."""
    trickle: int = 0
    """Bytes that pass every hundredth of a second, either way."""
    cut_after: int = 0
    """Bytes of answers after which a connection ends."""
    refuse: bool = False
    """A new connection ends at once."""
    hang: bool = False
    """Connections are taken and nothing passes; what was held passes when this is over."""
    lose_commits: float = 0.0
    """The share of COMMITs whose answer is thrown away, and the connection with it."""


NONE = Fault()


class Link:
    """One client's connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.ends = (client, server)
        self.answered = 0
        self.committing = False

    def end(self) -> None:
        """Both sides see a connection that broke."""
        for writer in self.ends:
            with contextlib.suppress(Exception):
                writer.transport.abort()


class Proxy:
    """One listener in front of one server."""

    def __init__(self, listen: Address, server: Address, *, seed: int = 0) -> None:
        self.listen, self.server, self.fault = listen, server, NONE
        self.commits_lost = 0
        self._random = random.Random(seed)
        self._links: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._listener: asyncio.Server = self._do(self._open())

    @property
    def port(self) -> int:
        """Where it listens, when it was given port 0."""
        return int(self._listener.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """End every connection that is open."""
        self._do(self._cut())

    def close(self) -> None:
        """Listen no more."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> asyncio.Server:
        if isinstance(self.listen, str):
            Path(self.listen).parent.mkdir(parents=True, exist_ok=True)
            Path(self.listen).unlink(missing_ok=True)
            return await asyncio.start_unix_server(self._serve, self.listen)
        return await asyncio.start_server(self._serve, *self.listen)

    async def _cut(self) -> None:
        for link in list(self._links):
            link.end()

    async def _close(self) -> None:
        self._listener.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault.refuse:
            writer.transport.abort()
            return
        try:
            if isinstance(self.server, str):
                theirs, ours = await asyncio.open_unix_connection(self.server)
            else:
                theirs, ours = await asyncio.open_connection(*self.server)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, ours)
        self._links.add(link)
        ways = [asyncio.ensure_future(self._pass(reader, ours, link, answers=False))]
        ways.append(asyncio.ensure_future(self._pass(theirs, writer, link, answers=True)))
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in link.ends:
                end.close()
            self._links.discard(link)

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, link: Link, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK):
                while self.fault.hang:
                    await asyncio.sleep(PAUSE)
                await asyncio.sleep(self.fault.latency)
                link.committing |= not answers and ASKED.search(chunk) is not None
                if answers and (self._lost(chunk, link) or self._over(chunk, target, link)):
                    link.end()
                    return
                await self._write(chunk, target)

    async def _write(self, chunk: bytes, target: asyncio.StreamWriter) -> None:
        while (piece := self.fault.trickle) and chunk:
            target.write(chunk[:piece])
            await target.drain()
            chunk = chunk[piece:]
            await asyncio.sleep(0.01)
        target.write(chunk)
        await target.drain()

    def _lost(self, chunk: bytes, link: Link) -> bool:
        if not (link.committing and COMMITTED.search(chunk)):
            return False
        link.committing = False
        lost = self._random.random() < self.fault.lose_commits
        self.commits_lost += lost
        return lost

    def _over(self, chunk: bytes, target: asyncio.StreamWriter, link: Link) -> bool:
        most = self.fault.cut_after
        link.answered += len(chunk)
        return bool(most) and link.answered > most
