"""What a base that writes has done, whoever computes it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """What one base has written since the start."""

    requests: int = 0
    read: int = 0  # tokens of prompts that were computed
    cached: int = 0  # tokens of prompts that were found in the cache
    written: int = 0
    steps: int = 0
    cancelled: int = 0
    first_token: deque[float] = field(default_factory=lambda: deque(maxlen=1024))  # seconds, queue included

    def first_token_ms(self) -> tuple[float, float]:
        """(p50, p99) of the last texts."""
        waits = sorted(self.first_token) or [0.0]
        return waits[len(waits) // 2] * 1000, waits[int(len(waits) * 0.99)] * 1000
