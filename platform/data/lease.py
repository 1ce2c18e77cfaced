"""A lease in Redis, so that doorbells rung twice do not read one file twice at once.

Only thrift: without Redis, or when a lease is lost, both readers work and one result is kept.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator

import redis

from kit.ids import new_id
from kit.redis import client

logger = logging.getLogger(__name__)

SECONDS = 30
BEAT = 10.0


@contextlib.contextmanager
def held(name: str) -> Iterator[bool]:
    """Whether this process may do the work called `name` now; kept alive in the block, gone soon after a kill."""
    key, mine = f"data:lease:{name}", str(new_id())
    try:
        free = bool(client().set(key, mine, nx=True, ex=SECONDS))
    except redis.RedisError:
        logger.warning("no lease for %s: Redis is away", name)
        yield True
        return
    if not free:
        yield False
        return
    done = threading.Event()
    beat = threading.Thread(target=_keep_alive, args=(key, done), name="lease", daemon=True)
    beat.start()
    try:
        yield True
    finally:
        done.set()
        beat.join(timeout=BEAT)
        with contextlib.suppress(redis.RedisError):
            if client().get(key) == mine.encode():
                client().delete(key)


def _keep_alive(key: str, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with contextlib.suppress(redis.RedisError):
            client().expire(key, SECONDS)
