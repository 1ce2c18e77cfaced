"""A cap on a process's memory, so that a hostile file ends in a clean error instead of a full machine."""

from __future__ import annotations

import resource


def cap_memory(limit_bytes: int | None) -> None:
    """Limit this process's address space to `limit_bytes`; None leaves it alone."""
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
