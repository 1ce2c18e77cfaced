"""One Redis connection pool per process, and small publish/subscribe words for news that processes share."""

import functools

import redis
from django.conf import settings

TIMEOUT = 5.0
"""Seconds; a publish to a hanging Redis must never hang a request for long."""


@functools.cache
def client() -> "redis.Redis":
    """The process's client; bytes in, bytes out."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)


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
