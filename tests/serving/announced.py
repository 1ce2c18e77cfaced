"""Engines that announce themselves to this run's Redis."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from redis import Redis

from inference.announcement import NAMES, Heartbeat, believed, key_of
from inference.client import BlockingClient

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Announced:
    """An engine that announces itself to this run's Redis."""

    address: str
    process: subprocess.Popen[bytes]

    def health(self) -> Any:
        with BlockingClient(self.address, settings.ENGINE_TOKEN, connect_timeout=30) as client:
            return client.health(timeout=30)


def announced() -> list[Heartbeat]:
    """Who is there, as a gateway reads it."""
    redis = Redis.from_url(settings.REDIS_URL)
    names = redis.smembers(NAMES)
    return believed(redis.mget([key_of(name.decode()) for name in names]) if names else [], settings.ENGINE_TOKEN)[0]


def until(what: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


@contextlib.contextmanager
def engine_announced(folder: Path, name: str, *arguments: str) -> Iterator[Announced]:
    address = f"unix:{folder}/{name}"
    environment = os.environ | {
        "TUNESMITH_ENGINE_TOKEN": settings.ENGINE_TOKEN,
        "TUNESMITH_ENGINE_ANNOUNCE": settings.REDIS_URL,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "inference", "--listen", address, "--precision", "fp32", *arguments]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        until(lambda: any(beat.address == address for beat in announced()), 60)
        yield Announced(address, process)
    finally:
        for number in (signal.SIGCONT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
