"""The supervisor of one machine: starts and stops the engines that dedicated deployments want, as child processes.

Another place to run has another supervisor: it reads the same wishes (`manage.py engines --desired`, or
`serving.pools.desired`) and knows the engines by their heartbeats as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import subprocess
import time
from collections import Counter
from dataclasses import dataclass

from django.conf import settings
from redis.exceptions import RedisError

from config.processes import engine_command, engine_environment
from config.runner import die_with_parent
from inference.announcement import SHARED
from inference.client import BlockingClient
from inference.errors import EngineError
from serving import engines, pools

logger = logging.getLogger(__name__)

STOP_SECONDS = 20.0
READY_SECONDS = 180.0
"""An engine that was not heard of for so long after its start is taken for one that never will be."""


@dataclass(slots=True)
class Child:
    """An engine that was started here; `name` once it announced itself."""

    process: subprocess.Popen[bytes]
    pool: str
    since: float
    name: str = ""


class LocalEngines:
    """`pools.Supervisor` with processes of this machine, by their address."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}

    def start(self, pool: str) -> None:
        """One more engine of this pool."""
        number = secrets.token_hex(4)
        address = f"unix:{engine_socket(number)}"
        process = subprocess.Popen(
            engine_command(address, pool=pool, depot="depot-own"),
            cwd=settings.ROOT,
            env=os.environ | engine_environment(),
            preexec_fn=die_with_parent,
        )
        self.children[address] = Child(process, pool, time.monotonic())
        logger.info("an engine is started for %s", pool)

    def stop(self, name: str) -> None:
        """Let this one finish what it has and leave."""
        for child in self.children.values():
            if child.name == name:
                child.process.terminate()
                logger.info("the engine %s of %s is told to leave", name, child.pool)

    def look(self) -> None:
        """Bring what runs to what is wanted, once."""
        for address, child in list(self.children.items()):
            if child.process.poll() is not None:
                del self.children[address]
            elif not child.name and time.monotonic() - child.since > READY_SECONDS:
                child.process.kill()
        try:
            beats = engines.announced()
        except RedisError as error:
            logger.warning("engines stay as they are, for they are not heard: %s", error)
            return
        there = []
        for beat in beats:
            own = self.children.get(beat.address)
            if own is not None:
                own.name, own.pool = beat.name, beat.pool
                if not beat.draining:
                    there.append((beat.name, beat.address, beat.pool))
        coming = Counter(child.pool for child in self.children.values() if not child.name)
        found = pools.changes(pools.desired(), there, coming)
        for address, pool in found.join:
            with contextlib.suppress(EngineError), BlockingClient(address, settings.ENGINE_TOKEN) as client:
                client.join(pool=pool)
                self.children[address].pool = pool
        for name in found.stop:
            self.stop(name)
        for pool in found.start:
            if pool != SHARED:
                self.start(pool)

    def close(self) -> None:
        """Let all leave, and wait for it."""
        for child in self.children.values():
            child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self.children.values():
            try:
                child.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.process.kill()


def engine_socket(number: str) -> str:
    """Beside the configured engine's socket, where paths are short enough; else in the home folder."""
    address = settings.ENGINE_ADDRESS
    if address.startswith("unix://"):
        return f"{address.removeprefix('unix://')}.{number}"
    return str(settings.HOME / f"engine.{number}")
