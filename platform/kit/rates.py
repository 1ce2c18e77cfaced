"""So many times within so many seconds: a plain counter in Redis for doors that nobody has to sign in at.

Not a quota: where Redis is away it lets everybody through, and what it guards must be safe without it.
"""

import redis as library

from kit import redis


def within(name: str, most: int, seconds: int, *, add: int = 1) -> bool:
    """Count one more under a name (`add=0` only looks) and say whether it was at most `most` in this span."""
    key = f"rate:{name}"
    try:
        if not add:
            return int(redis.client().get(key) or 0) < most
        pipe = redis.client().pipeline()
        pipe.set(key, 0, ex=seconds, nx=True)
        pipe.incrby(key, add)
        return int(pipe.execute()[1]) <= most
    except library.RedisError:
        return True
