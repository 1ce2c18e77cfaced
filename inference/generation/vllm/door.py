"""HTTP to one vLLM server, and its refusals in our words."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp

from inference.errors import BadRequest, EngineError, Internal, Overloaded, Unavailable

log = logging.getLogger(__name__)

COMPLETIONS = "/v1/completions"
CONNECT_SECONDS = 5.0
SILENT_SECONDS = 300.0  # between two tokens, or before the first of a long prompt
JSON = {"content-type": "application/json"}
MAX_LINE = 16 * 1024 * 1024


class UnknownName(EngineError):
    """The server knows no adapter of this name: it was started again, or somebody else took it away."""


class Door:
    """`address` is http://host:port, or unix:/path/to/socket. Used on the event loop alone."""

    def __init__(self, address: str, key: str) -> None:
        path = address.removeprefix("unix:")
        self._origin = "http://vllm" if path != address else address.rstrip("/")
        self._path = path if path != address else ""
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()

    async def answers(self) -> bool:
        """Whether the server is there and well."""
        try:
            async with self._open().get(self._origin + "/health", timeout=aiohttp.ClientTimeout(5)) as answer:
                return answer.status == 200
        except (OSError, aiohttp.ClientError, TimeoutError):
            return False

    async def text(self, path: str) -> str:
        """What a page of the server says."""
        async with self._open().get(self._origin + path) as answer:
            return await answer.text()

    async def ask(self, path: str, body: dict[str, Any]) -> bytes:
        """One question, one answer. Raises of the `EngineError`s."""
        async with self._post(path, json.dumps(body).encode()) as answer:
            return await answer.read()

    async def stream(self, body: bytes) -> AsyncGenerator[dict[str, Any]]:
        """The events of a completion that is asked for in JSON. Closing this closes the connection, which makes the
        server stop writing."""
        async with self._post(COMPLETIONS, body) as answer:
            async for line in _lines(answer):
                if line == b"[DONE]":
                    return
                try:
                    event: dict[str, Any] = json.loads(line)
                except ValueError as error:
                    raise Unavailable("The server that computes this base sent something unreadable.") from error
                if "error" in event:
                    raise _refusal(500, line)
                yield event
        raise Unavailable("The server that computes this base broke off.", retry_after=2.0)

    @contextlib.asynccontextmanager
    async def _post(self, path: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._open().post(self._origin + path, data=body, headers=JSON) as answer:
                if answer.status != 200:
                    raise _refusal(answer.status, await answer.read())
                yield answer
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("vLLM at %s: %s", self._path or self._origin, error or type(error).__name__)
            raise Unavailable("The server that computes this base cannot be reached.", retry_after=5.0) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(self._path, limit=0) if self._path else aiohttp.TCPConnector(limit=0)
            )
            timeout = aiohttp.ClientTimeout(None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers)
        return self._session


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of server-sent events."""
    held = b""
    async for chunk in answer.content.iter_any():
        *whole, held = (held + chunk).split(b"\n")
        for line in whole:
            if line.startswith(b"data:"):
                yield line[5:].strip()
        if len(held) > MAX_LINE:
            raise Unavailable("The server that computes this base sent something unreadable.")


def _refusal(status: int, body: bytes) -> EngineError:
    """A refusal as one of ours; what is the server's own affair goes to the log alone."""
    said = body.decode(errors="replace")[:2000]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(body)["error"]
        said, status = str(found["message"]), int(found.get("code") or status)
    if status == 400:
        return BadRequest(said.splitlines()[0][:300] if said else "The request was refused.")
    if status == 404:
        return UnknownName(said[:300])
    log.error("vLLM answered %d: %s", status, said)
    if status == 429:
        return Overloaded("The engine is busy; try again shortly.", retry_after=2.0)
    if status in (401, 403):
        return Internal("The engine's key for the server that computes this base is wrong.")
    return Unavailable("The server that computes this base failed; try again shortly.", retry_after=5.0)
