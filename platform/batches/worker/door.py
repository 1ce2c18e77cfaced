"""The way to the gateway: blocking calls on connections that stay open, one for each thread that asks.

A line is asked over HTTP as any client asks, so that there is one implementation of every endpoint, with its limits and
its metering, and a worker needs neither an engine's address nor a usage file (docs/decisions/0038).
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

COST = "x-cost-"
"""How the header begins that says what a call cost; the currency follows."""
SECONDS = 600.0
"""The longest a line may take."""
MOST_BYTES = 64 << 20
"""Of an answer: what 2,048 vectors take in text is a quarter of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 where nothing did."""

    status: int
    body: bytes = b""
    cost: str = ""
    retry_after: float = 0.0


AWAY = Answer(0)


class Door:
    """Calls from several threads. After `abort` every call ends, and none begins."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._aborted = False

    def ask(self, path: str, body: bytes, credential: str) -> Answer:
        """One call. A connection that the gateway had closed meanwhile is opened again, once."""
        for fresh in (False, True):
            try:
                return self._asked(path, body, credential, fresh=fresh)
            except TimeoutError:
                return AWAY
            except (OSError, http.client.HTTPException):
                if fresh or self._aborted:
                    return AWAY
        return AWAY

    def abort(self) -> None:
        """End what is being asked: the gateway sees its client leave, and stops the engine's work."""
        self._aborted = True
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError, AttributeError):
                    connection.sock.shutdown(socket.SHUT_WR)  # an answer that is on its way still comes

    def close(self) -> None:
        """Let go of all connections; nobody asks any more."""
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    def _asked(self, path: str, body: bytes, credential: str, *, fresh: bool) -> Answer:
        connection = self._connection(fresh=fresh)
        headers = {"content-type": "application/json", "authorization": f"Bearer {credential}"}
        try:
            connection.request("POST", self._address.path + path, body, headers)
            response = connection.getresponse()
            found = response.read(MOST_BYTES + 1)
        except BaseException:
            self._drop(connection)
            raise
        if len(found) > MOST_BYTES:
            self._drop(connection)
            return AWAY
        return Answer(
            response.status,
            found,
            _cost(response.headers),
            _seconds(response.headers.get("retry-after")),
        )

    def _connection(self, *, fresh: bool) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if found is not None and not fresh:
            return found
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._address.hostname or "", self._address.port, timeout=SECONDS)
        connection.connect()
        with self._lock:
            if self._aborted:
                connection.close()
                raise OSError("nothing is asked any more")
            self._open.add(connection)
        self._mine.connection = connection
        return connection

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        self._mine.connection = None
        with self._lock:
            self._open.discard(connection)
        connection.close()


def _cost(headers: http.client.HTTPMessage) -> str:
    return next((value for name, value in headers.items() if name.lower().startswith(COST)), "")


def _seconds(text: str | None) -> float:
    return min(float(text), 60.0) if text is not None and text.isdigit() else 0.0
