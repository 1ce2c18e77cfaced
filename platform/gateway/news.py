"""News from other processes over Redis publish/subscribe: keys, routes, limits.

News is never relied on: every book re-reads what is in use. After a gap in the line, the books forget everything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import redis.asyncio
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


async def listen(url: str, channels: dict[str, Callable[[str], None]], on_gap: Callable[[], None]) -> None:
    """Call `channels[name](message)` for each message, and `on_gap` whenever the line had to be opened (again)."""
    while True:
        client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=5, health_check_interval=5)
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as line:
                await line.subscribe(*channels)
                on_gap()
                while True:
                    message = await line.get_message(timeout=2.0)
                    if message is not None:
                        channels[message["channel"].decode()](message["data"].decode())
        except (RedisError, OSError) as error:
            log.warning("no news for now: %s", error)
        finally:
            await client.aclose()
        await asyncio.sleep(RETRY_SECONDS)
