"""One Redis connection pool per process, and small publish/subscribe words for news that processes share."""

import functools
from typing import Any, cast

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from kit.breaker import Breaker, Resting

TIMEOUT = 2.0
"""Seconds. What is kept here are hints and news: nobody waits long for a Redis that hangs, and only one at a time."""

_breaker = Breaker()


class Client(redis.Redis):
    """Fails at once while Redis is known to hang: a request makes several calls."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command. Raises `redis.TimeoutError`, as when it had waited."""
        try:
            with _breaker.asking():
                return super().execute_command(*args, **options)
        except Resting:
            raise redis.TimeoutError("Redis let the last call wait and is left alone for a moment") from None


@functools.cache
def client() -> Client:
    """The process's client; bytes in, bytes out."""
    # Tried again once where the connection was closed meanwhile, and never after a wait.
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    made = Client.from_url(settings.REDIS_URL, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=retry)
    return cast(Client, made)


def publish(channel: str, message: str) -> bool:
    """Tell other processes; False when Redis is away (they poll as well)."""
    try:
        client().publish(channel, message)
    except redis.RedisError:
        return False
    return True


def set_for(key: str, value: str, *, seconds: int) -> bool:
    """Keep a value for a while; False when Redis is away."""
    try:
        client().set(key, value, ex=seconds)
    except redis.RedisError:
        return False
    return True
