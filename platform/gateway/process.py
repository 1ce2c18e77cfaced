"""What one gateway process holds: books of keys and routes, the engines, the quota gate, the usage file, the request
log."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from django.conf import settings

from billing.services.entitlements import NEWS as LIMIT_NEWS
from billing.services.gate import open_gate, sink_dsn
from gateway.engines import hear, note
from gateway.keys import KeyBook
from gateway.lines import LineBook
from gateway.news import listen
from gateway.routes import RouteBook
from gateway.shadows import Shadows
from gateway.turns import Turns
from inference import tracing
from inference.fleet import Fleet
from serving import texts
from serving.requests import RequestLog
from serving.routes import NEWS as ROUTE_NEWS
from tenants.services.organisations import KEY_NEWS

log = logging.getLogger(__name__)

RENDERED = 64 << 10
"""Bytes of one organisation's prompts that the engine turns into tokens at the same time: that is before any quota. A
larger one goes alone."""


class Process:
    """Started on the event loop that serves; one per process."""

    def __init__(self) -> None:
        tracing.start("tunesmith-gateway", settings.OTEL_EXPORTER_OTLP_ENDPOINT)
        self.keys = KeyBook()
        self.lines = LineBook()
        self.routes = RouteBook()
        self.fleet = Fleet(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN, on_event=note)
        self.renders = Turns(RENDERED)
        self._opened = open_gate()
        self.gate = self._opened.gate
        self.log = RequestLog(sink_dsn())
        self.shadows = Shadows(self)
        self.texts = RequestLog(sink_dsn(), texts.INSERT, most=texts.MOST_WAITING)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Listen for news, keep the books fresh. What an earlier process did not ship is being shipped already."""
        self.log.start()
        self.texts.start()
        loop = asyncio.get_running_loop()
        channels = {
            KEY_NEWS: self.keys.forget,
            ROUTE_NEWS: self.routes.forget,
            LIMIT_NEWS: self.keys.forget_limits,
        }
        for work in (
            listen(settings.REDIS_URL, channels, self._after_a_gap),
            self.keys.refresh_for_ever(),
            self.routes.refresh_for_ever(),
            self.shadows.count_for_ever(),
            hear(self.fleet, settings.REDIS_URL, settings.ENGINE_TOKEN),
            self.fleet.watch(),
        ):
            self._tasks.append(loop.create_task(work))

    async def stop(self) -> None:
        """Stop listening, ship the last events."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.shadows.close()
        await self.fleet.close()
        await self._opened.close()
        await asyncio.to_thread(self.log.stop)
        await asyncio.to_thread(self.texts.stop)

    def _after_a_gap(self) -> None:
        self.keys.forget_all()
        self.routes.forget_all()
