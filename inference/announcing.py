"""The engine's own voice: a signed heartbeat in Redis every second, from the loop that serves, so that an engine that
hangs falls silent.

Redis away is no reason to stop serving: who knows the engine goes on using it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis.asyncio
from redis.exceptions import RedisError

from inference import wire
from inference.address import Address
from inference.announcement import EVERY_S, LASTS_S, MOST_RESIDENTS, NAMES, Heartbeat, digest, key_of, signed

if TYPE_CHECKING:
    from inference.server import Server

log = logging.getLogger(__name__)

WILDCARDS = ("0.0.0.0", "::")
TIMEOUT_S = 2.0


class Announcer:
    """Speaks for one engine from `start` until `leave`."""

    def __init__(self, server: Server, url: str) -> None:
        self._server, self._engine = server, server.engine
        self._url = url
        self.name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._gone = False
        self._bases: list[str] = []
        self._bases_since = 0.0
        self._redis = redis.asyncio.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)

    def start(self) -> None:
        """Say it from now on."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        address, away = "", False
        while not self._gone:
            self._hurry.clear()
            try:
                address = address or await asyncio.to_thread(advertised, self._engine.settings.advertise, self._url)
                await self._say(address)
                if away:
                    log.info("announced again")
                away = False
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("cannot announce this engine for now: %s", error)
                away = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._hurry.wait()

    def hurry(self) -> None:
        """Say it now: something changed that callers should hear of."""
        self._hurry.set()

    async def leave(self) -> None:
        """Take the heartbeat away: this engine is gone for good."""
        self._gone = True
        self._hurry.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2 * TIMEOUT_S)
        with contextlib.suppress(RedisError, OSError):
            async with self._redis.pipeline(transaction=False) as line:
                line.delete(key_of(self.name))
                line.srem(NAMES, self.name)
                await line.execute()
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _say(self, address: str) -> None:
        words = signed(self._beat(address), self._engine.settings.token)
        async with self._redis.pipeline(transaction=False) as line:
            line.sadd(NAMES, self.name)
            line.set(key_of(self.name), words, ex=LASTS_S)
            await line.execute()

    def _beat(self, address: str) -> Heartbeat:
        server, report = self._server, self._engine.health(wire.Health(0))
        moment = time.monotonic()
        if report.ready_bases != self._bases:
            self._bases, self._bases_since = list(report.ready_bases), moment
        latest = [one for one in reversed(report.residents) if not one.model.endswith(wire.MERGED)]
        return Heartbeat(
            name=self.name,
            address=address,
            at=time.time(),
            pool=server.pool,
            draining=server.draining,
            bases=report.ready_bases,
            backend=report.backend,
            precision=report.precision,
            residents=[digest(one.tenant, one.model) for one in latest[:MOST_RESIDENTS]],
            models=len(latest),
            load=server.pending,
            expected_wait_s=round(report.expected_wait_s, 3),
            free_bytes=report.resident_budget - report.resident_bytes,
            requests=server.requests,
            idle_s=round(moment - server.last_request, 1),
            uptime_s=round(report.uptime_s, 1),
            ready_s=round(moment - max(server.pool_since, self._bases_since), 1),
            p50_ms=round(report.latency_p50_ms, 2),
            p95_ms=round(report.latency_p95_ms, 2),
        )


def advertised(address: Address, url: str) -> str:
    """The address that callers on other hosts use. An engine that listens everywhere gives the one by which this host
    reaches Redis. Raises `OSError` when that cannot be known."""
    if address.path or address.host not in WILDCARDS:
        return str(address)
    where = urlsplit(url)
    if not where.hostname:
        raise OSError("this engine listens everywhere and Redis is a local socket: give --advertise HOST:PORT")
    with socket.create_connection((where.hostname, where.port or 6379), TIMEOUT_S) as probe:
        return str(Address(host=probe.getsockname()[0], port=address.port))
