"""The supervisor of one machine: starts and stops the engines that dedicated deployments want, as child processes.

Another place to run has another supervisor: it reads the same wishes (`manage.py engines --desired`, or
`serving.pools.desired`) and knows the engines by their heartbeats as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from redis.exceptions import RedisError

from config.processes import engine_command, engine_environment
from config.runner import die_with_parent
from inference.address import Address
from inference.announcement import SHARED, Heartbeat
from inference.announcing import advertised
from inference.client import BlockingClient
from inference.errors import EngineError
from serving import engines, pools

logger = logging.getLogger(__name__)

EVERYWHERE = "0.0.0.0"
STOP_SECONDS = 20.0
DEPOTS = "depots-own"
"""In the home folder: a depot for each engine that is started here."""
READY_SECONDS = 180.0
"""An engine that was not heard of for so long after its start is taken for one that never will be."""
HUNG_SECONDS = 60.0
"""An engine that has fallen silent for so long, while others could be heard, is killed: it hangs."""


@dataclass(slots=True)
class Child:
    """An engine that was started here; `name` once it announced itself."""

    process: subprocess.Popen[bytes]
    pool: str
    since: float
    depot: Path
    """Where it keeps what it fetched; nobody else reads there, and nobody after it."""
    name: str = ""
    draining: bool = False
    silent_since: float | None = None
    """When its heartbeat was missed first, where heartbeats could be read."""

    def hangs(self, moment: float) -> bool:
        """Whether it never announced itself, or does not any more."""
        if not self.name:
            return moment - self.since > READY_SECONDS
        return self.silent_since is not None and moment - self.silent_since > HUNG_SECONDS


class LocalEngines:
    """`pools.Supervisor` with processes of this machine, by their address."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}
        shutil.rmtree(settings.HOME / DEPOTS, ignore_errors=True)  # what children of a keeper that was killed left

    def start(self, pool: str) -> None:
        """One more engine of this pool."""
        number = secrets.token_hex(4)
        address = engine_address(number)
        process = subprocess.Popen(
            engine_command(address, pool=pool, depot=f"{DEPOTS}/{number}"),
            cwd=settings.ROOT,
            env=os.environ | engine_environment(),
            preexec_fn=die_with_parent,
        )
        depot = settings.HOME / DEPOTS / number
        self.children[address] = Child(process, pool, time.monotonic(), depot)
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
                self._forget(address)
            elif child.hangs(time.monotonic()):
                logger.warning("an engine of %s is killed: nothing is heard of it", child.pool)
                child.process.kill()
        try:
            self._hear({beat.address: beat for beat in engines.announced()})
        except RedisError as error:
            logger.warning("engines stay as they are, for they are not heard: %s", error)
            for child in self.children.values():
                child.silent_since = None  # nobody could have heard it
            return
        # One whose heartbeat is not there is still an engine: Redis may have been emptied. It comes first here, for who
        # waits warm is taken from the end.
        there = [
            (child.name, address, child.pool)
            for address, child in sorted(self.children.items(), key=lambda item: item[1].silent_since is None)
            if child.name and not child.draining
        ]
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
                try:
                    self.start(pool)
                except OSError as error:
                    logger.warning("no engine can be started for %s: %s", pool, error)

    def _hear(self, beats: dict[str, Heartbeat]) -> None:
        """What the engines started here say of themselves; since when one of them says nothing."""
        for address, child in self.children.items():
            beat = beats.get(address)
            if beat is not None:
                child.name, child.pool, child.draining, child.silent_since = beat.name, beat.pool, beat.draining, None
            elif child.silent_since is None:
                child.silent_since = time.monotonic()

    def close(self) -> None:
        """Let all leave, and wait for it."""
        for child in self.children.values():
            child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for address, child in list(self.children.items()):
            try:
                child.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            self._forget(address)

    def _forget(self, address: str) -> None:
        """It has ended, and takes its files with it."""
        shutil.rmtree(self.children.pop(address).depot, ignore_errors=True)


def engine_address(number: str) -> str:
    """Where one more engine listens, as it will announce itself: a socket where Redis, and so whoever calls, is on this
    machine; else a free port of the address by which this host reaches Redis. Raises `OSError` while that cannot be
    known."""
    address, redis_url = settings.ENGINE_ADDRESS, settings.REDIS_URL
    if address.startswith("unix://"):
        return f"unix:{address.removeprefix('unix://')}.{number}"  # beside it, where paths are short enough
    if redis_url.startswith("unix://"):
        return f"unix:{settings.HOME / f'engine.{number}'}"
    host = advertised(Address(host=EVERYWHERE), redis_url).rpartition(":")[0]
    with socket.create_server((host, 0)) as free:
        return f"{host}:{free.getsockname()[1]}"
