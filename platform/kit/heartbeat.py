"""Which background processes are alive: each refreshes its keys in Redis, which run out soon after it stops."""

import json
import os
import socket
import threading
import time
from dataclasses import dataclass

from kit import redis

EVERY = 5.0
LASTS = 15
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Alive:
    """One process: what it serves, where, since when (seconds since the epoch), last heard of how many seconds ago."""

    name: str
    host: str
    pid: int
    since: float
    silent: float

    @property
    def up(self) -> float:
        """Seconds since it started."""
        return time.time() - self.since


def start(name: str) -> None:
    """Say from now on, whatever else this process is busy with, that it serves `name`: once for everybody who serves
    it (`worker:{name}`), once for this process."""
    since = time.time()
    words = json.dumps({"name": name, "host": socket.gethostname()[:60], "pid": os.getpid(), "since": since})
    own = f"worker:{name}:{socket.gethostname()[:60]}:{os.getpid()}"

    def beat() -> None:
        while True:
            redis.set_for(f"worker:{name}", "1", seconds=LASTS)
            redis.set_for(own, words, seconds=LASTS)
            time.sleep(EVERY)

    threading.Thread(target=beat, name="alive", daemon=True).start()


def alive() -> list[Alive]:
    """Every process heard of lately, by name and host. Raises redis.RedisError when Redis is away."""
    found = []
    for key in redis.client().scan_iter("worker:*:*:*", count=500):
        with redis.client().pipeline(transaction=False) as line:
            line.get(key)
            line.pttl(key)
            words, left = line.execute()
        if words is not None and left >= 0:
            found.append(Alive(**json.loads(words), silent=max(0.0, LASTS - left / 1000)))
    return sorted(found, key=lambda one: (one.name, one.host, one.pid))
