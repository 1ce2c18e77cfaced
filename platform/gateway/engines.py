"""Which engines there are: their heartbeats in Redis, read every second.

Redis away, the engines that were known go on being used; a dead one is found by its connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from gateway.metrics import ENGINE_EVENTS, ENGINES
from inference.announcement import EVERY_S, NAMES, believed, key_of
from inference.fleet import Fleet

log = logging.getLogger(__name__)

TIMEOUT_S = 2.0
DOUBT = "with another ENGINE_TOKEN, in the words of another version, or by a clock that is minutes off"
STATES = ("well", "aside", "silent", "draining")


async def hear(fleet: Fleet, url: str, token: str) -> None:
    """Tell the fleet who announces itself, for ever."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    away, doubted = False, 0
    try:
        while True:
            try:
                said: Any = await client.smembers(NAMES)
                names = sorted(name.decode() for name in said)
                found: Any = await client.mget([key_of(name) for name in names]) if names else []
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("the engines that are known go on, for no news of them comes: %s", error)
                away = True
            else:
                away = False
                beats, refused = believed(found, token)
                if refused and refused != doubted:
                    note("unbelieved")
                    log.error("not used: %d engines that announce themselves %s", refused, DOUBT)
                doubted = refused
                fleet.heard(beats)
            _count(fleet)
            await asyncio.sleep(EVERY_S)
    finally:
        await client.aclose()


def note(event: str) -> None:
    """What the fleet does, counted."""
    ENGINE_EVENTS.labels(event).inc()


def _count(fleet: Fleet) -> None:
    counts = dict.fromkeys(STATES, 0)
    for replica in fleet.replicas.values():
        draining = replica.beat is not None and replica.beat.draining
        state = "draining" if draining else "aside" if replica.aside_until else "silent" if replica.silent else "well"
        counts[state] += 1
    for state, number in counts.items():
        ENGINES.labels(state).set(number)
