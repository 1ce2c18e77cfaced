"""A lease in Redis, so that doorbells rung twice do not read one file twice at once.

Only thrift: without Redis, or when a lease is lost, both readers work and one result is kept.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from kit.ids import new_id
from kit.redis import client

logger = logging.getLogger(__name__)

SECONDS = 30
BEAT = 10.0


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that is taken; an empty key where Redis was away and nobody counts."""

    key: str
    mine: str


def taken(name: str, places: int = 1) -> Slot | None:
    """Take one of `places` under `name` for half a minute (see `kept`); None when all are taken."""
    mine = str(new_id())
    try:
        for place in range(places):
            key = f"data:lease:{name}" if places == 1 else f"data:lease:{name}:{place}"
            if client().set(key, mine, nx=True, ex=SECONDS):
                return Slot(key, mine)
    except redis.RedisError:
        logger.warning("no lease for %s: Redis is away", name)
        return Slot("", mine)
    return None


@contextlib.contextmanager
def kept(slot: Slot) -> Iterator[None]:
    """Keep a place in the block, and give it back after."""
    if not slot.key:
        yield
        return
    done = threading.Event()
    beat = threading.Thread(target=_keep_alive, args=(slot.key, done), name="lease", daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join(timeout=BEAT)
        give_back(slot)


def give_back(slot: Slot) -> None:
    """Free a place, unless it is somebody else's by now. Twice does no harm."""
    with contextlib.suppress(redis.RedisError):
        if slot.key and client().get(slot.key) == slot.mine.encode():
            client().delete(slot.key)


@contextlib.contextmanager
def held(name: str) -> Iterator[bool]:
    """Whether this process may do the work called `name` now; kept alive in the block, gone soon after a kill."""
    slot = taken(name)
    if slot is None:
        yield False
        return
    with kept(slot):
        yield True


def _keep_alive(key: str, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with contextlib.suppress(redis.RedisError):
            client().expire(key, SECONDS)
