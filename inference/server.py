"""The door: accepts connections, and closes them when the engine leaves; `caller` has what is said over one.

Who leaves tells its callers, refuses what is new (`draining`: another engine may take it), finishes what it has, and
waits for the callers to close: then no question can be on its way to somebody who is gone.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from inference.caller import Connection
from inference.engine import Engine

GOODBYE_SECONDS = 2.0
"""How long callers with no call open get to close, of an engine that leaves."""


class Server:
    """Listens for one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.connections: set[Connection] = set()
        self.draining = False
        self.leaving = asyncio.Event()
        """Set by who wants this engine to leave."""
        self.pool = engine.settings.pool
        self.pool_since = time.monotonic()
        self.on_change: Callable[[], None] = lambda: None
        self.requests = 0
        self.last_request = time.monotonic()
        self._listener: asyncio.Server | None = None
        engine.on_delivered = self._flush

    async def start(self) -> None:
        """Listen. Raises `OSError` if the address is taken."""
        loop, address = asyncio.get_running_loop(), self.engine.settings.listen
        if address.path:
            _remove_stale_socket(Path(address.path))
            self._listener = await loop.create_unix_server(lambda: Connection(self), address.path, backlog=256)
            os.chmod(address.path, 0o600)
        else:
            self._listener = await loop.create_server(lambda: Connection(self), address.host, address.port, backlog=256)

    @property
    def pending(self) -> int:
        """Requests that were taken and not answered yet."""
        return sum(connection.pending for connection in self.connections)

    def leave(self) -> None:
        """Take nothing new from now on, and say so. Doing it again changes nothing."""
        if self.draining:
            return
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in self.connections:
            connection.leave()

    async def stop(self) -> None:
        """Finish what was taken, within the time to drain, and close."""
        self.leave()
        deadline = time.monotonic() + self.engine.settings.drain_s
        while self.pending and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        goodbye = min(deadline, time.monotonic() + GOODBYE_SECONDS)
        while self.connections and time.monotonic() < goodbye:
            await asyncio.sleep(0.02)
        await self.engine.stop(deadline)
        for connection in list(self.connections):
            connection.close()

    def _flush(self) -> None:
        """After a batch: write the answers that gathered on each connection in one go."""
        for connection in self.connections:
            connection.flush()


def _remove_stale_socket(path: Path) -> None:
    """A killed engine leaves its socket behind; nothing else may lie there."""
    if path.is_socket():
        path.unlink()
    elif path.exists():
        raise OSError(f"{path} exists and is not a socket.")
