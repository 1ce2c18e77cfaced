"""An engine as a service: starts the door, the computing, the figures and the heartbeat, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal

from inference.announcing import Announcer
from inference.engine import Engine
from inference.server import Server
from inference.settings import Settings
from inference.watching import open_metrics

log = logging.getLogger(__name__)


class Service:
    """An engine behind its door, from `start` to `stop`, in whatever process and loop it runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.server = Server(Engine(settings))
        self._announcer = Announcer(self.server, settings.announce) if settings.announce else None

    async def start(self) -> None:
        """Listen, compute, and say so. Raises `OSError` if the address is taken."""
        engine = self.server.engine
        await self.server.start()
        engine.start()
        if self.settings.metrics is not None:
            open_metrics(engine, self.settings.metrics)
        if self._announcer:
            self._announcer.start()
            self.server.on_change = self._announcer.hurry
        log.info(
            "ready on %s with %s %s and %s", self.settings.listen, engine.backend.name, engine.backend.precision,
            ", ".join(sorted(engine.bases)),
        )  # fmt: skip

    async def stop(self) -> None:
        """Take nothing new, finish what was taken, and be gone."""
        log.info("leaving: %d requests are still to be answered", self.server.pending)
        self.server.leave()
        self.server.on_change()
        await self.server.stop()
        if self._announcer:
            await self._announcer.leave()


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, or until somebody tells the engine to leave."""
    service = Service(settings)
    await service.start()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # signals of a non-main thread belong to its owner
            loop.add_signal_handler(number, service.server.leaving.set)
    await service.server.leaving.wait()
    await service.stop()
