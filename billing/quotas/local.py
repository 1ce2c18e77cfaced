"""Rate limits of this process alone, for the moments when the quota server does not answer.

Rates stay open but bounded: one in-process bucket per limit. Budgets and concurrency are not decided here: without
the server, calls that cost money are refused.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from billing.quotas.limits import CompiledLimits, Kind, Limit

_KEEP = 50_000


class LocalBuckets:
    """Token buckets by limit name, most recently used kept."""

    def __init__(self) -> None:
        self._levels: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    def take(
        self, limits: CompiledLimits, *, requests: int, tokens: int, output_tokens: int = 0
    ) -> tuple[Limit | None, int, list[int]]:
        """(limit that blocked or None, ms to wait, remaining per limit); takes from all or from none."""
        now = time.monotonic_ns() // 1_000_000
        remaining = [limit.cap for limit in limits.limits]
        fresh: list[tuple[int, tuple[str, str], int]] = []
        amounts: tuple[tuple[Kind, int], ...] = (
            ("requests", requests),
            ("tokens", tokens + output_tokens),
            ("input_tokens", tokens),
            ("output_tokens", output_tokens),
        )
        for kind, amount in amounts:
            for index in limits.indices(kind):
                limit = limits.limits[index]
                name = (limits.tenant, limit.name)
                level = self._level(name, limit, now)
                need = amount * limit.window_ms
                remaining[index] = level // limit.window_ms
                if need > level:
                    return limit, -(-(need - level) // max(1, limit.cap)), remaining
                fresh.append((index, name, level - need))
        for index, name, level in fresh:
            remaining[index] = level // limits.limits[index].window_ms
            self._levels[name] = (level, now)
            self._levels.move_to_end(name)
        while len(self._levels) > _KEEP:
            self._levels.popitem(last=False)
        return None, 0, remaining

    def _level(self, name: tuple[str, str], limit: Limit, now: int) -> int:
        full = limit.cap * limit.window_ms
        level, at = self._levels.get(name, (full, now))
        return min(full, level + (now - at) * limit.cap)
